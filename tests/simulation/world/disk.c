// Each write to a file of an outbox keeps what it overwrote, until the file is synced. A write
// through a descriptor that was opened with O_DSYNC is on the disk at once.
#include "simulation/world/disk.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/check.h"
#include "base/memory.h"
#include "simulation/world/machine.h"

enum { FILES_MAX = 16, DESCRIPTORS_MAX = 1024 };

static const char *const TRACKED[] = {"outbox.mdb", "outbox.log"};

struct overwritten {
    struct overwritten *before;
    off_t offset;
    size_t len;
    uint8_t bytes[];
};

static struct file {
    char *path;
    struct overwritten *newest; // since the last sync
} files[FILES_MAX];

static struct {
    struct file *file; // NULL: not of interest
    bool is_synchronous;
} descriptors[DESCRIPTORS_MAX];

// What would have been called without this file.
#define REAL(name)                                                                                 \
    static __typeof__(&(name)) real_##name;                                                        \
    if (real_##name == NULL) {                                                                     \
        real_##name = (__typeof__(&(name)))dlsym(RTLD_NEXT, #name);                                \
    }

static struct file *file_of(const char *path)
{
    for (size_t i = 0; i < FILES_MAX; i++) {
        if (files[i].path == NULL) {
            files[i].path = memory_string(slice_of_string(path));
        }
        if (strcmp(files[i].path, path) == 0) {
            return &files[i];
        }
    }
    CHECK(false);
    return NULL;
}

static bool is_tracked(const char *path)
{
    size_t len = strlen(path);
    for (size_t i = 0; i < sizeof TRACKED / sizeof TRACKED[0]; i++) {
        size_t ending = strlen(TRACKED[i]);
        if (len >= ending && strcmp(path + len - ending, TRACKED[i]) == 0) {
            return true;
        }
    }
    return false;
}

static struct file *tracked(int fd)
{
    bool known = fd >= 0 && fd < DESCRIPTORS_MAX && !descriptors[fd].is_synchronous;
    return known ? descriptors[fd].file : NULL;
}

static void keep(int fd, off_t offset, size_t len)
{
    struct file *file = tracked(fd);
    if (file == NULL || len == 0) {
        return;
    }
    struct overwritten *kept = memory_zeroed(1, sizeof *kept + len);
    ssize_t got = pread(fd, kept->bytes, len, offset);
    CHECK(got >= 0);
    kept->offset = offset;
    kept->len = len;
    kept->before = file->newest;
    file->newest = kept;
}

static void forget(struct file *file)
{
    while (file != NULL && file->newest != NULL) {
        struct overwritten *kept = file->newest;
        file->newest = kept->before;
        free(kept);
    }
}

void disk_lose_power(const char *path)
{
    struct file *file = file_of(path);
    int fd = open(path, O_RDWR | O_CLOEXEC | O_DSYNC);
    for (struct overwritten *kept = file->newest; fd >= 0 && kept != NULL; kept = kept->before) {
        if (machine_chance(700)) {
            CHECK(pwrite(fd, kept->bytes, kept->len, kept->offset) == (ssize_t)kept->len);
        }
    }
    forget(file);
    if (fd >= 0) {
        close(fd);
    }
}

// ---- the system calls

int open(const char *path, int flags, ...)
{
    REAL(open)
    va_list more;
    va_start(more, flags);
    mode_t mode = (flags & O_CREAT) != 0 ? va_arg(more, mode_t) : 0;
    va_end(more);
    int fd = real_open(path, flags, mode);
    if (fd >= 0 && fd < DESCRIPTORS_MAX) {
        descriptors[fd].file = is_tracked(path) ? file_of(path) : NULL;
        descriptors[fd].is_synchronous = (flags & O_DSYNC) != 0;
    }
    return fd;
}

int close(int fd)
{
    REAL(close)
    if (fd >= 0 && fd < DESCRIPTORS_MAX) {
        descriptors[fd].file = NULL;
    }
    return real_close(fd);
}

ssize_t pwrite(int fd, const void *bytes, size_t len, off_t offset)
{
    REAL(pwrite)
    keep(fd, offset, len);
    return real_pwrite(fd, bytes, len, offset);
}

ssize_t write(int fd, const void *bytes, size_t len)
{
    REAL(write)
    if (tracked(fd) != NULL) {
        keep(fd, lseek(fd, 0, SEEK_CUR), len);
    }
    return real_write(fd, bytes, len);
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    REAL(writev)
    size_t len = 0;
    for (int i = 0; i < count; i++) {
        len += parts[i].iov_len;
    }
    if (tracked(fd) != NULL) {
        keep(fd, lseek(fd, 0, SEEK_CUR), len);
    }
    return real_writev(fd, parts, count);
}

int fdatasync(int fd)
{
    REAL(fdatasync)
    forget(tracked(fd));
    return real_fdatasync(fd);
}

int fsync(int fd)
{
    REAL(fsync)
    forget(tracked(fd));
    return real_fsync(fd);
}
