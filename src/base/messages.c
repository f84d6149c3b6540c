#include "base/messages.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/memory.h"
#include "base/mpack.h"

enum { REPLY_FIELDS = 11 };

void *message_create(enum message_kind kind, size_t size)
{
    struct message *message = memory_zeroed(1, size);
    message->kind = (int)kind;
    message->bytes = size;
    return message;
}

static void destroy_requests(struct request *request)
{
    while (request != NULL) {
        struct request *sibling = request->sibling;
        request_destroy(request);
        request = sibling;
    }
}

void message_destroy(struct message *message)
{
    switch ((enum message_kind)message->kind) {
    case MESSAGE_REQUEST:
        request_destroy((struct request *)message);
        return;
    case MESSAGE_FEED:
    case MESSAGE_BIND:
    case MESSAGE_REWIND:
        break;
    case MESSAGE_FILLS:
        arena_deinit(&((struct fills_message *)message)->arena);
        break;
    case MESSAGE_CHANGES:
        arena_deinit(&((struct changes_message *)message)->arena);
        break;
    case MESSAGE_SWEPT:
        arena_deinit(&((struct swept_message *)message)->arena);
        break;
    case MESSAGE_FLUSHED:
        destroy_requests(((struct flushed_message *)message)->requests);
        arena_deinit(&((struct flushed_message *)message)->arena);
        break;
    case MESSAGE_RETIRE:
        destroy_requests(((struct retire_message *)message)->requests);
        arena_deinit(&((struct retire_message *)message)->arena);
        break;
    }
    free(message);
}

static void pack_optional_int(msgpack_packer *packer, bool present, int64_t value)
{
    if (present) {
        msgpack_pack_int64(packer, value);
    } else {
        msgpack_pack_nil(packer);
    }
}

static const struct item *only_item(const struct reply *reply)
{
    static const struct item NONE = {0};
    CHECK_VALUES(reply->items_count <= 1, "%zu items", reply->items_count);
    return reply->items_count == 1 ? &reply->items[0] : &NONE;
}

void reply_encode(const struct reply *reply, struct buffer *out)
{
    const struct item *item = only_item(reply);
    msgpack_packer packer;
    mpack_packer_init(&packer, out);
    msgpack_pack_array(&packer, REPLY_FIELDS);
    msgpack_pack_int(&packer, (int)reply->failure.error);
    mpack_pack_string(&packer, reply->failure.message);
    mpack_pack_string(&packer, reply->failure.sqlstate);
    pack_optional_int(&packer, reply->failure.has_version, reply->failure.version);
    msgpack_pack_uint64(&packer, reply->seq);
    pack_optional_int(&packer, reply->has_version, reply->version);
    pack_optional_int(&packer, reply->has_deleted, reply->integer);
    msgpack_pack_int(&packer, reply->boolean);
    msgpack_pack_int(&packer, item->present);
    pack_optional_int(&packer, item->has_version, item->version);
    mpack_pack_slice(&packer, item->value);
}

static bool read_optional_int(struct mpack_cursor *cursor, bool *present, int64_t *value)
{
    *present = !mpack_read_nil(cursor);
    return !*present || mpack_read_int(cursor, value);
}

static bool read_flag(struct mpack_cursor *cursor, bool *flag)
{
    uint64_t value;
    if (!mpack_read_uint(cursor, &value) || value > 1) {
        return false;
    }
    *flag = value == 1;
    return true;
}

static void copy_text(char *out, size_t out_bytes, struct slice text)
{
    size_t len = text.len < out_bytes ? text.len : out_bytes - 1;
    memcpy(out, text.at, len);
    out[len] = '\0';
}

enum error reply_decode(struct slice bytes, struct reply *reply)
{
    struct mpack_cursor cursor = mpack_cursor_of(bytes);
    uint32_t fields;
    uint64_t error;
    struct slice message, sqlstate, value;
    struct item item = {0};
    struct failure *failure = &reply->failure;
    if (!mpack_read_array(&cursor, &fields) || fields != REPLY_FIELDS ||
        !mpack_read_uint(&cursor, &error) || error >= ERROR_COUNT ||
        !mpack_read_str(&cursor, &message) || !mpack_read_str(&cursor, &sqlstate) ||
        !read_optional_int(&cursor, &failure->has_version, &failure->version) ||
        !mpack_read_uint(&cursor, &reply->seq) ||
        !read_optional_int(&cursor, &reply->has_version, &reply->version) ||
        !read_optional_int(&cursor, &reply->has_deleted, &reply->integer) ||
        !read_flag(&cursor, &reply->boolean) || !read_flag(&cursor, &item.present) ||
        !read_optional_int(&cursor, &item.has_version, &item.version) ||
        !mpack_read_str(&cursor, &value)) {
        return ERROR_CORRUPT;
    }
    failure->error = (enum error)error;
    copy_text(failure->message, sizeof failure->message, message);
    copy_text(failure->sqlstate, sizeof failure->sqlstate, sqlstate);
    if (item.present) {
        item.value = arena_copy(&reply->arena, value);
        *reply_items(reply, 1) = item;
    }
    return ERROR_NONE;
}
