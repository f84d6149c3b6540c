#include "cache/outbox_log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"
#include "base/checksum.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/memory.h"
#include "cache/rows.h"

static const char UNFINISHED_NAME[] = "outbox.log.new";
static const char FILE_MAGIC[8] = {'p', 'g', 'n', 'l', 'o', 'g', '1', '\n'};
static const char GROUP_MAGIC[8] = {'p', 'g', 'n', 'g', 'r', 'p', '1', '\n'};

enum { BLOCK_BYTES = 4096, MODE_FILE = 0640 };
enum { FILL_BYTES = 1 << 18, GROUP_KEEP_BYTES = 1 << 20 };

// Of the file (nothing follows it) and of a group.
struct header {
    char magic[8];
    uint64_t checksum;
    char id[OUTBOX_LOG_ID_BYTES];
    uint64_t generation;
    uint64_t at;
    uint64_t bytes;
    uint64_t count;
};

_Static_assert(sizeof(struct header) == 88, "no padding, which would be part of the checksum");

static size_t whole_blocks(size_t bytes)
{
    return (bytes + BLOCK_BYTES - 1) / BLOCK_BYTES * BLOCK_BYTES;
}

static uint64_t checksum_of(const uint8_t *header, size_t bytes)
{
    size_t from = offsetof(struct header, id);
    return checksum(slice_of(header + from, bytes - from), 0);
}

static bool write_all(int fd, const uint8_t *bytes, size_t len, size_t at)
{
    while (len > 0) {
        ssize_t written = pwrite(fd, bytes, len, (off_t)at);
        if (written < 0 && errno == EINTR) {
            continue;
        }
        if (written <= 0) {
            errno = written == 0 ? EIO : errno;
            return false;
        }
        bytes += written;
        len -= (size_t)written;
        at += (size_t)written;
    }
    return true;
}

// ---- open and close

static bool fill(int fd, const char *id, size_t bytes)
{
    struct header header = {0};
    memcpy(header.magic, FILE_MAGIC, sizeof FILE_MAGIC);
    memcpy(header.id, id, sizeof header.id);
    header.checksum = checksum_of((const uint8_t *)&header, sizeof header);
    uint8_t *blocks = memory_zeroed(1, FILL_BYTES);
    memcpy(blocks, &header, sizeof header);
    bool filled = true;
    for (size_t at = 0; filled && at < bytes; at += FILL_BYTES) {
        size_t left = bytes - at;
        filled = write_all(fd, blocks, left < FILL_BYTES ? left : FILL_BYTES, at);
        memset(blocks, 0, sizeof header);
    }
    free(blocks);
    return filled && fsync(fd) == 0;
}

// A file takes its name only once all its blocks are on the disk.
static enum error make_file(const struct directory *directory, const char *unfinished,
                            const char *path, const char *id, size_t bytes)
{
    unlink(unfinished);
    int fd = open(unfinished, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, MODE_FILE);
    bool made = fd >= 0 && fill(fd, id, bytes) && rename(unfinished, path) == 0;
    int code = errno;
    if (fd >= 0) {
        close(fd);
    }
    if (!made) {
        unlink(unfinished);
        errno = code;
        return code == ENOSPC || code == EDQUOT ? ERROR_FULL : ERROR_SYSTEM;
    }
    return directory_sync(directory);
}

enum error outbox_log_make(struct outbox_log *log, const struct directory *directory, size_t bytes)
{
    char id[OUTBOX_LOG_ID_BYTES];
    *log = OUTBOX_LOG_NONE;
    if (directory_random_uuid(id) != ERROR_NONE) {
        return ERROR_SYSTEM;
    }
    char *path = directory_path(directory, OUTBOX_LOG_FILE);
    char *unfinished = directory_path(directory, UNFINISHED_NAME);
    enum error error = make_file(directory, unfinished, path, id, whole_blocks(bytes));
    int code = errno;
    free(unfinished);
    free(path);
    errno = code;
    return error == ERROR_NONE ? outbox_log_open(log, directory, id) : error;
}

static bool is_file_header(const struct header *header, const char *id)
{
    return memcmp(header->magic, FILE_MAGIC, sizeof FILE_MAGIC) == 0 &&
           header->checksum == checksum_of((const uint8_t *)header, sizeof *header) &&
           memcmp(header->id, id, sizeof header->id) == 0;
}

