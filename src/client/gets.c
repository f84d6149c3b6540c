// get: a look into the node's cache first, and a question to the node where that does not answer.
//
// A key may lie in what the last call handed out, which is gone once a question was sent: what is
// needed of it later is kept.

#include "client/gets.h"

#include "base/limits.h"
#include "client/exchange.h"
#include "client/options.h"
#include "client/results.h"

bool get_asks_postgres(const pgnear_get_options *options)
{
    // A timeout that is none is refused, as over the socket.
    return options->fresh || options->has_at_version || options->timeout_ms < 0 ||
           (options->has_max_age && options->max_age_ms <= 0);
}

struct direct_wish get_wish(const pgnear_get_options *options)
{
    return (struct direct_wish){
        .has_max_age = options->has_max_age,
        .has_min_version = options->has_min_version,
        .max_age_us = get_max_age_ms(options) * 1000,
        .min_version = options->min_version,
    };
}

void get_pack_options(pgnear *handle, const pgnear_get_options *options,
                      const struct direct_wish *wish)
{
    pgnear_get_options asked = *options;
    asked.fresh = asked.fresh || (wish->asks_fresh && !asked.has_at_version);
    // A version of the past goes behind what the handle was told, on purpose.
    if (wish->has_floor && !asked.has_at_version &&
        (!asked.has_min_version || asked.min_version < wish->floor)) {
        asked.has_min_version = true;
        asked.min_version = wish->floor;
    }
    struct opts opts;
    opts_init(&opts, handle, options->timeout_ms);
    opts_add_get(&opts, &asked);
    opts_pack(&opts);
}

void get_note(pgnear *handle, uint64_t key_hash, const pgnear_get_options *options,
              const pgnear_item *item)
{
    if (!options->has_at_version) {
        direct_note(&handle->direct, key_hash, item);
    }
}

void get_pack(pgnear *handle, struct slice key, const pgnear_get_options *options)
{
    struct direct_wish wish = {0};
    direct_floor(&handle->direct, sketch_hash(key), &wish);
    mpack_pack_slice(&handle->packer, key);
    get_pack_options(handle, options, &wish);
}

bool get_look(pgnear *handle, struct slice key, const pgnear_get_options *options,
              pgnear_item *item)
{
    const struct direct_wish wish = get_wish(options);
    return !get_asks_postgres(options) && direct_get(&handle->direct, key, &wish, item);
}

struct slice get_answer(pgnear_item *item, uint8_t *out)
{
    const struct item found = {
        .present = item->present,
        .value = slice_of_bytes(item->value),
        .has_version = item->has_version,
        .version = item->version,
    };
    const uint8_t *end = item_put(out, &found);
    if (item->present) {
        item->value.at = out + ITEM_VALUE_AT;
    }
    return slice_of(out, (size_t)(end - out));
}

// ---- get

struct kept_key {
    uint8_t bytes[KEY_BYTES_MAX];
    size_t len; // 0: no key that a cache holds
    uint64_t hash;
};

static void keep_key(struct kept_key *kept, pgnear_bytes key)
{
    kept->len = key.len <= sizeof kept->bytes ? key.len : 0;
    if (kept->len > 0) {
        memcpy(kept->bytes, key.at, kept->len);
    }
    kept->hash = sketch_hash(slice_of(kept->bytes, kept->len));
}

pgnear_code get_ask(pgnear *handle, pgnear_bytes key, const pgnear_get_options *options,
                    struct direct_wish *wish, pgnear_item *item, pgnear_error *error)
{
    struct kept_key kept;
    keep_key(&kept, key);
    direct_floor(&handle->direct, kept.hash, wish);
    mpack_pack_slice(exchange_begin(handle, "get", 2), slice_of_bytes(key));
    get_pack_options(handle, options, wish);
    struct mpack_cursor result;
    pgnear_code code =
        exchange_run(handle, &(struct exchange){.timeout_ms = options->timeout_ms}, &result, error);
    if (code == PGNEAR_UNREACHABLE && !get_asks_postgres(options) && kept.len > 0 &&
        direct_get_cut_off(&handle->direct, slice_of(kept.bytes, kept.len), wish, item)) {
        return PGNEAR_OK;
    }
    if (code != PGNEAR_OK) {
        return code;
    }
    if (!result_item(&result, item)) {
        return result_garbled("get", error);
    }
    get_note(handle, kept.hash, options, item);
    return PGNEAR_OK;
}

pgnear_code pgnear_get(pgnear *handle, pgnear_bytes key, const pgnear_get_options *options,
                       pgnear_item *item, pgnear_error *error)
{
    pgnear_code code = handle_check(handle, error);
    struct direct_wish wish = {0};
    pgnear_item found;
    // What most reads are, in few steps.
    if (code == PGNEAR_OK && options == NULL &&
        direct_get(&handle->direct, slice_of_bytes(key), &wish, &found)) {
        handle_let_go(handle);
        if (item != NULL) {
            *item = found;
        }
        return PGNEAR_OK;
    }
    pgnear_get_options own;
    code = code != PGNEAR_OK ? code : options_take(&own, sizeof own, options, error);
    if (code != PGNEAR_OK) {
        return code;
    }
    wish = get_wish(&own);
    if (options != NULL && !get_asks_postgres(&own) &&
        direct_get(&handle->direct, slice_of_bytes(key), &wish, &found)) {
        handle_let_go(handle);
    } else {
        code = get_ask(handle, key, &own, &wish, &found, error);
    }
    if (code == PGNEAR_OK && item != NULL) {
        *item = found;
    }
    return code;
}
