#include "server/rpc_result.h"

#include "base/check.h"
#include "base/mpack.h"

void rpc_pack_bool(msgpack_packer *packer, bool value)
{
    if (value) {
        msgpack_pack_true(packer);
    } else {
        msgpack_pack_false(packer);
    }
}

static void pack_version(msgpack_packer *packer, bool known, int64_t version)
{
    if (known) {
        msgpack_pack_int64(packer, version);
    } else {
        msgpack_pack_nil(packer);
    }
}

void rpc_pack_text_field(msgpack_packer *packer, const char *name, const char *text)
{
    mpack_pack_string(packer, name);
    mpack_pack_string(packer, text);
}

void rpc_pack_seq_field(msgpack_packer *packer, uint64_t seq)
{
    mpack_pack_string(packer, "seq");
    msgpack_pack_uint64(packer, seq);
}

void rpc_pack_version_field(msgpack_packer *packer, bool known, int64_t version)
{
    mpack_pack_string(packer, "version");
    pack_version(packer, known, version);
}

void rpc_pack_item(msgpack_packer *packer, const struct item *item)
{
    if (!item->present) {
        msgpack_pack_nil(packer);
        return;
    }
    msgpack_pack_array(packer, 2);
    mpack_pack_raw(packer, item->value);
    pack_version(packer, item->has_version, item->version);
}

static void pack_only_item(msgpack_packer *packer, const struct reply *reply)
{
    CHECK_VALUES(reply->items_count <= 1, "%zu items", reply->items_count);
    static const struct item ABSENT = {0};
    rpc_pack_item(packer, reply->items_count == 1 ? &reply->items[0] : &ABSENT);
}

static void pack_items(msgpack_packer *packer, const struct reply *reply)
{
    msgpack_pack_array(packer, reply->items_count);
    for (size_t i = 0; i < reply->items_count; i++) {
        rpc_pack_item(packer, &reply->items[i]);
    }
}

static bool is_answered_by_postgres(const struct call *call)
{
    return call->ack == ACK_POSTGRES || call->condition != CONDITION_NONE;
}

bool rpc_result_is_seq(const struct call *call)
{
    switch (call->method) {
    case METHOD_SET:
    case METHOD_DELETE:
        return !is_answered_by_postgres(call);
    case METHOD_MSET:
    case METHOD_RETRY_DEAD_LETTER:
    case METHOD_FLUSH:
        return true;
    default:
        return false;
    }
}

static void pack_set(msgpack_packer *packer, const struct reply *reply)
{
    msgpack_pack_map(packer, 2);
    rpc_pack_seq_field(packer, reply->seq);
    rpc_pack_version_field(packer, reply->has_version, reply->version);
}

static void pack_delete(msgpack_packer *packer, const struct reply *reply)
{
    msgpack_pack_map(packer, 3);
    rpc_pack_seq_field(packer, reply->seq);
    mpack_pack_string(packer, "deleted");
    if (reply->has_deleted) {
        msgpack_pack_int64(packer, reply->integer);
    } else {
        msgpack_pack_nil(packer);
    }
    rpc_pack_version_field(packer, reply->has_version, reply->version);
}

static void pack_expiry(msgpack_packer *packer, int64_t expires_at_us)
{
    if (expires_at_us != 0) {
        msgpack_pack_int64(packer, expires_at_us);
    } else {
        msgpack_pack_nil(packer);
    }
}

static void pack_scan(msgpack_packer *packer, const struct call *call, const struct reply *reply)
{
    msgpack_pack_map(packer, reply->skipped_count > 0 ? 3 : 2);
    mpack_pack_string(packer, "items");
    msgpack_pack_array(packer, reply->items_count);
    for (size_t i = 0; i < reply->items_count; i++) {
        const struct item *item = &reply->items[i];
        msgpack_pack_array(packer, call->expires ? 4 : 3);
        mpack_pack_slice(packer, item->key);
        mpack_pack_raw(packer, item->value);
        pack_version(packer, item->has_version, item->version);
        if (call->expires) {
            pack_expiry(packer, item->expires_at_us);
        }
    }
    mpack_pack_string(packer, "next");
    if (reply->next.len > 0) {
        mpack_pack_slice(packer, reply->next);
    } else {
        msgpack_pack_nil(packer);
    }
    if (reply->skipped_count > 0) {
        mpack_pack_string(packer, "skipped");
        msgpack_pack_array(packer, reply->skipped_count);
        for (size_t i = 0; i < reply->skipped_count; i++) {
            mpack_pack_slice(packer, reply->skipped[i]);
        }
    }
}

static void pack_checks(msgpack_packer *packer, const struct reply *reply)
{
    msgpack_pack_array(packer, reply->checks_count);
    for (size_t i = 0; i < reply->checks_count; i++) {
        const struct check_item *check = &reply->checks[i];
        msgpack_pack_map(packer, 3);
        mpack_pack_string(packer, "item");
        mpack_pack_slice(packer, check->item);
        mpack_pack_string(packer, "ok");
        rpc_pack_bool(packer, check->ok);
        mpack_pack_string(packer, "message");
        mpack_pack_slice(packer, check->message);
    }
}

