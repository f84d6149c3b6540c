#include "cache/outbox_ring.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"
#include "base/checksum.h"
#include "base/fault.h"
#include "base/memory.h"

static const char UNFINISHED_NAME[] = "outbox.ring.new";
static const char MAGIC[8] = {'p', 'g', 'n', 'r', 'i', 'n', 'g', '1'};

enum { RECORD_ALIGNMENT = 8, MODE_FILE = 0640 };

// What is behind `checksum` up to `begin` is what it is of.
struct ring_header {
    char magic[8]; // zeroes: nothing was ever in it
    uint64_t checksum;
    uint64_t id; // random: records of another life are none of this one
    uint64_t bytes;
    char boot_id[BOOT_ID_BYTES];
    char node[BOOT_ID_BYTES];
    // Changed with every turn, before its answers, on a line of the processor's cache of their own:
    char unused[MEMORY_LINE_BYTES - (32 + 2 * BOOT_ID_BYTES) % MEMORY_LINE_BYTES];
    _Atomic uint64_t begin;
    _Atomic uint64_t count;
    _Atomic uint64_t last_seq;
};

struct ring_record {
    uint64_t checksum; // of the rest, seeded with the id
    uint64_t at;
    uint64_t seq;
    uint64_t before_seq;
    uint32_t bytes;
    uint32_t entry_checksum; // so that no other whole entry passes for its own
};

_Static_assert(sizeof(struct ring_record) == 40, "no padding, which would be part of the checksum");
_Static_assert(offsetof(struct ring_header, begin) % MEMORY_LINE_BYTES == 0, "a line of its own");
_Static_assert(sizeof(struct ring_header) <= RING_HEADER_BYTES, "the records begin behind it");

static uint64_t checksum_of_header(const struct ring_header *header)
{
    size_t from = offsetof(struct ring_header, id);
    return checksum(
        slice_of((const uint8_t *)header + from, offsetof(struct ring_header, begin) - from), 0);
}

static uint64_t checksum_of_record(const struct ring_record *record, uint64_t id)
{
    size_t from = offsetof(struct ring_record, at);
    return checksum(slice_of((const uint8_t *)record + from, sizeof *record - from), id);
}

static uint32_t checksum_of_entry(struct slice entry, uint64_t id)
{
    return (uint32_t)checksum(entry, id);
}

static size_t record_bytes(size_t entry_bytes)
{
    size_t bytes = sizeof(struct ring_record) + entry_bytes;
    return (bytes + RECORD_ALIGNMENT - 1) / RECORD_ALIGNMENT * RECORD_ALIGNMENT;
}

// Where a record of so many bytes goes that may begin at `at`: there, or at the front.
static uint64_t place_of(uint64_t at, size_t bytes, size_t capacity_bytes)
{
    size_t left = capacity_bytes - at % capacity_bytes;
    return bytes <= left ? at : at + left;
}

static uint64_t next_front(uint64_t at, size_t capacity_bytes)
{
    return (at + capacity_bytes - 1) / capacity_bytes * capacity_bytes;
}

// ---- open and close

static size_t file_bytes(size_t bytes)
{
    return RING_HEADER_BYTES + bytes / RING_HEADER_BYTES * RING_HEADER_BYTES;
}

