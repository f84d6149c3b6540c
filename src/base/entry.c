// The bytes of an outbox entry: one MessagePack array,
//
//   [1, op, ack, condition, retired, if_version, accepted_us, expires_at_us, id, pairs_count,
//   pairs]
//
// where `pairs` is a bin of (str key, bin value) one after another. The leading number is the
// layout. Entries that try a dead letter again have three fields more:
//
//   letter_seq, is_guarded, guards
//
// where `guards` is a bin of (version or nil) one after another, as many as there are pairs.
// Conditions on a version that the node held have one more:
//
//   held_seq
//
// The last field is the checksum of all bytes before it. Layout 3 is the plain one, 4 that of a
// retry, 5 that of such a condition; 1 and 2 are those of the release before, which had no
// checksum, and are read only.
#include "base/entry.h"

#include <endian.h>

#include "base/check.h"
#include "base/checksum.h"
#include "base/mpack.h"

enum layout {
    LAYOUT_PLAIN_UNCHECKED = 1,
    LAYOUT_RETRY_UNCHECKED,
    LAYOUT_PLAIN,
    LAYOUT_RETRY,
    LAYOUT_HELD,
};

// Without the checksum.
static const uint32_t FIELDS[] = {
    [LAYOUT_PLAIN_UNCHECKED] = 11,
    [LAYOUT_RETRY_UNCHECKED] = 14,
    [LAYOUT_PLAIN] = 11,
    [LAYOUT_RETRY] = 14,
    [LAYOUT_HELD] = 12,
};

static enum entry_op op_of_method(enum method method)
{
    switch (method) {
    case METHOD_DELETE:
        return ENTRY_DELETE;
    case METHOD_INCR:
        return ENTRY_INCR;
    case METHOD_MERGE:
        return ENTRY_MERGE;
    case METHOD_TOUCH:
        return ENTRY_TOUCH;
    default:
        CHECK_VALUES(method == METHOD_SET || method == METHOD_MSET, "method %d", (int)method);
        return ENTRY_SET;
    }
}

// ---- pairs, which a server loop encodes so that the writer need not

enum { FIXARRAY = 0x90, FIXSTR = 0xa0, FIXSTR_LEN_MAX = 31, STR8 = 0xd9, BIN8 = 0xc4 };

// MessagePack's head of a str or bin: its first byte where one byte of length follows, two, or
// four.
static uint8_t *put_head(uint8_t *at, uint8_t first, size_t len)
{
    if (len <= UINT8_MAX) {
        *at++ = first;
        *at++ = (uint8_t)len;
    } else if (len <= UINT16_MAX) {
        uint16_t two = htobe16((uint16_t)len);
        *at++ = (uint8_t)(first + 1);
        at = mempcpy(at, &two, sizeof two);
    } else {
        uint32_t four = htobe32((uint32_t)len);
        *at++ = (uint8_t)(first + 2);
        at = mempcpy(at, &four, sizeof four);
    }
    return at;
}

static size_t head_bytes(size_t len)
{
    return len <= UINT8_MAX ? 2 : len <= UINT16_MAX ? 3 : 5;
}

static uint8_t *put_slice(uint8_t *at, struct slice slice, struct slice *copy)
{
    *copy = slice_of(at, slice.len);
    return slice.len == 0 ? at : mempcpy(at, slice.at, slice.len);
}

static uint8_t *put_str(uint8_t *at, struct slice text, struct slice *copy)
{
    if (text.len <= FIXSTR_LEN_MAX) {
        *at++ = (uint8_t)(FIXSTR | text.len);
    } else {
        at = put_head(at, STR8, text.len);
    }
    return put_slice(at, text, copy);
}

size_t entry_pairs_bytes(const struct call *call)
{
    size_t bytes = 0;
    for (size_t i = 0; i < call->pairs_count; i++) {
        const struct pair *pair = &call->pairs[i];
        bytes += pair->key.len <= FIXSTR_LEN_MAX ? 1 : head_bytes(pair->key.len);
        bytes += pair->key.len + head_bytes(pair->value.len) + pair->value.len;
    }
    return bytes;
}

void entry_copy_pairs(const struct call *call, uint8_t *at, struct pair *copies)
{
    for (size_t i = 0; i < call->pairs_count; i++) {
        const struct pair *pair = &call->pairs[i];
        struct pair copy;
        CHECK_VALUES(pair->value.len <= UINT32_MAX, "%zu bytes", pair->value.len);
        at = put_str(at, pair->key, &copy.key);
        at = put_head(at, BIN8, pair->value.len);
        at = put_slice(at, pair->value, &copy.value);
        if (copies != NULL) {
            copies[i] = copy;
        }
    }
}

