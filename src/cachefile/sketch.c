// The reference sketch. It holds hints only: any content is valid, so a torn or foreign file is no
// error, and relaxed loads and stores are enough.
#include "cachefile/sketch.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static const size_t SLOTS_MIN = 4096;
static const size_t CACHE_BYTES_PER_SLOT = 128;

enum error sketch_open(struct sketch *sketch, const struct directory *directory, size_t cache_bytes,
                       struct failure *failure)
{
    size_t count = SLOTS_MIN;
    while (count < cache_bytes / CACHE_BYTES_PER_SLOT) {
        count *= 2;
    }
    int fd = openat(directory->fd, "sketch", O_RDWR | O_CREAT | O_CLOEXEC, 0640);
    if (fd < 0 || ftruncate(fd, (off_t)count) != 0 || posix_fallocate(fd, 0, (off_t)count) != 0) {
        if (fd >= 0) {
            close(fd);
        }
        return failure_set(failure, ERROR_SYSTEM, "no room for %s/sketch", directory->path);
    }
    void *slots = mmap(NULL, count, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (slots == MAP_FAILED) {
        return failure_set(failure, ERROR_SYSTEM, "cannot map %s/sketch: %s", directory->path,
                           strerrordesc_np(errno));
    }
    *sketch = (struct sketch){.slots = slots, .slots_count = count};
    return ERROR_NONE;
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
    for (size_t at = 0; at < key.len; at += sizeof hash) {
        uint64_t word = 0;
        size_t rest = key.len - at;
        memcpy(&word, key.at + at, rest < sizeof word ? rest : sizeof word);
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