// [[version, value or nil, "set" or "delete", at_us]...]
static void pack_history(msgpack_packer *packer, const struct reply *reply)
{
    msgpack_pack_array(packer, reply->items_count);
    for (size_t i = 0; i < reply->items_count; i++) {
        const struct item *item = &reply->items[i];
        msgpack_pack_array(packer, 4);
        pack_version(packer, item->has_version, item->version);
        if (item->present) {
            mpack_pack_raw(packer, item->value);
        } else {
            msgpack_pack_nil(packer);
        }
        mpack_pack_string(packer, item->present ? "set" : "delete");
        msgpack_pack_int64(packer, item->at_us);
    }
}

// `key` is the first of `keys` keys.
static void pack_letters(msgpack_packer *packer, const struct reply *reply)
{
    msgpack_pack_array(packer, reply->letters_count);
    for (size_t i = 0; i < reply->letters_count; i++) {
        const struct letter *letter = &reply->letters[i];
        msgpack_pack_map(packer, 7);
        rpc_pack_seq_field(packer, letter->seq);
        mpack_pack_string(packer, "key");
        mpack_pack_slice(packer, letter->key);
        mpack_pack_string(packer, "keys");
        msgpack_pack_uint32(packer, letter->keys_count);
        rpc_pack_text_field(packer, "op", letter->op);
        mpack_pack_string(packer, "sqlstate");
        mpack_pack_slice(packer, letter->sqlstate);
        mpack_pack_string(packer, "message");
        mpack_pack_slice(packer, letter->message);
        mpack_pack_string(packer, "at_us");
        msgpack_pack_int64(packer, letter->at_us);
    }
}

static void pack_rows_field(msgpack_packer *packer, int64_t rows)
{
    mpack_pack_string(packer, "rows");
    msgpack_pack_int64(packer, rows);
}

static void pack_backup(msgpack_packer *packer, const struct backup_item *backup, bool has_time)
{
    msgpack_pack_map(packer, has_time ? 3 : 2);
    mpack_pack_string(packer, "table");
    mpack_pack_slice(packer, backup->table);
    pack_rows_field(packer, backup->rows);
    if (has_time) {
        mpack_pack_string(packer, "created_at");
        mpack_pack_slice(packer, backup->created_at);
    }
}

static void pack_backups(msgpack_packer *packer, const struct call *call, const struct reply *reply)
{
    msgpack_pack_array(packer, reply->backups_count);
    for (size_t i = 0; i < reply->backups_count; i++) {
        if (call->method == METHOD_BACKUPS) {
            pack_backup(packer, &reply->backups[i], true);
        } else {
            mpack_pack_slice(packer, reply->backups[i].table);
        }
    }
}

static void pack_only_backup(msgpack_packer *packer, const struct call *call,
                             const struct reply *reply)
{
    CHECK_VALUES(reply->backups_count == 1, "%zu backups", reply->backups_count);
    if (call->method == METHOD_BACKUP) {
        pack_backup(packer, &reply->backups[0], false);
    } else {
        msgpack_pack_map(packer, 1);
        pack_rows_field(packer, reply->backups[0].rows);
    }
}

void rpc_pack_result(msgpack_packer *packer, const struct call *call, const struct reply *reply)
{
    CHECK(!rpc_result_is_seq(call));
    switch (call->method) {
    case METHOD_PING:
        mpack_pack_string(packer, "pong");
        return;
    case METHOD_GET:
    case METHOD_INCR:
    case METHOD_MERGE:
        pack_only_item(packer, reply);
        return;
    case METHOD_MGET:
        pack_items(packer, reply);
        return;
    case METHOD_HISTORY:
        pack_history(packer, reply);
        return;
    case METHOD_TTL:
        pack_version(packer, reply->has_integer, reply->integer);
        return;
    case METHOD_SET:
        pack_set(packer, reply);
        return;
    case METHOD_DELETE:
        pack_delete(packer, reply);
        return;
    case METHOD_TOUCH:
    case METHOD_DISCARD_DEAD_LETTER:
        rpc_pack_bool(packer, reply->boolean);
        return;
    case METHOD_INVALIDATE:
        msgpack_pack_int64(packer, reply->integer);
        return;
    case METHOD_DEAD_LETTERS:
        pack_letters(packer, reply);
        return;
    case METHOD_SCAN:
    case METHOD_ALL:
        pack_scan(packer, call, reply);
        return;
    case METHOD_CHECK:
        pack_checks(packer, reply);
        return;
    case METHOD_BACKUP:
    case METHOD_RESTORE:
        pack_only_backup(packer, call, reply);
        return;
    case METHOD_BACKUPS:
    case METHOD_CLEANUP_BACKUPS:
        pack_backups(packer, call, reply);
        return;
    case METHOD_SYNC:
    case METHOD_WATCH:
    case METHOD_UNWATCH:
        rpc_pack_bool(packer, true);
        return;
    case METHOD_MSET:
    case METHOD_RETRY_DEAD_LETTER:
    case METHOD_FLUSH:
    case METHOD_HELLO:
    case METHOD_STATS:
    case METHOD_COUNT:
        break;
    }
    CHECK_VALUES(false, "method %d", (int)call->method);
}