static void describe(const struct call *call, struct slice pairs, struct entry *entry)
{
    *entry = (struct entry){
        .op = op_of_method(call->method),
        .ack = call->ack,
        .condition = call->condition,
        .if_version = call->if_version,
        .id = call->id,
        .pairs_count = (uint32_t)call->pairs_count,
        .pairs = pairs,
    };
}

void entry_of_call(const struct call *call, struct entry *entry, struct buffer *pairs)
{
    size_t bytes = entry_pairs_bytes(call);
    uint8_t *at = buffer_reserve(pairs, bytes);
    entry_copy_pairs(call, at, NULL);
    buffer_commit(pairs, bytes);
    describe(call, buffer_slice(pairs), entry);
}

void entry_of_request(const struct request *request, struct entry *entry)
{
    describe(&request->call, request->encoded_pairs, entry);
}

// ---- the entry

// Fifteen numbers of up to nine bytes, and the id.
enum { FIELDS_BYTES_MAX = 15 * 9 + 2 + REQUEST_ID_BYTES_MAX + 2 * 5 };

static uint8_t *put_bin(uint8_t *at, struct slice bytes)
{
    struct slice copy;
    return put_slice(put_head(at, BIN8, bytes.len), bytes, &copy);
}

static enum layout layout_of(const struct entry *entry)
{
    if (entry->letter_seq != 0) {
        return LAYOUT_RETRY; // which has no condition but its guards
    }
    return entry->held_seq != 0 ? LAYOUT_HELD : LAYOUT_PLAIN;
}

static uint8_t *put_fields(uint8_t *at, const struct entry *entry)
{
    enum layout layout = layout_of(entry);
    struct slice copy;
    *at++ = (uint8_t)(FIXARRAY | (FIELDS[layout] + 1));
    *at++ = (uint8_t)layout;
    *at++ = (uint8_t)entry->op;
    *at++ = (uint8_t)entry->ack;
    *at++ = (uint8_t)entry->condition;
    *at++ = entry->retired;
    at = mpack_put_int(at, entry->if_version);
    at = mpack_put_int(at, entry->accepted_us);
    at = mpack_put_int(at, entry->expires_at_us);
    at = put_str(at, entry->id, &copy);
    at = mpack_put_uint(at, entry->pairs_count);
    at = put_bin(at, entry->pairs);
    if (layout == LAYOUT_RETRY) {
        at = mpack_put_uint(at, entry->letter_seq);
        *at++ = entry->is_guarded;
        at = put_bin(at, entry->guards);
    } else if (layout == LAYOUT_HELD) {
        at = mpack_put_uint(at, entry->held_seq);
    }
    return at;
}

void entry_encode(const struct entry *entry, struct buffer *out)
{
    CHECK_VALUES(entry->id.len <= REQUEST_ID_BYTES_MAX, "%zu bytes", entry->id.len);
    uint8_t *begin = buffer_reserve(out, FIELDS_BYTES_MAX + entry->pairs.len + entry->guards.len);
    uint8_t *at = put_fields(begin, entry);
    at = mpack_put_uint(at, checksum(slice_of(begin, (size_t)(at - begin)), 0));
    buffer_commit(out, (size_t)(at - begin));
}

static bool read_small(struct mpack_cursor *cursor, uint64_t limit, unsigned *value)
{
    uint64_t wide;
    if (!mpack_read_uint(cursor, &wide) || wide > limit) {
        return false;
    }
    *value = (unsigned)wide;
    return true;
}

static bool read_bin(struct mpack_cursor *cursor, struct slice *body)
{
    const uint8_t *at = cursor->at;
    size_t left = (size_t)(cursor->end - at);
    if (left >= 2 && at[0] == BIN8 && left - 2 >= at[1]) {
        *body = slice_of(at + 2, at[1]);
        cursor->at = at + 2 + at[1];
        return true;
    }
    struct mpack_token token;
    if (mpack_next(cursor, &token) != DECODE_OK || token.type != MPACK_BIN) {
        return false;
    }
    *body = token.body;
    return true;
}

bool entry_next_pair(struct entry_cursor *cursor, struct pair *pair)
{
    if (cursor->rest.len == 0) {
        return false;
    }
    struct mpack_cursor bytes = mpack_cursor_of(cursor->rest);
    if (!mpack_read_str(&bytes, &pair->key) || !read_bin(&bytes, &pair->value)) {
        return false;
    }
    cursor->rest = slice_of(bytes.at, (size_t)(bytes.end - bytes.at));
    return true;
}

