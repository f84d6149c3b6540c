// The table of what direct readers count. The owner is the only word that more than one process
// writes, and it changes by compare and swap.
#include "cachefile/tally.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static const char FILE_NAME[] = "tally";

_Static_assert(sizeof(struct tally_row) == TALLY_ROW_BYTES, "a row is two lines");

struct head {
    uint64_t magic;
    uint32_t layout;
    uint32_t rows;
};

static bool is_of_this_layout(const struct head *head)
{
    return head->magic == TALLY_MAGIC && head->layout == TALLY_LAYOUT && head->rows == TALLY_ROWS;
}

static bool has_layout(int fd)
{
    struct head head;
    struct stat status;
    return fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && status.st_size == TALLY_BYTES &&
           pread(fd, &head, sizeof head, 0) == sizeof head && is_of_this_layout(&head);
}

// ---- owners

// When the process began, in ticks since the boot; 0 where that is not known.
static uint64_t start_of(pid_t pid)
{
    enum { FIELDS_BEFORE = 19 }; // behind the name, which may hold anything
    char path[64];
    char text[1024];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t len = fd >= 0 ? read(fd, text, sizeof text - 1) : -1;
    if (fd >= 0) {
        close(fd);
    }
    text[len > 0 ? len : 0] = '\0';
    const char *at = strrchr(text, ')');
    for (int i = 0; at != NULL && i <= FIELDS_BEFORE; i++) {
        at = strchr(at + 1, ' ');
    }
    return at != NULL ? strtoull(at, NULL, 10) : 0;
}

static uint64_t owner_of(pid_t pid)
{
    return (start_of(pid) & UINT32_MAX) << 32 | (uint32_t)pid;
}

bool tally_is_gone(uint64_t owner, bool thorough)
{
    pid_t pid = (pid_t)(owner & INT32_MAX);
    if (pid <= 0 || (kill(pid, 0) != 0 && errno == ESRCH)) {
        return true;
    }
    if (!thorough) {
        return false;
    }
    uint64_t now = owner_of(pid);
    return now >> 32 != 0 && now != owner;
}

// ---- a direct reader

bool tally_map(struct tally *tally, int directory_fd)
{
    *tally = (struct tally){0};
    int fd = openat(directory_fd, FILE_NAME, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) {
        return false;
    }
    void *rows = has_layout(fd) ? mmap(NULL, TALLY_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)
                                : MAP_FAILED;
    close(fd);
    if (rows == MAP_FAILED) {
        return false;
    }
    tally->rows = (struct tally_row *)rows + 1; // behind the head
    return true;
}

void tally_unmap(struct tally *tally)
{
    if (tally->rows != NULL) {
        munmap(tally->rows - 1, TALLY_BYTES);
    }
    *tally = (struct tally){0};
}

static bool take(struct tally_row *row, uint64_t held, uint64_t owner)
{
    return atomic_compare_exchange_strong(&row->owner, &held, owner);
}

struct tally_row *tally_claim(const struct tally *tally)
{
    if (tally->rows == NULL) {
        return NULL;
    }
    uint64_t own = owner_of(getpid());
    for (size_t i = 0; i < TALLY_ROWS; i++) {
        struct tally_row *row = &tally->rows[i];
        if (atomic_load(&row->owner) == 0 && take(row, 0, own)) {
            return row;
        }
    }
    for (size_t i = 0; i < TALLY_ROWS; i++) {
        struct tally_row *row = &tally->rows[i];
        uint64_t held = atomic_load(&row->owner);
        if (held != own && tally_is_gone(held, true) && take(row, held, own)) {
            return row;
        }
    }
    return NULL;
}

void tally_release(struct tally_row *row)
{
    if (row != NULL) {
        atomic_store(&row->owner, 0);
    }
}

// ---- the daemon

// False, with errno.
static bool make(int fd)
{
    const struct head head = {.magic = TALLY_MAGIC, .layout = TALLY_LAYOUT, .rows = TALLY_ROWS};
    errno = directory_reserve(fd, TALLY_BYTES);
    return errno == 0 && pwrite(fd, &head, sizeof head, 0) == sizeof head;
}

int tally_open(const struct directory *directory)
{
    int fd = openat(directory->fd, FILE_NAME, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd >= 0 && has_layout(fd)) {
        return fd;
    }
    if (fd >= 0) {
        close(fd);
    }
    // What is there is left to those who have it mapped.
    unlinkat(directory->fd, FILE_NAME, 0);
    fd = openat(directory->fd, FILE_NAME, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd >= 0 && !make(fd)) {
        int code = errno;
        close(fd);
        unlinkat(directory->fd, FILE_NAME, 0);
        errno = code;
        return -1;
    }
    return fd;
}

bool tally_read(int fd, struct tally_row rows[TALLY_ROWS])
{
    const size_t bytes = TALLY_BYTES - TALLY_ROW_BYTES;
    return fd >= 0 && pread(fd, (void *)rows, bytes, TALLY_ROW_BYTES) == (ssize_t)bytes;
}
