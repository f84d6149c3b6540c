// The codec of records. Decoding is on the path of every hit: a handful of loads and compares.
#include "cachefile/record.h"

#include "base/check.h"
#include "base/checksum.h"

enum { FLAG_PENDING = 1, FLAG_ABSENT = 2, FLAG_TAINTED = 4, FLAG_STACKED = 8, FLAGS_ALL = 15 };

enum {
    AT_LAYOUT = 0,
    AT_FLAGS = 1,
    AT_ORIGIN = 2,
    AT_STORED = 3,
    AT_VERSION = 8,
    AT_EPOCH = 16,
    AT_CHECK = 20,
    AT_EXPIRES = 24,
    AT_PENDING_SEQ = 32,
};

// The lowest ones of a 64-bit number.
enum { STORED_BYTES = AT_VERSION - AT_STORED };
enum { EPOCH_BYTES = AT_CHECK - AT_EPOCH };
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the lowest bytes come first");

// What must hold of any record, whoever made it.
static bool is_consistent(const struct record *record)
{
    return record->pending == (record->pending_seq != 0) &&
           (record->pending || (!record->tainted && !record->stacked)) &&
           record->absent == (record->value.len == 0);
}

const char *record_origin_name(enum record_origin origin)
{
    static const char *const NAMES[RECORD_ORIGINS_COUNT] = {
        [RECORD_ORIGIN_UNKNOWN] = "unknown",
        [RECORD_ORIGIN_FILL] = "fill",
        [RECORD_ORIGIN_FLUSH] = "flush",
        [RECORD_ORIGIN_PRELOAD] = "preload",
    };
    CHECK_VALUES((unsigned)origin < RECORD_ORIGINS_COUNT, "origin %d", (int)origin);
    return NAMES[origin];
}

static uint32_t check_of(struct slice bytes, struct slice key)
{
    uint64_t sum = checksum(slice_of(bytes.at, AT_CHECK), checksum(key, 0));
    return (uint32_t)checksum(slice_of(bytes.at + AT_EXPIRES, bytes.len - AT_EXPIRES), sum);
}

void record_encode(const struct record *record, struct slice key, uint8_t *out)
{
    CHECK_VALUES(is_consistent(record), "pending %d seq %llu absent %d value %zu bytes",
                 record->pending, (unsigned long long)record->pending_seq, record->absent,
                 record->value.len);
    CHECK_VALUES(record->epoch <= UINT32_MAX, "epoch %llu", (unsigned long long)record->epoch);
    memset(out, 0, AT_VERSION);
    out[AT_LAYOUT] = RECORD_LAYOUT;
    out[AT_FLAGS] =
        (uint8_t)((record->pending ? FLAG_PENDING : 0) | (record->absent ? FLAG_ABSENT : 0) |
                  (record->tainted ? FLAG_TAINTED : 0) | (record->stacked ? FLAG_STACKED : 0));
    out[AT_ORIGIN] = (uint8_t)record->origin;
    uint64_t stored = (uint64_t)record->stored_at_us / RECORD_STORED_STEP_US;
    memcpy(out + AT_STORED, &stored, STORED_BYTES);
    memcpy(out + AT_VERSION, &record->version, sizeof record->version);
    memcpy(out + AT_EPOCH, &record->epoch, EPOCH_BYTES);
    memcpy(out + AT_EXPIRES, &record->expires_at_us, sizeof record->expires_at_us);
    memcpy(out + AT_PENDING_SEQ, &record->pending_seq, sizeof record->pending_seq);
    if (record->value.len > 0) {
        memcpy(out + RECORD_HEADER_BYTES, record->value.at, record->value.len);
    }
    uint32_t check = check_of(slice_of(out, record_bytes(record)), key);
    memcpy(out + AT_CHECK, &check, sizeof check);
}

bool record_is_whole(struct slice bytes, struct slice key)
{
    struct record record;
    uint32_t check;
    if (record_decode(bytes, &record) != ERROR_NONE) {
        return false;
    }
    memcpy(&check, bytes.at + AT_CHECK, sizeof check);
    return check == check_of(bytes, key);
}

enum error record_decode(struct slice bytes, struct record *record)
{
    if (bytes.len < RECORD_HEADER_BYTES || bytes.at[AT_LAYOUT] != RECORD_LAYOUT ||
        (bytes.at[AT_FLAGS] & ~FLAGS_ALL) != 0) {
        return ERROR_CORRUPT;
    }
    uint8_t flags = bytes.at[AT_FLAGS];
    struct record decoded = {
        .pending = (flags & FLAG_PENDING) != 0,
        .absent = (flags & FLAG_ABSENT) != 0,
        .tainted = (flags & FLAG_TAINTED) != 0,
        .stacked = (flags & FLAG_STACKED) != 0,
        // What a later release may know is not known here, and no reason to refuse the record.
        .origin = bytes.at[AT_ORIGIN] < RECORD_ORIGINS_COUNT
                      ? (enum record_origin)bytes.at[AT_ORIGIN]
                      : RECORD_ORIGIN_UNKNOWN,
        .value = slice_of(bytes.at + RECORD_HEADER_BYTES, bytes.len - RECORD_HEADER_BYTES),
    };
    uint64_t stored = 0;
    memcpy(&stored, bytes.at + AT_STORED, STORED_BYTES);
    decoded.stored_at_us = (int64_t)stored * RECORD_STORED_STEP_US;
    memcpy(&decoded.version, bytes.at + AT_VERSION, sizeof decoded.version);
    memcpy(&decoded.epoch, bytes.at + AT_EPOCH, EPOCH_BYTES);
    memcpy(&decoded.expires_at_us, bytes.at + AT_EXPIRES, sizeof decoded.expires_at_us);
    memcpy(&decoded.pending_seq, bytes.at + AT_PENDING_SEQ, sizeof decoded.pending_seq);
    if (!is_consistent(&decoded)) {
        return ERROR_CORRUPT;
    }
    *record = decoded;
    return ERROR_NONE;
}