static bool pairs_are_well_formed(const struct entry *entry)
{
    struct entry_cursor cursor = entry_cursor_of(entry);
    struct pair pair;
    uint32_t count = 0;
    while (entry_next_pair(&cursor, &pair)) {
        count++;
    }
    return cursor.rest.len == 0 && count == entry->pairs_count;
}

void entry_append_guard(struct buffer *guards, const struct guard *guard)
{
    msgpack_packer packer;
    mpack_packer_init(&packer, guards);
    if (guard->present) {
        msgpack_pack_int64(&packer, guard->version);
    } else {
        msgpack_pack_nil(&packer);
    }
}

bool entry_next_guard(struct slice *guards, struct guard *guard)
{
    struct mpack_cursor cursor = mpack_cursor_of(*guards);
    guard->present = !mpack_read_nil(&cursor);
    if (guard->present && !mpack_read_int(&cursor, &guard->version)) {
        return false;
    }
    *guards = slice_of(cursor.at, (size_t)(cursor.end - cursor.at));
    return true;
}

bool entry_guards_are_well_formed(struct slice guards, uint32_t count)
{
    struct guard guard;
    while (count > 0 && entry_next_guard(&guards, &guard)) {
        count--;
    }
    return count == 0 && guards.len == 0;
}

static bool read_retry(struct mpack_cursor *cursor, struct entry *entry)
{
    unsigned guarded;
    if (!mpack_read_uint(cursor, &entry->letter_seq) || entry->letter_seq == 0 ||
        !read_small(cursor, 1, &guarded) || !read_bin(cursor, &entry->guards)) {
        return false;
    }
    entry->is_guarded = guarded == 1;
    return entry_guards_are_well_formed(entry->guards, entry->is_guarded ? entry->pairs_count : 0);
}

// What the layout has besides.
static bool read_rest(struct mpack_cursor *cursor, unsigned layout, struct entry *entry)
{
    switch (layout) {
    case LAYOUT_RETRY_UNCHECKED:
    case LAYOUT_RETRY:
        return read_retry(cursor, entry);
    case LAYOUT_HELD:
        return mpack_read_uint(cursor, &entry->held_seq) && entry->held_seq != 0;
    default:
        return true;
    }
}

static bool read_layout(struct mpack_cursor *cursor, unsigned *layout)
{
    uint32_t fields;
    return mpack_read_array(cursor, &fields) && read_small(cursor, LAYOUT_HELD, layout) &&
           *layout >= LAYOUT_PLAIN_UNCHECKED &&
           fields == FIELDS[*layout] + (*layout >= LAYOUT_PLAIN);
}

static bool read_checksum(struct mpack_cursor *cursor, unsigned layout, struct slice bytes)
{
    uint64_t sum;
    struct slice covered = slice_of(bytes.at, (size_t)(cursor->at - bytes.at));
    return layout < LAYOUT_PLAIN || (mpack_read_uint(cursor, &sum) && sum == checksum(covered, 0));
}

enum error entry_decode(uint64_t seq, struct slice bytes, struct entry *entry)
{
    struct mpack_cursor cursor = mpack_cursor_of(bytes);
    unsigned layout, op, ack, condition, retired, pairs_count;
    struct entry decoded = {.seq = seq};
    if (!read_layout(&cursor, &layout) || !read_small(&cursor, ENTRY_TOUCH, &op) ||
        !read_small(&cursor, ACK_POSTGRES, &ack) ||
        !read_small(&cursor, CONDITION_IF_ABSENT, &condition) ||
        !read_small(&cursor, 1, &retired) || !mpack_read_int(&cursor, &decoded.if_version) ||
        !mpack_read_int(&cursor, &decoded.accepted_us) ||
        !mpack_read_int(&cursor, &decoded.expires_at_us) || !mpack_read_str(&cursor, &decoded.id) ||
        !read_small(&cursor, UINT32_MAX, &pairs_count) || !read_bin(&cursor, &decoded.pairs)) {
        return ERROR_CORRUPT;
    }
    decoded.op = (enum entry_op)op;
    decoded.ack = (enum ack)ack;
    decoded.condition = (enum condition)condition;
    decoded.retired = retired == 1;
    decoded.pairs_count = pairs_count;
    if (!pairs_are_well_formed(&decoded) || !read_rest(&cursor, layout, &decoded) ||
        !read_checksum(&cursor, layout, bytes) || cursor.at != cursor.end) {
        return ERROR_CORRUPT;
    }
    *entry = decoded;
    return ERROR_NONE;
}
