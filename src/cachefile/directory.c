// The directories of the two environments. LMDB lives on shared memory maps and on the order in
// which a file system writes: network file systems give neither, and memory file systems forget.
#include "cachefile/directory.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "base/log.h"
#include "base/memory.h"

enum { MODE_DIRECTORY = 0750, MODE_FILE = 0640, OLD_COUNT_MAX = 9 };

static const struct {
    unsigned long magic;
    const char *name;
    bool memory; // refused only for what must be durable
} REFUSED[] = {
    {NFS_SUPER_MAGIC, "NFS", false},     {SMB_SUPER_MAGIC, "SMB", false},
    {0xff534d42ul, "CIFS", false},       {0xfe534d42ul, "SMB2", false},
    {V9FS_MAGIC, "9p", false},           {AFS_SUPER_MAGIC, "AFS", false},
    {0x6b414653ul, "kAFS", false},       {CODA_SUPER_MAGIC, "Coda", false},
    {0x00c36400ul, "Ceph", false},       {0x0bd00bd0ul, "Lustre", false},
    {0x47504653ul, "GPFS", false},       {0x01161970ul, "GFS2", false},
    {OCFS2_SUPER_MAGIC, "OCFS2", false}, {TMPFS_MAGIC, "tmpfs", true},
    {RAMFS_MAGIC, "ramfs", true},
};

const char *directory_refused_file_system(const char *path, enum directory_use use)
{
    struct statfs status;
    if (statfs(path, &status) != 0) {
        return NULL;
    }
    // The kernel's 32 bits, whatever the width and sign of f_type.
    unsigned long magic = (unsigned long)status.f_type & 0xfffffffful;
    for (size_t i = 0; i < sizeof REFUSED / sizeof REFUSED[0]; i++) {
        if (magic == REFUSED[i].magic && (use == DIRECTORY_DURABLE || !REFUSED[i].memory)) {
            return REFUSED[i].name;
        }
    }
    return NULL;
}

bool directory_has_lost(const struct directory *directory, const char *name, int fd)
{
    struct stat own, named;
    if (fstatat(directory->fd, name, &named, 0) != 0) {
        return errno == ENOENT || errno == ELOOP;
    }
    return fstat(fd, &own) == 0 && (own.st_dev != named.st_dev || own.st_ino != named.st_ino);
}

int64_t directory_free_bytes(const char *path)
{
    struct statfs status;
    if (statfs(path, &status) != 0) {
        return -1;
    }
    return (int64_t)status.f_bavail * (int64_t)status.f_bsize;
}

int directory_reserve(int fd, size_t bytes)
{
    enum { STAT_BLOCK_BYTES = 512 };
    struct stat file;
    struct statfs disk;
    if (fstat(fd, &file) != 0 || fstatfs(fd, &disk) != 0) {
        return errno;
    }
    uint64_t has_bytes = (uint64_t)file.st_blocks * STAT_BLOCK_BYTES;
    // Where there are no blocks at all, the file system has no bound of its own.
    if (disk.f_blocks != 0 &&
        bytes > has_bytes + (uint64_t)disk.f_bavail * (uint64_t)disk.f_bsize) {
        return ENOSPC;
    }
    int code = posix_fallocate(fd, 0, (off_t)bytes);
    if (code != 0 && file.st_size < (off_t)bytes && ftruncate(fd, file.st_size) != 0) {
        return errno;
    }
    return code;
}

// Makes the name of a new directory as durable as what will be in it.
static enum error sync_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    size_t len = slash == NULL || slash == path ? 1 : (size_t)(slash - path);
    char *parent = memory_string(slice_of(slash == NULL ? "." : path, len));
    int fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    enum error error = fd >= 0 && fsync(fd) == 0 ? ERROR_NONE : ERROR_SYSTEM;
    int code = errno;
    if (fd >= 0) {
        close(fd);
    }
    free(parent);
    errno = code;
    return error;
}

static enum error make_one(const char *path, enum directory_use use)
{
    if (mkdir(path, MODE_DIRECTORY) != 0) {
        return errno == EEXIST ? ERROR_NONE : ERROR_SYSTEM;
    }
    return use == DIRECTORY_DURABLE ? sync_name(path) : ERROR_NONE;
}

// mkdir -p.
static enum error make(const char *path, enum directory_use use)
{
    char *partial = memory_string(slice_of_string(path));
    enum error error = ERROR_NONE;
    for (char *slash = partial; error == ERROR_NONE && slash != NULL;) {
        slash = strchr(slash + 1, '/');
        if (slash != NULL) {
            *slash = '\0';
        }
        error = make_one(partial, use);
        if (slash != NULL) {
            *slash = '/';
        }
    }
    free(partial);
    return error;
}