enum error outbox_log_open(struct outbox_log *log, const struct directory *directory,
                           const char *id)
{
    struct stat status;
    struct header header;
    char *path = directory_path(directory, OUTBOX_LOG_FILE);
    int fd = open(path, O_RDWR | O_DSYNC | O_CLOEXEC);
    int code = errno;
    free(path);
    *log = OUTBOX_LOG_NONE;
    if (fd < 0) {
        errno = code;
        return code == ENOENT ? ERROR_NOT_FOUND : ERROR_SYSTEM;
    }
    if (fstat(fd, &status) != 0 || !directory_read(fd, &header, sizeof header, 0) ||
        !is_file_header(&header, id)) {
        close(fd);
        return ERROR_CORRUPT;
    }
    log->fd = fd;
    log->capacity_bytes = (size_t)status.st_size / BLOCK_BYTES * BLOCK_BYTES;
    memcpy(log->id, id, sizeof log->id);
    outbox_log_begin(log, 0);
    return ERROR_NONE;
}

void outbox_log_close(struct outbox_log *log)
{
    if (log->fd >= 0) {
        close(log->fd);
    }
    buffer_deinit(&log->group);
    *log = OUTBOX_LOG_NONE;
}

// ---- replay

// Reads the group at `at` into log->group, and its header. False where there is none that is whole,
// with `failed` where the disk is why.
static bool read_group(struct outbox_log *log, size_t at, struct header *header, bool *failed)
{
    if (log->capacity_bytes < at + BLOCK_BYTES) {
        return false;
    }
    if (!directory_read(log->fd, header, sizeof *header, at)) {
        *failed = true;
        return false;
    }
    size_t left = log->capacity_bytes - at - sizeof *header;
    if (memcmp(header->magic, GROUP_MAGIC, sizeof GROUP_MAGIC) != 0 || header->at != at ||
        memcmp(header->id, log->id, sizeof header->id) != 0 || header->bytes > left) {
        return false;
    }
    size_t bytes = sizeof *header + header->bytes;
    buffer_clear(&log->group, SIZE_MAX);
    if (!directory_read(log->fd, buffer_reserve(&log->group, bytes), bytes, at)) {
        *failed = true;
        return false;
    }
    buffer_commit(&log->group, bytes);
    return checksum_of(buffer_slice(&log->group).at, bytes) == header->checksum;
}

enum error outbox_log_visit_group(struct slice entries, uint64_t count, uint64_t *last_seq,
                                  enum error (*visit)(void *context, const struct entry *entry),
                                  void *context)
{
    struct slice rest = entries;
    for (uint64_t i = 0; i < count; i++) {
        uint64_t seq;
        uint32_t bytes;
        struct entry entry;
        if (rest.len < ROW_HEADER_BYTES) {
            return ERROR_CORRUPT;
        }
        memcpy(&seq, rest.at, sizeof seq);
        memcpy(&bytes, rest.at + sizeof seq, sizeof bytes);
        rest = slice_of(rest.at + ROW_HEADER_BYTES, rest.len - ROW_HEADER_BYTES);
        if (bytes > rest.len || seq <= *last_seq ||
            entry_decode(seq, slice_of(rest.at, bytes), &entry) != ERROR_NONE) {
            return ERROR_CORRUPT;
        }
        enum error error = visit(context, &entry);
        if (error != ERROR_NONE) {
            return error;
        }
        *last_seq = seq;
        rest = slice_of(rest.at + bytes, rest.len - bytes);
    }
    return rest.len == 0 ? ERROR_NONE : ERROR_CORRUPT;
}

static enum error ignore_entry(void *context, const struct entry *entry)
{
    (void)context;
    (void)entry;
    return ERROR_NONE;
}

// Looks the whole of it over before any of it is passed on.
static enum error replay_group(struct outbox_log *log, const struct header *header,
                               enum error (*visit)(void *context, const struct entry *entry),
                               void *context, bool *is_damaged)
{
    struct slice group = buffer_slice(&log->group);
    struct slice entries = slice_of(group.at + sizeof *header, group.len - sizeof *header);
    uint64_t last_seq = log->last_seq;
    *is_damaged =
        outbox_log_visit_group(entries, header->count, &last_seq, ignore_entry, NULL) != ERROR_NONE;
    if (*is_damaged) {
        return ERROR_CORRUPT;
    }
    enum error error =
        outbox_log_visit_group(entries, header->count, &log->last_seq, visit, context);
    log->count += error == ERROR_NONE ? header->count : 0;
    return error;
}

// What lies behind the last group that counts. A group that was being written when the power went
// is followed by older ones only; one that was damaged later may be followed by others.
static enum outbox_log_damage look_behind(struct outbox_log *log)
{
    struct header header;
    bool failed = false;
    bool has_present = false;
    for (size_t at = log->end_bytes; at < log->capacity_bytes; at += BLOCK_BYTES) {
        bool is_whole = read_group(log, at, &header, &failed);
        if (is_whole && header.generation > log->generation) {
            return OUTBOX_LOG_NEWER;
        }
        has_present = has_present || (is_whole && header.generation == log->generation);
    }
    return has_present ? OUTBOX_LOG_DAMAGED : failed ? OUTBOX_LOG_UNREADABLE : OUTBOX_LOG_WHOLE;
}

