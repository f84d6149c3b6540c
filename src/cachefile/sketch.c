// The reference sketch. It holds hints only: any content is valid, so a torn or foreign file is no
// error, and relaxed loads and stores are enough.
#include "cachefile/sketch.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MODE_OWNER = 0600, MODE_GROUP = 0660 };

static const char FILE_NAME[] = "sketch";
static const size_t SLOTS_MIN = 4096;
static const size_t CACHE_BYTES_PER_SLOT = 128;

static bool is_power_of_two(size_t count)
{
    return count != 0 && (count & (count - 1)) == 0;
}

// The slots that the file is to have. One that is absurdly large is not ours: it is made anew.
static size_t count_slots(const struct directory *directory, size_t cache_bytes)
{
    struct stat status;
    size_t present = 0;
    if (fstatat(directory->fd, FILE_NAME, &status, 0) == 0) {
        present = (size_t)status.st_size;
    }
    if (present > cache_bytes) {
        unlinkat(directory->fd, FILE_NAME, 0);
        present = 0;
    }
    size_t count = SLOTS_MIN;
    while (count < cache_bytes / CACHE_BYTES_PER_SLOT || count < present) {
        count *= 2;
    }
    return count;
}

// False, with errno, where there is no room or no right.
static bool map(struct sketch *sketch, int fd, size_t count)
{
    void *slots = mmap(NULL, count, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (slots == MAP_FAILED) {
        return false;
    }
    // In pages of 2 MiB, where the file system has them: each read looks at another slot, and for
    // one in small pages waits for the processor's tables of them as long as for the slot.
    madvise(slots, count, MADV_HUGEPAGE);
    *sketch = (struct sketch){.slots = slots, .slots_count = count};
    return true;
}

enum error sketch_open(struct sketch *sketch, const struct directory *directory, size_t cache_bytes,
                       bool group_writes, struct failure *failure)
{
    size_t count = count_slots(directory, cache_bytes);
    int fd = openat(directory->fd, FILE_NAME, O_RDWR | O_CREAT | O_CLOEXEC, MODE_OWNER);
    if (fd < 0) {
        return failure_set(failure, ERROR_SYSTEM, "cannot open %s/sketch: %s", directory->path,
                           strerrordesc_np(errno));
    }
    fchmod(fd, group_writes ? MODE_GROUP : MODE_OWNER);
    errno = directory_reserve(fd, count);
    bool mapped = errno == 0 && map(sketch, fd, count);
    close(fd);
    return mapped ? ERROR_NONE
                  : failure_set(failure, ERROR_SYSTEM, "no room for %s/sketch", directory->path);
}

bool sketch_map(struct sketch *sketch, int directory_fd)
{
    *sketch = (struct sketch){0};
    struct stat status;
    int fd = openat(directory_fd, FILE_NAME, O_RDWR | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    bool mapped = fstat(fd, &status) == 0 && is_power_of_two((size_t)status.st_size) &&
                  map(sketch, fd, (size_t)status.st_size);
    close(fd);
    return mapped;
}

void sketch_close(struct sketch *sketch)
{
    if (sketch->slots != NULL) {
        munmap((void *)sketch->slots, sketch->slots_count);
    }
    *sketch = (struct sketch){0};
}

static uint64_t mix(uint64_t hash)
{
    hash ^= hash >> 32;
    hash *= 0xd6e8feb86659fd93ull;
    hash ^= hash >> 32;
    return hash;
}

uint64_t sketch_hash(struct slice key)
{
    uint64_t hash = 0x9e3779b97f4a7c15ull ^ key.len;
    uint64_t word;
    size_t at = 0;
    for (; key.len - at >= sizeof word; at += sizeof word) {
        memcpy(&word, key.at + at, sizeof word); // of a constant size: one load
        hash = mix(hash ^ word) * 0x9e3779b97f4a7c15ull;
    }
    if (at < key.len) {
        word = 0;
        memcpy(&word, key.at + at, key.len - at);
        hash = mix(hash ^ word) * 0x9e3779b97f4a7c15ull;
    }
    return mix(hash);
}

bool sketch_cool(const struct sketch *sketch, struct slice key)
{
    _Atomic uint8_t *slot = &sketch->slots[sketch_hash(key) & (sketch->slots_count - 1)];
    uint8_t warmth = atomic_load_explicit(slot, memory_order_relaxed);
    if (warmth == 0) {
        return false;
    }
    warmth = warmth > SKETCH_WARM ? SKETCH_WARM : warmth;
    atomic_store_explicit(slot, (uint8_t)(warmth - 1), memory_order_relaxed);
    return true;
}
