// The file of the memtable: what a whole one is, how a reader maps it and how the writer opens it.
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"
#include "cachefile/memtable_entry.h"

enum { RING_BYTES_PER_HEAD = 128 };

// ---- for reading

void memtable_place_parts(struct memtable *table, void *file, size_t bytes)
{
    *table = (struct memtable){.header = file, .file_bytes = bytes};
    table->heads_mask = table->header->heads_count - 1;
    table->ring_words = table->header->ring_words;
    table->heads = (_Atomic uint64_t *)((uint8_t *)file + MEMTABLE_HEADER_BYTES);
    table->ring = table->heads + table->header->heads_count;
}

bool memtable_is_whole(const struct memtable_header *header, size_t bytes)
{
    uint64_t words = (bytes - MEMTABLE_HEADER_BYTES) / sizeof(uint64_t);
    uint64_t heads = header->heads_count;
    return header->magic == MEMTABLE_MAGIC && heads > 0 && (heads & (heads - 1)) == 0 &&
           heads < words && header->ring_words == words - heads;
}

bool memtable_map(struct memtable *table, int directory_fd)
{
    struct stat status;
    *table = (struct memtable){0};
    int fd = openat(directory_fd, MEMTABLE_FILE, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    void *file = MAP_FAILED;
    size_t bytes = fstat(fd, &status) == 0 ? (size_t)status.st_size : 0;
    if (bytes > MEMTABLE_HEADER_BYTES) {
        file = mmap(NULL, bytes, PROT_READ, MAP_SHARED, fd, 0);
    }
    close(fd);
    if (file == MAP_FAILED) {
        return false;
    }
    if (!memtable_is_whole(file, bytes)) {
        munmap(file, bytes);
        return false;
    }
    memtable_place_parts(table, file, bytes);
    return true;
}

void memtable_unmap(struct memtable *table)
{
    if (table->header != NULL) {
        munmap(table->header, table->file_bytes);
    }
    *table = (struct memtable){0};
}

// ---- for writing

// A whole one is kept, whatever size it has, and one of that size: readers stay with it as long as
// with the records.
static bool is_kept(int fd, size_t *bytes)
{
    struct stat status;
    struct memtable_header header;
    if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode)) {
        return false;
    }
    bool is_whole = status.st_size > MEMTABLE_HEADER_BYTES &&
                    pread(fd, &header, sizeof header, 0) == (ssize_t)sizeof header &&
                    memtable_is_whole(&header, (size_t)status.st_size);
    bool is_kept = is_whole || (size_t)status.st_size == *bytes;
    *bytes = is_kept ? (size_t)status.st_size : *bytes;
    return is_kept;
}

// What is no whole one is left to those who have it mapped: it must not change under them.
static int open_file(const struct directory *directory, size_t *bytes)
{
    int fd = openat(directory->fd, MEMTABLE_FILE, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd >= 0 && is_kept(fd, bytes)) {
        return fd;
    }
    if (fd >= 0) {
        close(fd);
    }
    unlinkat(directory->fd, MEMTABLE_FILE, 0);
    return openat(directory->fd, MEMTABLE_FILE, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0640);
}

static size_t heads_for(size_t bytes)
{
    size_t heads = 1;
    while (heads * 2 * RING_BYTES_PER_HEAD <= bytes) {
        heads *= 2;
    }
    return heads;
}

// `heads` are those of a file that is new.
static enum error map_file(struct memtable *table, int fd, size_t heads, size_t bytes)
{
    errno = directory_reserve(fd, bytes);
    void *file =
        errno == 0 ? mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) : MAP_FAILED;
    if (file == MAP_FAILED) {
        return ERROR_SYSTEM;
    }
    struct memtable_header *header = file;
    if (!memtable_is_whole(header, bytes)) {
        header->magic = MEMTABLE_MAGIC;
        header->heads_count = heads;
        header->ring_words = (bytes - MEMTABLE_HEADER_BYTES) / sizeof(uint64_t) - heads;
    }
    memtable_place_parts(table, file, bytes);
    return ERROR_NONE;
}

// A thread that holds it and waits for it would be dead for good, and who waits for that thread
// with it: it ends instead.
static void init_still(pthread_mutex_t *still)
{
    pthread_mutexattr_t attributes;
    CHECK(pthread_mutexattr_init(&attributes) == 0 &&
          pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_ERRORCHECK) == 0 &&
          pthread_mutex_init(still, &attributes) == 0 &&
          pthread_mutexattr_destroy(&attributes) == 0);
}

enum error memtable_open(struct memtable_writer *writer, const struct directory *directory,
                         size_t bytes, struct failure *failure)
{
    *writer = (struct memtable_writer){0};
    init_still(&writer->still);
    size_t heads = heads_for(bytes);
    bytes = MEMTABLE_HEADER_BYTES +
            (heads * sizeof(uint64_t) + bytes) / MEMTABLE_HEADER_BYTES * MEMTABLE_HEADER_BYTES;
    CHECK_VALUES(bytes > MEMTABLE_HEADER_BYTES + 2 * MEMTABLE_ENTRY_WORDS_MAX * sizeof(uint64_t) +
                             heads * 8,
                 "%zu bytes", bytes);
    int fd = open_file(directory, &bytes);
    if (fd < 0 || map_file(&writer->table, fd, heads, bytes) != ERROR_NONE) {
        failure_note(failure, ERROR_SYSTEM, "no room for %zu bytes of %s/memtable: %s", bytes,
                     directory->path, strerrordesc_np(errno));
        unlinkat(directory->fd, MEMTABLE_FILE, 0);
    }
    if (fd >= 0) {
        close(fd);
    }
    return writer->table.header != NULL ? ERROR_NONE : ERROR_SYSTEM;
}

void memtable_close(struct memtable_writer *writer)
{
    memtable_unmap(&writer->table);
    free(writer->leaving);
    *writer = (struct memtable_writer){0};
}
