// The C library's calls, taken over. They end in system calls of their own, so that whatever else
// takes them over, such as a sanitizer, is left alone.

#include "unit/cache/power_loss/record.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/check.h"
#include "unit/cache/power_loss/disk.h"

enum { EVENTS_MAX = 1 << 16, FILES_MAX = 64, PATH_BYTES = 256, FDS_MAX = 1024 };

static const size_t BYTES_MAX = 256u << 20;

static struct {
    bool is_on;
    char dir[PATH_BYTES];
    struct disk_event *events;
    size_t count;
    uint8_t *bytes; // of the writes, one after the other
    size_t bytes_used;
    // The files that were seen, by number; one that is gone has no inode.
    ino_t inodes[FILES_MAX];
    int files_count;
    bool is_dsync[FDS_MAX]; // opened with O_DSYNC, by descriptor
    const char *lazy_name;  // a file for which that counts for nothing; NULL: none
} record;

static struct disk_event *add(enum disk_event_kind kind)
{
    CHECK(record.count < EVENTS_MAX);
    struct disk_event *event = &record.events[record.count++];
    *event = (struct disk_event){.kind = kind};
    return event;
}

const struct disk_event *disk_record_event(size_t index)
{
    CHECK(index < record.count);
    return &record.events[index];
}

void *disk_room_take(size_t bytes)
{
    void *room = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(room != MAP_FAILED && madvise(room, bytes, MADV_DONTFORK) == 0);
    return room;
}

void disk_room_give_back(void *room, size_t bytes)
{
    CHECK(room == NULL || munmap(room, bytes) == 0);
}

size_t disk_now(void)
{
    return record.count;
}

void disk_record(const char *dir)
{
    if (record.events == NULL) {
        record.events = disk_room_take(EVENTS_MAX * sizeof *record.events);
        record.bytes = disk_room_take(BYTES_MAX);
    }
    record.count = 0;
    record.bytes_used = 0;
    record.files_count = 0;
    CHECK((size_t)snprintf(record.dir, sizeof record.dir, "%s", dir) < sizeof record.dir);
    record.is_on = true;
    if (access(dir, F_OK) == 0) {
        add(DISK_MKDIR);
        add(DISK_SYNC_PARENT);
    }
}

void disk_stop(void)
{
    record.is_on = false;
}

void disk_be_lazy(const char *name)
{
    record.lazy_name = name;
}

// The name within the directory; NULL where the path is another's.
static const char *name_of(const char *path)
{
    size_t len = strlen(record.dir);
    bool is_in = record.is_on && strncmp(path, record.dir, len) == 0 && path[len] == '/' &&
                 strchr(path + len + 1, '/') == NULL;
    return is_in ? path + len + 1 : NULL;
}

static void copy_name(char to[DISK_NAME_BYTES], const char *name)
{
    CHECK((size_t)snprintf(to, DISK_NAME_BYTES, "%s", name) < DISK_NAME_BYTES);
}

static int find_inode(ino_t inode)
{
    for (int i = record.files_count - 1; i >= 0; i--) {
        if (record.inodes[i] == inode) {
            return i;
        }
    }
    return -1;
}

// The number of the open file; -1 where it is not of the directory. A new one is created here.
static int file_of(int fd)
{
    struct stat status;
    char link[64];
    char path[PATH_BYTES];
    if (!record.is_on || fstat(fd, &status) != 0 || !S_ISREG(status.st_mode)) {
        return -1;
    }
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t len = readlink(link, path, sizeof path - 1);
    CHECK(len > 0);
    path[len] = '\0';
    const char *name = name_of(path);
    int file = find_inode(status.st_ino);
    if (name == NULL || file >= 0) {
        return name == NULL ? -1 : file;
    }
    CHECK(record.files_count < FILES_MAX);
    file = record.files_count++;
    record.inodes[file] = status.st_ino;
    struct disk_event *event = add(DISK_CREATE);
    event->file = file;
    copy_name(event->name, name);
    return file;
}

static void forget_inode(const char *path)
{
    struct stat status;
    int file = stat(path, &status) == 0 ? find_inode(status.st_ino) : -1;
    if (file >= 0) {
        record.inodes[file] = 0;
    }
}

static void note_write(int fd, off_t at, const struct iovec *parts, int parts_count, size_t len)
{
    int file = file_of(fd);
    if (file < 0) {
        return;
    }
    CHECK(len <= BYTES_MAX - record.bytes_used);
    uint8_t *bytes = record.bytes + record.bytes_used;
    record.bytes_used += len;
    size_t copied = 0;
    for (int i = 0; i < parts_count && copied < len; i++) {
        size_t part = parts[i].iov_len < len - copied ? parts[i].iov_len : len - copied;
        memcpy(bytes + copied, parts[i].iov_base, part);
        copied += part;
    }
    struct disk_event *event = add(DISK_WRITE);
    event->file = file;
    event->at = at;
    event->len = len;
    event->bytes = bytes;
    event->is_synced = fd < FDS_MAX && record.is_dsync[fd];
}

