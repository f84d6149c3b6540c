// set, mset, delete, incr, merge, touch.

#include <stdlib.h>

#include "base/memory.h"
#include "client/exchange.h"
#include "client/options.h"
#include "client/requests.h"
#include "client/results.h"

// Packs the options as the last parameter, and runs the request.
static pgnear_code run(pgnear *handle, const pgnear_write_options *options,
                       struct mpack_cursor *result, pgnear_error *error)
{
    struct exchange exchange;
    request_end_write(handle, options, &exchange);
    return exchange_run(handle, &exchange, result, error);
}

static pgnear_code run_for_item(pgnear *handle, const char *method,
                                const pgnear_write_options *options, pgnear_item *item,
                                pgnear_error *error)
{
    struct mpack_cursor result;
    pgnear_code code = run(handle, options, &result, error);
    if (code != PGNEAR_OK) {
        return code;
    }
    pgnear_item answered;
    if (!result_item(&result, &answered) || !answered.present) {
        return result_garbled(method, error);
    }
    if (item != NULL) {
        *item = answered;
    }
    return PGNEAR_OK;
}

// Begins a request whose parameters are a key, something and the options.
static msgpack_packer *begin_with_key(pgnear *handle, const char *method, pgnear_bytes key)
{
    msgpack_packer *packer = exchange_begin(handle, method, 3);
    mpack_pack_slice(packer, slice_of_bytes(key));
    return packer;
}

// Runs a request that is complete.
static pgnear_code run_packed(pgnear *handle, const char *method, const struct exchange *exchange,
                              pgnear_written *written, pgnear_error *error)
{
    struct mpack_cursor result;
    pgnear_code code = exchange_run(handle, exchange, &result, error);
    if (code == PGNEAR_OK && !result_written(&result, written)) {
        code = result_garbled(method, error);
    }
    return code;
}

// The keys of a write, by their hashes: they may lie in what the last call handed out, which is
// gone once the request was sent.
struct written_keys {
    struct direct *direct;
    size_t count;
    struct written_key {
        uint64_t hash;
        struct seen_told told;
    } * keys, only;
};

static struct written_keys keys_begin(pgnear *handle, size_t capacity)
{
    struct written_keys keys = {.direct = &handle->direct};
    keys.keys = capacity > 1 ? memory_zeroed(capacity, sizeof *keys.keys) : NULL;
    return keys;
}

static void keys_add(struct written_keys *keys, pgnear_bytes key)
{
    struct written_key *added = keys->keys == NULL ? &keys->only : &keys->keys[keys->count];
    keys->count++;
    added->hash = sketch_hash(slice_of_bytes(key));
    added->told = direct_write_begin(keys->direct, added->hash);
}

// The last first: of a key that is named twice the first one has what was told.
static void keys_end(struct written_keys *keys, pgnear_code code)
{
    while (keys->count > 0) {
        const struct written_key *key =
            keys->keys == NULL ? &keys->only : &keys->keys[keys->count - 1];
        direct_write_end(keys->direct, key->hash, key->told, code == PGNEAR_OK);
        keys->count--;
    }
    free(keys->keys);
}

pgnear_code pgnear_set(pgnear *handle, pgnear_bytes key, pgnear_bytes value,
                       const pgnear_write_options *options, pgnear_written *written,
                       pgnear_error *error)
{
    struct exchange exchange;
    pgnear_code code = request_set(handle, key, value, options, &exchange, error);
    struct written_keys keys = keys_begin(handle, 1);
    keys_add(&keys, key);
    code = code != PGNEAR_OK ? code : run_packed(handle, "set", &exchange, written, error);
    keys_end(&keys, code);
    return code;
}

pgnear_code pgnear_mset(pgnear *handle, const pgnear_pair *pairs, size_t count,
                        const pgnear_write_options *options, pgnear_written *written,
                        pgnear_error *error)
{
    pgnear_write_options own;
    pgnear_code code = options_take(&own, sizeof own, options, error);
    for (size_t i = 0; code == PGNEAR_OK && i < count; i++) {
        code = request_check_value("mset", pairs[i].value, error);
    }
    if (code != PGNEAR_OK) {
        return code;
    }
    struct written_keys keys = keys_begin(handle, count);
    msgpack_packer *packer = exchange_begin(handle, "mset", 2);
    msgpack_pack_array(packer, count);
    for (size_t i = 0; i < count; i++) {
        keys_add(&keys, pairs[i].key);
        msgpack_pack_array(packer, 2);
        mpack_pack_slice(packer, slice_of_bytes(pairs[i].key));
        mpack_pack_raw(packer, slice_of_bytes(pairs[i].value));
    }
    struct exchange exchange;
    request_end_write(handle, &own, &exchange);
    code = run_packed(handle, "mset", &exchange, written, error);
    keys_end(&keys, code);
    return code;
}

pgnear_code pgnear_delete(pgnear *handle, const pgnear_bytes *keys, size_t count,
                          const pgnear_write_options *options, pgnear_written *written,
                          pgnear_error *error)
{
    struct exchange exchange;
    pgnear_code code = request_delete(handle, keys, count, options, &exchange, error);
    struct written_keys deleted = keys_begin(handle, count);
    for (size_t i = 0; i < count; i++) {
        keys_add(&deleted, keys[i]);
    }
    code = code != PGNEAR_OK ? code : run_packed(handle, "delete", &exchange, written, error);
    keys_end(&deleted, code);
    return code;
}

// A method that changes the value of a key by a MessagePack value and answers what it makes.
static pgnear_code change(pgnear *handle, const char *method, pgnear_bytes key, pgnear_bytes by,
                          const pgnear_write_options *options, pgnear_item *item,
                          pgnear_error *error)
{
    pgnear_write_options own;
    pgnear_code code = options_take(&own, sizeof own, options, error);
    code = code != PGNEAR_OK ? code : request_check_value(method, by, error);
    if (code != PGNEAR_OK) {
        return code;
    }
    mpack_pack_raw(begin_with_key(handle, method, key), slice_of_bytes(by));
    return run_for_item(handle, method, &own, item, error);
}

pgnear_code pgnear_incr(pgnear *handle, pgnear_bytes key, pgnear_bytes by,
                        const pgnear_write_options *options, pgnear_item *item, pgnear_error *error)
{
    static const uint8_t ONE[] = {0x01};
    by = by.len > 0 ? by : (pgnear_bytes){.at = ONE, .len = sizeof ONE};
    return change(handle, "incr", key, by, options, item, error);
}

pgnear_code pgnear_merge(pgnear *handle, pgnear_bytes key, pgnear_bytes patch,
                         const pgnear_write_options *options, pgnear_item *item,
                         pgnear_error *error)
{
    return change(handle, "merge", key, patch, options, item, error);
}

pgnear_code pgnear_touch(pgnear *handle, pgnear_bytes key, int64_t ttl_ms,
                         const pgnear_write_options *options, bool *existed, pgnear_error *error)
{
    pgnear_write_options own;
    pgnear_code code = options_take(&own, sizeof own, options, error);
    if (code != PGNEAR_OK) {
        return code;
    }
    msgpack_packer *packer = begin_with_key(handle, "touch", key);
    if (ttl_ms == -1) {
        msgpack_pack_nil(packer);
    } else {
        msgpack_pack_int64(packer, ttl_ms);
    }
    struct mpack_cursor result;
    code = run(handle, &own, &result, error);
    if (code == PGNEAR_OK && !result_flag(&result, existed)) {
        code = result_garbled("touch", error);
    }
    return code;
}
