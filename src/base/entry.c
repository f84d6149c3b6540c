// The bytes of an outbox entry: one MessagePack array,
//
//   [1, op, ack, condition, retired, if_version, accepted_us, expires_at_us, id, pairs_count,
//   pairs]
//
// where `pairs` is a bin of (str key, bin value) one after another. The leading 1 is the version
// of this layout: a daemon reads its own and the one before.
#include "base/entry.h"

#include "base/check.h"
#include "base/mpack.h"

enum { ENTRY_LAYOUT = 1, ENTRY_FIELDS = 11 };

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

void entry_of_call(const struct call *call, struct entry *entry, struct buffer *pairs)
{
    msgpack_packer packer;
    mpack_packer_init(&packer, pairs);
    for (size_t i = 0; i < call->pairs_count; i++) {
        mpack_pack_slice(&packer, call->pairs[i].key);
        msgpack_pack_bin(&packer, call->pairs[i].value.len);
        msgpack_pack_bin_body(&packer, call->pairs[i].value.at, call->pairs[i].value.len);
    }
    *entry = (struct entry){
        .op = op_of_method(call->method),
        .ack = call->ack,
        .condition = call->condition,
        .if_version = call->if_version,
        .id = call->id,
        .pairs_count = (uint32_t)call->pairs_count,
        .pairs = buffer_slice(pairs),
    };
}

void entry_encode(const struct entry *entry, struct buffer *out)
{
    msgpack_packer packer;
    mpack_packer_init(&packer, out);
    msgpack_pack_array(&packer, ENTRY_FIELDS);
    msgpack_pack_int(&packer, ENTRY_LAYOUT);
    msgpack_pack_int(&packer, (int)entry->op);
    msgpack_pack_int(&packer, (int)entry->ack);
    msgpack_pack_int(&packer, (int)entry->condition);
    msgpack_pack_int(&packer, entry->retired);
    msgpack_pack_int64(&packer, entry->if_version);
    msgpack_pack_int64(&packer, entry->accepted_us);
    msgpack_pack_int64(&packer, entry->expires_at_us);
    mpack_pack_slice(&packer, entry->id);
    msgpack_pack_uint32(&packer, entry->pairs_count);
    msgpack_pack_bin(&packer, entry->pairs.len);
    msgpack_pack_bin_body(&packer, entry->pairs.at, entry->pairs.len);
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

enum error entry_decode(uint64_t seq, struct slice bytes, struct entry *entry)
{
    struct mpack_cursor cursor = mpack_cursor_of(bytes);
    uint32_t fields;
    unsigned layout, op, ack, condition, retired, pairs_count;
    struct entry decoded = {.seq = seq};
    if (!mpack_read_array(&cursor, &fields) || fields != ENTRY_FIELDS ||
        !read_small(&cursor, ENTRY_LAYOUT, &layout) || layout != ENTRY_LAYOUT ||
        !read_small(&cursor, ENTRY_TOUCH, &op) || !read_small(&cursor, ACK_POSTGRES, &ack) ||
        !read_small(&cursor, CONDITION_IF_ABSENT, &condition) ||
        !read_small(&cursor, 1, &retired) || !mpack_read_int(&cursor, &decoded.if_version) ||
        !mpack_read_int(&cursor, &decoded.accepted_us) ||
        !mpack_read_int(&cursor, &decoded.expires_at_us) || !mpack_read_str(&cursor, &decoded.id) ||
        !read_small(&cursor, UINT32_MAX, &pairs_count) || !read_bin(&cursor, &decoded.pairs) ||
        cursor.at != cursor.end) {
        return ERROR_CORRUPT;
    }
    decoded.op = (enum entry_op)op;
    decoded.ack = (enum ack)ack;
    decoded.condition = (enum condition)condition;
    decoded.retired = retired == 1;
    decoded.pairs_count = pairs_count;
    if (!pairs_are_well_formed(&decoded)) {
        return ERROR_CORRUPT;
    }
    *entry = decoded;
    return ERROR_NONE;
}