static void note_length(int fd, off_t length)
{
    int file = file_of(fd);
    if (file >= 0) {
        struct disk_event *event = add(DISK_LENGTH);
        event->file = file;
        event->at = length;
    }
}

static bool is_same(const struct stat *status, const char *path)
{
    struct stat other;
    return stat(path, &other) == 0 && other.st_ino == status->st_ino &&
           other.st_dev == status->st_dev;
}

static void note_sync(int fd)
{
    struct stat status;
    if (!record.is_on || fstat(fd, &status) != 0) {
        return;
    }
    if (S_ISDIR(status.st_mode)) {
        char parent[PATH_BYTES];
        snprintf(parent, sizeof parent, "%s", record.dir);
        *strrchr(parent, '/') = '\0';
        if (is_same(&status, record.dir)) {
            add(DISK_SYNC_DIR);
        } else if (is_same(&status, parent)) {
            add(DISK_SYNC_PARENT);
        }
        return;
    }
    int file = file_of(fd);
    if (file >= 0) {
        add(DISK_SYNC)->file = file;
    }
}

// ---- What the C library offers by these names

static int open_any(int at, const char *path, int flags, mode_t mode)
{
    int fd = (int)syscall(SYS_openat, at, path, flags & ~(O_SYNC | O_DSYNC), mode);
    const char *name = name_of(path);
    bool is_lazy = name != NULL && record.lazy_name != NULL && strcmp(name, record.lazy_name) == 0;
    if (fd >= 0 && fd < FDS_MAX) {
        record.is_dsync[fd] = (flags & O_DSYNC) != 0 && !is_lazy;
    }
    return fd;
}

static mode_t mode_of(int flags, va_list more)
{
    return (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(more, mode_t) : 0;
}

int open(const char *path, int flags, ...)
{
    va_list more;
    va_start(more, flags);
    mode_t mode = mode_of(flags, more);
    va_end(more);
    return open_any(AT_FDCWD, path, flags, mode);
}

ssize_t pwrite(int fd, const void *bytes, size_t len, off_t at)
{
    ssize_t written = syscall(SYS_pwrite64, fd, bytes, len, at);
    if (written > 0) {
        struct iovec part = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = len};
        note_write(fd, at, &part, 1, (size_t)written);
    }
    return written;
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    off_t at = record.is_on ? lseek(fd, 0, SEEK_CUR) : 0;
    ssize_t written = syscall(SYS_writev, fd, parts, count);
    if (written > 0) {
        note_write(fd, at, parts, count, (size_t)written);
    }
    return written;
}

ssize_t write(int fd, const void *bytes, size_t len)
{
    off_t at = record.is_on ? lseek(fd, 0, SEEK_CUR) : 0;
    ssize_t written = syscall(SYS_write, fd, bytes, len);
    if (written > 0) {
        struct iovec part = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = len};
        note_write(fd, at, &part, 1, (size_t)written);
    }
    return written;
}

int ftruncate(int fd, off_t length)
{
    int result = (int)syscall(SYS_ftruncate, fd, length);
    if (result == 0) {
        note_length(fd, length);
    }
    return result;
}

int fallocate(int fd, int mode, off_t at, off_t len)
{
    struct stat before;
    int result = (int)syscall(SYS_fallocate, fd, mode, at, len);
    if (result == 0 && mode == 0 && fstat(fd, &before) == 0) {
        note_length(fd, before.st_size);
    }
    return result;
}

int fsync(int fd)
{
    note_sync(fd);
    return 0;
}

int fdatasync(int fd)
{
    note_sync(fd);
    return 0;
}

int rename(const char *from, const char *to)
{
    const char *name = name_of(from);
    if (name != NULL) {
        CHECK(name_of(to) != NULL);
        forget_inode(to);
    }
    int result = (int)syscall(SYS_rename, from, to);
    if (result == 0 && name != NULL) {
        struct disk_event *event = add(DISK_RENAME);
        copy_name(event->name, name);
        copy_name(event->other_name, name_of(to));
    }
    return result;
}

int unlink(const char *path)
{
    const char *name = name_of(path);
    if (name != NULL) {
        forget_inode(path);
    }
    int result = (int)syscall(SYS_unlink, path);
    if (result == 0 && name != NULL) {
        copy_name(add(DISK_UNLINK)->name, name);
    }
    return result;
}

int mkdir(const char *path, mode_t mode)
{
    int result = (int)syscall(SYS_mkdir, path, mode);
    if (result == 0 && record.is_on && strcmp(path, record.dir) == 0) {
        add(DISK_MKDIR);
    }
    return result;
}