static enum error take_lock(struct directory *directory, struct failure *failure)
{
    directory->lock_fd = openat(directory->fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC, MODE_FILE);
    if (directory->lock_fd < 0) {
        return failure_set(failure, ERROR_SYSTEM, "cannot create a file in %s: %s", directory->path,
                           strerrordesc_np(errno));
    }
    if (flock(directory->lock_fd, LOCK_EX | LOCK_NB) == 0) {
        return ERROR_NONE;
    }
    if (errno == EWOULDBLOCK) {
        return failure_set(failure, ERROR_IN_USE, "%s is in use by another pgneard",
                           directory->path);
    }
    return failure_set(failure, ERROR_SYSTEM, "cannot lock %s: %s", directory->path,
                       strerrordesc_np(errno));
}

static enum error open_and_lock(struct directory *directory, enum directory_use use,
                                struct failure *failure)
{
    if (make(directory->path, use) != ERROR_NONE) {
        return failure_set(failure, ERROR_SYSTEM, "cannot make the directory %s: %s",
                           directory->path, strerrordesc_np(errno));
    }
    directory->fd = open(directory->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (directory->fd < 0) {
        return failure_set(failure, ERROR_SYSTEM, "cannot open the directory %s: %s",
                           directory->path, strerrordesc_np(errno));
    }
    const char *refused = directory_refused_file_system(directory->path, use);
    if (refused != NULL) {
        return failure_set(
            failure, ERROR_CONFIG, "%s is on %s, which %s; name a directory on a local disk",
            directory->path, refused,
            use == DIRECTORY_DURABLE ? "cannot keep writes safe" : "cannot share a memory map");
    }
    return take_lock(directory, failure);
}

enum error directory_open(struct directory *directory, const char *path, enum directory_use use,
                          struct failure *failure)
{
    *directory = (struct directory){
        .path = memory_string(slice_of_string(path)),
        .fd = -1,
        .lock_fd = -1,
    };
    enum error error = open_and_lock(directory, use, failure);
    if (error != ERROR_NONE) {
        directory_close(directory);
    }
    return error;
}

void directory_close(struct directory *directory)
{
    if (directory->path == NULL) {
        return;
    }
    if (directory->lock_fd >= 0) {
        close(directory->lock_fd);
    }
    if (directory->fd >= 0) {
        close(directory->fd);
    }
    free(directory->path);
    *directory = (struct directory){.fd = -1, .lock_fd = -1};
}

char *directory_path(const struct directory *directory, const char *name)
{
    size_t bytes = strlen(directory->path) + strlen(name) + 2;
    char *path = memory_zeroed(bytes, 1);
    stpcpy(stpcpy(stpcpy(path, directory->path), "/"), name);
    return path;
}

char *directory_put_aside(const struct directory *directory, const char *name)
{
    size_t name_bytes = strlen(name) + sizeof ".old." + 11; // any number
    char *old_name = memory_zeroed(name_bytes, 1);
    snprintf(old_name, name_bytes, "%s.old", name);
    for (int number = 2; number <= OLD_COUNT_MAX &&
                         faccessat(directory->fd, old_name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
         number++) {
        snprintf(old_name, name_bytes, "%s.old.%d", name, number);
    }
    bool is_aside = renameat(directory->fd, name, directory->fd, old_name) == 0;
    char *path = is_aside ? directory_path(directory, old_name) : NULL;
    free(old_name);
    return path;
}

enum error directory_sync(const struct directory *directory)
{
    return fsync(directory->fd) == 0 ? ERROR_NONE : ERROR_SYSTEM;
}

bool directory_read(int fd, void *bytes, size_t len, size_t at)
{
    uint8_t *to = bytes;
    while (len > 0) {
        ssize_t got = pread(fd, to, len, (off_t)at);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            return false;
        }
        to += got;
        len -= (size_t)got;
        at += (size_t)got;
    }
    return true;
}

static enum error read_id(const char *path, char id[BOOT_ID_BYTES])
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return ERROR_SYSTEM;
    }
    ssize_t len = read(fd, id, 36);
    close(fd);
    if (len != 36) {
        return ERROR_SYSTEM;
    }
    memset(id + 36, 0, BOOT_ID_BYTES - 36);
    return ERROR_NONE;
}

enum error directory_boot_id(char boot_id[BOOT_ID_BYTES])
{
    return read_id("/proc/sys/kernel/random/boot_id", boot_id);
}

enum error directory_random_uuid(char uuid[BOOT_ID_BYTES])
{
    return read_id("/proc/sys/kernel/random/uuid", uuid);
}
