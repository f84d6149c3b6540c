// The reading half of the hot tier, and its file. The sequence lock is that of the control page:
// acquire and release on every word instead of fences (cachefile/control.c).
#include "cachefile/tier.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cachefile/tier_bucket.h"

static const char FILE_NAME[] = "tier";

_Static_assert(TIER_AT_PLACES == TIER_LINE_WORDS, "the first look is at one cache line");

// ---- the file

static bool map(struct tier *tier, int fd, size_t bytes, int protection)
{
    void *words = mmap(NULL, bytes, protection, MAP_SHARED, fd, 0);
    if (words == MAP_FAILED) {
        return false;
    }
    // Without MADV_RANDOM, though what is read lies anywhere: Linux since 6.3 gives no heed to who
    // reads the pages of such a map (vma_has_recency) and takes them back first of all.
    *tier = (struct tier){.words = words, .buckets_count = bytes / TIER_BUCKET_BYTES};
    return true;
}

bool tier_map(struct tier *tier, int directory_fd)
{
    *tier = (struct tier){0};
    int fd = openat(directory_fd, FILE_NAME, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    struct stat status;
    bool mapped = fstat(fd, &status) == 0 && status.st_size >= TIER_BUCKET_BYTES &&
                  map(tier, fd, (size_t)status.st_size, PROT_READ);
    close(fd);
    return mapped;
}

void tier_close(struct tier *tier)
{
    if (tier->words != NULL) {
        munmap((void *)tier->words, tier->buckets_count * TIER_BUCKET_BYTES);
    }
    *tier = (struct tier){0};
}

// A file of another size is left to those who have it mapped: it must not shrink under them.
static int open_file(const struct directory *directory, size_t bytes)
{
    struct stat status;
    if (fstatat(directory->fd, FILE_NAME, &status, AT_SYMLINK_NOFOLLOW) == 0 &&
        (!S_ISREG(status.st_mode) || (size_t)status.st_size != bytes)) {
        unlinkat(directory->fd, FILE_NAME, 0);
    }
    return openat(directory->fd, FILE_NAME, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0640);
}

enum error tier_open(struct tier *tier, const struct directory *directory, size_t bytes,
                     struct failure *failure)
{
    *tier = (struct tier){0};
    bytes = bytes / TIER_BUCKET_BYTES * TIER_BUCKET_BYTES;
    if (bytes == 0) {
        return ERROR_NONE;
    }
    int fd = open_file(directory, bytes);
    if (fd < 0) {
        return failure_set(failure, ERROR_SYSTEM, "cannot open %s/tier: %s", directory->path,
                           strerrordesc_np(errno));
    }
    errno = directory_reserve(fd, bytes);
    bool mapped = errno == 0 && map(tier, fd, bytes, PROT_READ | PROT_WRITE);
    if (!mapped) {
        failure_note(failure, ERROR_SYSTEM, "no room for %zu bytes of %s/tier: %s", bytes,
                     directory->path, strerrordesc_np(errno));
        unlinkat(directory->fd, FILE_NAME, 0);
    }
    close(fd);
    return mapped ? ERROR_NONE : ERROR_SYSTEM;
}

void tier_populate(const struct tier *tier, size_t first, size_t count)
{
    _Atomic uint64_t *words = tier->words + first * TIER_BUCKET_WORDS;
    if (madvise((void *)words, count * TIER_BUCKET_BYTES, MADV_POPULATE_READ) == 0) {
        return;
    }
    for (size_t i = 0; i < count; i++) { // Linux before 5.14
        atomic_load_explicit(&words[i * TIER_BUCKET_WORDS], memory_order_relaxed);
    }
}

// ---- a read

static bool key_equals(struct tier_bucket bucket, size_t at, struct slice key)
{
    size_t done = 0;
    uint64_t word;
    for (; key.len - done >= sizeof word; done += sizeof word) {
        memcpy(&word, key.at + done, sizeof word);
        if (tier_load(bucket, TIER_AT_ENTRIES + at++) != word) {
            return false;
        }
    }
    if (done == key.len) {
        return true;
    }
    word = 0;
    memcpy(&word, key.at + done, key.len - done);
    return tier_load(bucket, TIER_AT_ENTRIES + at) == word;
}

// Whether the entry at that way is the key's. What it says of itself may be torn, or anything.
static bool is_of(struct tier_bucket bucket, size_t way, uint64_t hash, struct slice key,
                  struct tier_entry *entry)
{
    size_t place = tier_place(bucket, way);
    if (place >= TIER_ENTRY_WORDS) {
        return false;
    }
    uint64_t head = tier_load(bucket, TIER_AT_ENTRIES + place);
    *entry = tier_entry_of(head, place);
    return head >> 32 == (hash & UINT32_MAX) && entry->key_bytes == key.len &&
           place + entry->words <= TIER_ENTRY_WORDS && entry->words <= TIER_ENTRY_BYTES_MAX / 8 &&
           key_equals(bucket, place + 1, key);
}

// The high bit of each byte that is zero, and of some that follow one: looked at in vain.
static uint64_t zero_bytes(uint64_t word)
{
    return (word - TIER_ONES) & ~word & (TIER_ONES << 7);
}

static size_t first_byte(uint64_t found)
{
    return (size_t)__builtin_ctzll(found) / 8;
}

bool tier_seek(struct tier_bucket bucket, uint64_t hash, struct slice key, size_t *way,
               struct tier_entry *entry)
{
    uint64_t wanted = tier_tag(hash) * TIER_ONES;
    for (size_t i = 0; i < TIER_TAG_WORDS; i++) {
        uint64_t found = zero_bytes(tier_load(bucket, TIER_AT_TAGS + i) ^ wanted);
        for (; found != 0; found &= found - 1) {
            *way = i * 8 + first_byte(found);
            if (is_of(bucket, *way, hash, key, entry)) {
                return true;
            }
        }
    }
    return false;
}

// The entry's words, told without it by where the next one begins. What is torn may tell any
// number.
static size_t words_at(struct tier_bucket bucket, size_t way)
{
    uint64_t ends = tier_load(bucket, TIER_AT_ENDS);
    bool is_last = way + 1 >= (ends & UINT32_MAX);
    size_t end = is_last ? (size_t)(ends >> 32) : tier_place(bucket, way + 1);
    size_t words = end - tier_place(bucket, way);
    return words <= TIER_ENTRY_BYTES_MAX / 8 ? words : 0;
}

void tier_prefetch_entry(const struct tier *tier, uint64_t life, uint64_t hash)
{
    struct tier_bucket bucket = tier_bucket_of(tier, life, hash);
    uint64_t wanted = tier_tag(hash) * TIER_ONES;
    for (size_t i = 0; i < TIER_TAG_WORDS; i++) {
        uint64_t found = zero_bytes(tier_load(bucket, TIER_AT_TAGS + i) ^ wanted);
        if (found != 0) {
            size_t way = i * 8 + first_byte(found);
            size_t at = TIER_AT_ENTRIES + tier_place(bucket, way);
            size_t end = at + words_at(bucket, way);
            for (; at < end; at += TIER_LINE_WORDS) {
                __builtin_prefetch((const void *)tier_word(bucket, at));
            }
            __builtin_prefetch((const void *)tier_word(bucket, end - 1));
            return;
        }
    }
}

static void load_run(const _Atomic uint64_t *from, size_t words, uint64_t *room)
{
#pragma GCC unroll 8
    for (size_t i = 0; i < words; i++) {
        room[i] = atomic_load_explicit(&from[i], memory_order_acquire);
    }
}

// The turn of the bucket's page parts words side by side in two at most.
static void load_words(struct tier_bucket bucket, size_t at, size_t words, uint64_t *room)
{
    const _Atomic uint64_t *from = tier_word(bucket, at);
    size_t to_end = (size_t)(bucket.words + TIER_BUCKET_WORDS - from);
    size_t first = words < to_end ? words : to_end;
    load_run(from, first, room);
    load_run(bucket.words, words - first, room + first);
}

size_t tier_find(const struct tier *tier, uint64_t life, uint64_t hash, struct slice key,
                 uint64_t *room)
{
    struct tier_bucket bucket = tier_bucket_of(tier, life, hash);
    uint64_t sequence = tier_load(bucket, TIER_AT_SEQUENCE);
    struct tier_entry entry;
    size_t way;
    if (sequence % 2 != 0 || tier_load(bucket, TIER_AT_LIFE) != life ||
        !tier_seek(bucket, hash, key, &way, &entry)) {
        return 0;
    }
    size_t first = entry.place + 1 + tier_words(entry.key_bytes);
    size_t words = tier_words(entry.record_bytes);
    load_words(bucket, TIER_AT_ENTRIES + first, words, room);
    return tier_load(bucket, TIER_AT_SEQUENCE) == sequence ? entry.record_bytes : 0;
}