// Of the file that `fd` is, which is closed where that fails.
static enum error map_file(struct outbox_ring *ring, int fd, size_t bytes)
{
    // One that was copied may have holes.
    int code = FAULT_POINT(OUTBOX_RING_ROOM) ? ENOSPC : directory_reserve(fd, file_bytes(bytes));
    void *map = MAP_FAILED;
    if (code == 0) {
        map = mmap(NULL, file_bytes(bytes), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        code = errno;
    }
    if (map == MAP_FAILED) {
        close(fd);
        errno = code;
        return code == ENOSPC || code == EDQUOT ? ERROR_FULL : ERROR_SYSTEM;
    }
    *ring = (struct outbox_ring){
        .header = map,
        .fd = fd,
        .capacity_bytes = file_bytes(bytes) - RING_HEADER_BYTES,
    };
    return ERROR_NONE;
}

enum error outbox_ring_make(struct outbox_ring *ring, const struct directory *directory,
                            size_t bytes)
{
    *ring = OUTBOX_RING_NONE;
    unlinkat(directory->fd, UNFINISHED_NAME, 0);
    int fd =
        openat(directory->fd, UNFINISHED_NAME, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, MODE_FILE);
    if (fd < 0) {
        return ERROR_SYSTEM;
    }
    enum error error = map_file(ring, fd, bytes);
    if (error == ERROR_NONE &&
        (renameat(directory->fd, UNFINISHED_NAME, directory->fd, OUTBOX_RING_FILE) != 0 ||
         directory_sync(directory) != ERROR_NONE)) {
        error = ERROR_SYSTEM;
    }
    if (error != ERROR_NONE) {
        int code = errno;
        outbox_ring_close(ring);
        unlinkat(directory->fd, UNFINISHED_NAME, 0);
        errno = code;
    }
    return error;
}

static int open_file(const struct directory *directory, int flags)
{
    return openat(directory->fd, OUTBOX_RING_FILE, flags | O_CLOEXEC);
}

enum error outbox_ring_open(struct outbox_ring *ring, const struct directory *directory,
                            size_t bytes_max)
{
    struct stat status;
    *ring = OUTBOX_RING_NONE;
    int fd = open_file(directory, O_RDWR);
    if (fd < 0) {
        return errno == ENOENT ? ERROR_NOT_FOUND : ERROR_SYSTEM;
    }
    if (fstat(fd, &status) != 0 || (size_t)status.st_size < file_bytes(RING_HEADER_BYTES) ||
        (size_t)status.st_size > file_bytes(bytes_max) || status.st_size % RING_HEADER_BYTES != 0) {
        close(fd);
        return ERROR_NOT_FOUND;
    }
    return map_file(ring, fd, (size_t)status.st_size - RING_HEADER_BYTES);
}

void outbox_ring_close(struct outbox_ring *ring)
{
    if (ring->header != NULL) {
        munmap(ring->header, RING_HEADER_BYTES + ring->capacity_bytes);
        close(ring->fd);
    }
    *ring = OUTBOX_RING_NONE;
}

// ---- what a start finds; read and not mapped, since the disk may fail at it

static enum outbox_ring_state state_of(const struct ring_header *header,
                                       const struct outbox_ring_owner *owner)
{
    static const char BLANK[sizeof MAGIC];
    if (memcmp(header->magic, BLANK, sizeof BLANK) == 0) {
        return OUTBOX_RING_BLANK;
    }
    if (memcmp(header->magic, MAGIC, sizeof MAGIC) != 0 ||
        header->checksum != checksum_of_header(header)) {
        return OUTBOX_RING_DAMAGED;
    }
    if (strncmp(header->node, owner->node, sizeof header->node) != 0) {
        return OUTBOX_RING_FOREIGN;
    }
    bool is_present = strncmp(header->boot_id, owner->boot_id, sizeof header->boot_id) == 0;
    return is_present ? OUTBOX_RING_PRESENT : OUTBOX_RING_PAST;
}

enum error outbox_ring_look(const struct directory *directory,
                            const struct outbox_ring_owner *owner, struct outbox_ring_found *found)
{
    struct ring_header header;
    int fd = open_file(directory, O_RDONLY);
    if (fd < 0) {
        return errno == ENOENT ? ERROR_NOT_FOUND : ERROR_SYSTEM;
    }
    *found = (struct outbox_ring_found){.state = OUTBOX_RING_DAMAGED};
    if (directory_read(fd, &header, sizeof header, 0)) {
        found->state = state_of(&header, owner);
        found->last_seq = atomic_load(&header.last_seq);
        found->count = atomic_load(&header.count);
    }
    close(fd);
    return ERROR_NONE;
}

struct replay {
    uint8_t *records; // as many bytes as there are of them, where the file was cut
    size_t bytes;
    size_t capacity_bytes;
    uint64_t id;
};

// The whole record at that place. False where there is none.
static bool read_record(const struct replay *replay, uint64_t at, struct ring_record *record,
                        struct slice *entry)
{
    size_t offset = (size_t)(at % replay->capacity_bytes);
    size_t left = offset < replay->bytes ? replay->bytes - offset : 0;
    if (left < sizeof *record) {
        return false;
    }
    const uint8_t *from = replay->records + offset;
    memcpy(record, from, sizeof *record);
    if (record->at != at || record->checksum != checksum_of_record(record, replay->id) ||
        record->bytes > left - sizeof *record) {
        return false;
    }
    *entry = slice_of(from + sizeof *record, record->bytes);
    struct entry decoded;
    return record->entry_checksum == checksum_of_entry(*entry, replay->id) &&
           entry_decode(record->seq, *entry, &decoded) == ERROR_NONE;
}

static enum error replay_records(const struct replay *replay, uint64_t begin,
                                 enum error (*visit)(void *context, uint64_t before_seq,
                                                     uint64_t seq, struct slice entry),
                                 void *context)
{
    struct ring_record record;
    struct slice entry;
    uint64_t at = begin;
    enum error error = ERROR_NONE;
    // One lap at most: what a damaged file says is not followed for ever.
    while (error == ERROR_NONE && at - begin <= replay->capacity_bytes) {
        if (!read_record(replay, at, &record, &entry) &&
            !read_record(replay, next_front(at, replay->capacity_bytes), &record, &entry)) {
            break;
        }
        error = visit(context, record.before_seq, record.seq, entry);
        at = record.at + record_bytes(record.bytes);
    }
    return error;
}

// No more than the file has, nor than was in it when it was written: both may have been changed by
// somebody since. Up to where the disk fails: what is behind is zeroes, and no record.
static void read_records(struct replay *replay, int fd, const struct ring_header *header,
                         size_t file_bytes)
{
    size_t bytes = file_bytes > RING_HEADER_BYTES ? file_bytes - RING_HEADER_BYTES : 0;
    *replay = (struct replay){
        .bytes = header->bytes < bytes ? header->bytes : bytes,
        .capacity_bytes = header->bytes,
        .id = header->id,
    };
    if (replay->bytes > 0) {
        replay->records = memory_zeroed(1, replay->bytes);
        (void)directory_read(fd, replay->records, replay->bytes, RING_HEADER_BYTES);
    }
}

enum error outbox_ring_replay(const struct directory *directory,
                              enum error (*visit)(void *context, uint64_t before_seq, uint64_t seq,
                                                  struct slice entry),
                              void *context)
{
    struct stat status;
    struct ring_header header;
    enum error error = ERROR_NONE;
    int fd = open_file(directory, O_RDONLY);
    if (fd < 0 || fstat(fd, &status) != 0) {
        error = ERROR_SYSTEM;
    } else if (directory_read(fd, &header, sizeof header, 0)) {
        struct replay replay;
        read_records(&replay, fd, &header, (size_t)status.st_size);
        if (replay.bytes > 0) {
            error = replay_records(&replay, atomic_load(&header.begin), visit, context);
        }
        free(replay.records);
    }
    if (fd >= 0) {
        close(fd);
    }
    return error;
}

// ---- in use

static uint8_t *records_of(const struct outbox_ring *ring)
{
    return (uint8_t *)ring->header + RING_HEADER_BYTES;
}

// Who reads that after a crash reads all that was stored before.
static void publish(_Atomic uint64_t *place, uint64_t number)
{
    atomic_store_explicit(place, number, memory_order_release);
}

static void copy_id(char to[BOOT_ID_BYTES], const char *id)
{
    memset(to, 0, BOOT_ID_BYTES);
    memcpy(to, id, strnlen(id, BOOT_ID_BYTES - 1));
}

void outbox_ring_begin(struct outbox_ring *ring, const struct outbox_ring_owner *owner)
{
    struct ring_header *header = ring->header;
    memset(header->magic, 0, sizeof header->magic);
    atomic_thread_fence(memory_order_release);
    arc4random_buf(&header->id, sizeof header->id);
    header->bytes = ring->capacity_bytes;
    copy_id(header->boot_id, owner->boot_id);
    copy_id(header->node, owner->node);
    publish(&header->begin, 0);
    publish(&header->count, 0);
    publish(&header->last_seq, 0);
    header->checksum = checksum_of_header(header);
    atomic_thread_fence(memory_order_release);
    memcpy(header->magic, MAGIC, sizeof MAGIC);
    // Where that fails, a start of another boot takes it for one that was never used, or of an
    // earlier boot, and says the same of both.
    (void)msync(header, RING_HEADER_BYTES, MS_SYNC);
    ring->begin = ring->end = ring->moving_end = 0;
    ring->count = ring->moving_count = 0;
}

static bool has_room(const struct outbox_ring *ring, struct rows_cursor rows)
{
    uint64_t seq;
    struct slice entry;
    uint64_t end = ring->end;
    while (rows_next(&rows, &seq, &entry)) {
        size_t bytes = record_bytes(entry.len);
        if (bytes > ring->capacity_bytes) {
            return false;
        }
        end = place_of(end, bytes, ring->capacity_bytes) + bytes;
        if (end - ring->begin > ring->capacity_bytes) {
            return false;
        }
    }
    return true;
}

static void add_record(struct outbox_ring *ring, uint64_t before_seq, uint64_t seq,
                       struct slice entry)
{
    size_t bytes = record_bytes(entry.len);
    uint64_t at = place_of(ring->end, bytes, ring->capacity_bytes);
    uint8_t *to = records_of(ring) + at % ring->capacity_bytes;
    struct ring_record record = {
        .at = at,
        .seq = seq,
        .before_seq = before_seq,
        .bytes = (uint32_t)entry.len,
        .entry_checksum = checksum_of_entry(entry, ring->header->id),
    };
    record.checksum = checksum_of_record(&record, ring->header->id);
    memcpy(to + sizeof record, entry.at, entry.len);
    atomic_thread_fence(memory_order_release);
    memcpy(to, &record, sizeof record);
    ring->end = at + bytes;
    ring->count++;
}

enum error outbox_ring_add(struct outbox_ring *ring, uint64_t before_seq, struct rows_cursor rows)
{
    uint64_t seq;
    struct slice entry;
    CHECK(ring->header != NULL);
    if (FAULT_POINT(OUTBOX_RING_FULL) || !has_room(ring, rows)) {
        return ERROR_FULL;
    }
    uint64_t last_seq = before_seq;
    while (rows_next(&rows, &seq, &entry)) {
        add_record(ring, last_seq, seq, entry);
        last_seq = seq;
    }
    if (last_seq != before_seq) {
        publish(&ring->header->count, ring->count);
        publish(&ring->header->last_seq, last_seq);
        (void)FAULT_POINT(OUTBOX_AFTER_RING);
    }
    return ERROR_NONE;
}

void outbox_ring_note_moving(struct outbox_ring *ring)
{
    ring->moving_end = ring->end;
    ring->moving_count = ring->count;
}

// Where nothing is in it the next record goes to the front: while little is written its pages are
// few, and warm.
static void set_begin(struct outbox_ring *ring, uint64_t begin)
{
    ring->begin = begin;
    if (ring->header == NULL) {
        return;
    }
    if (ring->begin == ring->end) {
        ring->begin = ring->end = next_front(ring->end, ring->capacity_bytes);
    }
    publish(&ring->header->begin, ring->begin);
    publish(&ring->header->count, ring->count);
}

void outbox_ring_note_moved(struct outbox_ring *ring, bool are_there)
{
    if (are_there && ring->moving_end > ring->begin) {
        ring->count -= ring->moving_count;
        set_begin(ring, ring->moving_end);
    }
    ring->moving_end = 0;
    ring->moving_count = 0;
}

void outbox_ring_clear(struct outbox_ring *ring)
{
    if (ring->begin != ring->end) {
        ring->count = 0;
        set_begin(ring, ring->end);
    }
    ring->moving_end = 0;
    ring->moving_count = 0;
}