enum outbox_log_damage outbox_log_look(struct outbox_log *log, uint64_t generation)
{
    outbox_log_begin(log, generation);
    // What is left of the generation itself was taken over by a start that went without the log.
    enum outbox_log_damage found = look_behind(log);
    return found == OUTBOX_LOG_DAMAGED ? OUTBOX_LOG_WHOLE : found;
}

enum error outbox_log_replay(struct outbox_log *log, uint64_t generation,
                             enum error (*visit)(void *context, const struct entry *entry),
                             void *context, enum outbox_log_damage *damage)
{
    struct header header;
    enum error error = ERROR_NONE;
    bool failed = false;
    bool is_damaged = false;
    outbox_log_begin(log, generation);
    while (error == ERROR_NONE && read_group(log, log->end_bytes, &header, &failed) &&
           header.generation == generation) {
        error = replay_group(log, &header, visit, context, &is_damaged);
        log->end_bytes += whole_blocks(buffer_len(&log->group));
    }
    // Of what was torn, too, nothing may be taken for a group of this run.
    log->is_touched = true;
    *damage = is_damaged || failed ? OUTBOX_LOG_UNREADABLE : OUTBOX_LOG_WHOLE;
    if (error == ERROR_NONE && *damage == OUTBOX_LOG_WHOLE) {
        *damage = look_behind(log);
    }
    return error == ERROR_NONE && *damage != OUTBOX_LOG_WHOLE ? ERROR_CORRUPT : error;
}

void outbox_log_begin(struct outbox_log *log, uint64_t generation)
{
    log->generation = generation;
    log->is_touched = false;
    log->end_bytes = BLOCK_BYTES;
    log->last_seq = 0;
    log->count = 0;
}

// ---- groups

void outbox_log_group(struct outbox_log *log)
{
    buffer_clear(&log->group, GROUP_KEEP_BYTES);
    memset(buffer_reserve(&log->group, sizeof(struct header)), 0, sizeof(struct header));
    buffer_commit(&log->group, sizeof(struct header));
    log->group_last_seq = log->last_seq;
    log->group_count = 0;
}

static void note_entry(struct outbox_log *log, uint64_t seq)
{
    CHECK_VALUES(seq > log->group_last_seq, "seq %llu after %llu", (unsigned long long)seq,
                 (unsigned long long)log->group_last_seq);
    log->group_last_seq = seq;
    log->group_count++;
}

void outbox_log_add_encoded(struct outbox_log *log, uint64_t seq, struct slice bytes)
{
    uint32_t len = (uint32_t)bytes.len;
    buffer_append(&log->group, &seq, sizeof seq);
    buffer_append(&log->group, &len, sizeof len);
    buffer_append_slice(&log->group, bytes);
    note_entry(log, seq);
}

// The group as it goes to the disk, `bytes` of it beside the padding.
static const uint8_t *finish_group(struct outbox_log *log, size_t bytes, size_t padded)
{
    buffer_reserve(&log->group, padded - bytes);
    uint8_t *group = log->group.bytes + log->group.start;
    memset(group + bytes, 0, padded - bytes);
    struct header header = {
        .generation = log->generation,
        .at = log->end_bytes,
        .bytes = bytes - sizeof header,
        .count = log->group_count,
    };
    memcpy(header.magic, GROUP_MAGIC, sizeof GROUP_MAGIC);
    memcpy(header.id, log->id, sizeof header.id);
    memcpy(group, &header, sizeof header);
    header.checksum = checksum_of(group, bytes);
    memcpy(group, &header, sizeof header);
    return group;
}

enum error outbox_log_write(struct outbox_log *log)
{
    CHECK(outbox_log_is_in_use(log) && log->group_count > 0);
    size_t bytes = buffer_len(&log->group);
    size_t padded = whole_blocks(bytes);
    if (FAULT_POINT(OUTBOX_LOG_FULL) || padded > log->capacity_bytes - log->end_bytes) {
        return ERROR_FULL;
    }
    const uint8_t *group = finish_group(log, bytes, padded);
    (void)FAULT_POINT(OUTBOX_BEFORE_LOG);
    log->is_touched = true;
    bool written = write_all(log->fd, group, padded, log->end_bytes);
    if (FAULT_POINT(OUTBOX_LOG_SYNC)) {
        errno = EIO;
        written = false;
    }
    if (!written) {
        log->has_failed = true;
        LOG_ERROR("outbox log failed; every commit is the outbox's own from here on",
                  LOG_TEXT("error", strerrordesc_np(errno)));
        return ERROR_SYSTEM;
    }
    (void)FAULT_POINT(OUTBOX_AFTER_LOG);
    log->end_bytes += padded;
    log->last_seq = log->group_last_seq;
    log->count += log->group_count;
    return ERROR_NONE;
}
