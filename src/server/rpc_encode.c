// The frames of the protocol; what stands in a result is in rpc_result.c.
#include "server/rpc_encode.h"

#include "base/check.h"
#include "base/item.h"
#include "base/words.h"
#include "server/rpc_result.h"
#include "server/stats_pack.h"

enum { RPC_RESPONSE = 1, RPC_NOTIFICATION = 2, PROTOCOL = 1 };

static void begin_response(msgpack_packer *packer, struct buffer *out, uint32_t msgid)
{
    mpack_packer_init(packer, out);
    msgpack_pack_array(packer, 4);
    msgpack_pack_int(packer, RPC_RESPONSE);
    msgpack_pack_uint32(packer, msgid);
}

static void begin_result(msgpack_packer *packer, struct buffer *out, uint32_t msgid)
{
    begin_response(packer, out, msgid);
    msgpack_pack_nil(packer);
}

// The words may be PostgreSQL's or hold bytes of a client: a MessagePack string is UTF-8, and a
// decoder at the other end may insist on it.
static void pack_message_field(msgpack_packer *packer, const struct failure *failure)
{
    const char *message =
        failure->message[0] != '\0' ? failure->message : error_text(failure->error);
    mpack_pack_string(packer, "message");
    if (is_text(slice_of_string(message))) {
        mpack_pack_string(packer, message);
    } else {
        mpack_pack_string(packer, quote_key(slice_of_string(message)).text);
    }
}

void rpc_encode_failure(struct buffer *out, uint32_t msgid, const struct failure *failure)
{
    CHECK(failure->error != ERROR_NONE);
    bool has_sqlstate = failure->sqlstate[0] != '\0';
    size_t fields = 3 + (size_t)has_sqlstate + failure->has_version + failure->has_seq;
    msgpack_packer packer;
    begin_response(&packer, out, msgid);
    msgpack_pack_map(&packer, fields);
    rpc_pack_text_field(&packer, "code", error_wire_code(failure->error));
    pack_message_field(&packer, failure);
    mpack_pack_string(&packer, "retryable");
    rpc_pack_bool(&packer, error_is_retryable(failure->error));
    if (has_sqlstate) {
        rpc_pack_text_field(&packer, "sqlstate", failure->sqlstate);
    }
    if (failure->has_version) {
        rpc_pack_version_field(&packer, true, failure->version);
    }
    if (failure->has_seq) {
        rpc_pack_seq_field(&packer, failure->seq);
    }
    msgpack_pack_nil(&packer);
}

// The head of a response with a result, by hand, for what is answered most.
enum { HEAD_BYTES_MAX = 3 + MPACK_INT_BYTES_MAX };

static uint8_t *put_head(uint8_t *at, uint32_t msgid)
{
    at = mpack_put_array(at, 4);
    at = mpack_put_uint(at, RPC_RESPONSE);
    at = mpack_put_uint(at, msgid);
    return mpack_put_nil(at);
}

void rpc_encode_item(struct buffer *out, uint32_t msgid, const struct item *item)
{
    uint8_t *begin = buffer_reserve(out, HEAD_BYTES_MAX + ITEM_BYTES_MAX + item->value.len);
    uint8_t *end = item_put(put_head(begin, msgid), item);
    buffer_commit(out, (size_t)(end - begin));
}

// What most writes are answered: {seq}.
static void encode_seq(struct buffer *out, uint32_t msgid, uint64_t seq)
{
    static const uint8_t NAME[] = {0xa3, 's', 'e', 'q'};
    uint8_t *begin = buffer_reserve(out, HEAD_BYTES_MAX + 1 + sizeof NAME + MPACK_INT_BYTES_MAX);
    uint8_t *at = mpack_put_map(put_head(begin, msgid), 1);
    memcpy(at, NAME, sizeof NAME);
    at = mpack_put_uint(at + sizeof NAME, seq);
    buffer_commit(out, (size_t)(at - begin));
}

void rpc_encode_reply(struct buffer *out, uint32_t msgid, const struct call *call,
                      const struct reply *reply)
{
    if (reply->failure.error != ERROR_NONE) {
        rpc_encode_failure(out, msgid, &reply->failure);
        return;
    }
    if (rpc_result_is_seq(call)) {
        encode_seq(out, msgid, reply->seq);
        return;
    }
    msgpack_packer packer;
    begin_result(&packer, out, msgid);
    rpc_pack_result(&packer, call, reply);
}

void rpc_encode_hello(struct buffer *out, uint32_t msgid, const struct hello *hello)
{
    msgpack_packer packer;
    begin_result(&packer, out, msgid);
    msgpack_pack_map(&packer, 9);
    rpc_pack_text_field(&packer, "server", "pgnear");
    rpc_pack_text_field(&packer, "version", hello->facts->version);
    mpack_pack_string(&packer, "protocol");
    msgpack_pack_int(&packer, PROTOCOL);
    rpc_pack_text_field(&packer, "node", hello->facts->node);
    rpc_pack_text_field(&packer, "table", hello->facts->table);
    rpc_pack_text_field(&packer, "cache_dir", hello->facts->cache_dir);
    mpack_pack_string(&packer, "read_only");
    rpc_pack_bool(&packer, hello->read_only);
    rpc_pack_text_field(&packer, "state", node_state_name(hello->state));
    mpack_pack_string(&packer, "last_error");
    if (hello->has_error) {
        mpack_pack_string(&packer, hello->last_error.message);
    } else {
        msgpack_pack_nil(&packer);
    }
}

void rpc_encode_stats(struct buffer *out, uint32_t msgid, const struct stats *stats)
{
    msgpack_packer packer;
    begin_result(&packer, out, msgid);
    stats_pack(&packer, stats);
}

static void begin_notification(msgpack_packer *packer, struct buffer *out, const char *method,
                               uint32_t params)
{
    mpack_packer_init(packer, out);
    msgpack_pack_array(packer, 3);
    msgpack_pack_int(packer, RPC_NOTIFICATION);
    mpack_pack_string(packer, method);
    msgpack_pack_array(packer, params);
}

void rpc_encode_changed(struct buffer *out, const struct change *change)
{
    msgpack_packer packer;
    begin_notification(&packer, out, "changed", 3);
    mpack_pack_slice(&packer, change->key);
    msgpack_pack_int64(&packer, change->version);
    mpack_pack_string(&packer, change->op == CHANGE_SET ? "set" : "delete");
}

void rpc_encode_resync(struct buffer *out)
{
    msgpack_packer packer;
    begin_notification(&packer, out, "resync", 0);
}
