// get and mget: a look into the node's cache first, and a question to the node about the rest.
//
// Keys may lie in what the last call handed out, which is gone once a question was sent: what is
// needed of them later is kept.

#include "client/gets.h"

#include "base/limits.h"
#include "client/exchange.h"
#include "client/options.h"
#include "client/results.h"

static const size_t DIRECT_BYTES_MAX = (size_t)8 << 20; // of one mget

bool get_asks_postgres(const pgnear_get_options *options)
{
    return options->fresh || options->has_at_version ||
           (options->has_max_age && options->max_age_ms <= 0);
}

struct direct_wish get_wish(const pgnear_get_options *options)
{
    static const int64_t MS_MAX = INT64_MAX / 1000;
    return (struct direct_wish){
        .has_max_age = options->has_max_age,
        .has_min_version = options->has_min_version,
        .max_age_us = (options->max_age_ms < MS_MAX ? options->max_age_ms : MS_MAX) * 1000,
        .min_version = options->min_version,
    };
}

// The options of the question: those of the call, and that the answer lie not behind what the
// handle was told before.
static void pack_options(pgnear *handle, const pgnear_get_options *options,
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
    pack_options(handle, options, &wish);
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
    pack_options(handle, options, wish);
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

// ---- mget

// One call of mget: what was found, and what is still to be asked for. Owned by `arena`, which the
// handle takes over at the end.
struct many {
    pgnear *handle;
    const pgnear_bytes *keys;
    size_t count;
    const pgnear_get_options *options;
    struct direct_wish wish;
    struct arena arena;
    pgnear_item *items;
    uint32_t *missing; // places in `keys`
    struct slice *missing_keys;
    size_t missing_count;
};

static void look_all(struct many *many)
{
    struct direct *direct = &many->handle->direct;
    size_t bytes = 0;
    many->missing_count = 0;
    for (size_t i = 0; i < many->count; i++) {
        if (bytes <= DIRECT_BYTES_MAX &&
            direct_look(direct, slice_of_bytes(many->keys[i]), &many->wish, &many->items[i])) {
            bytes += many->items[i].value.len;
        } else {
            many->missing[many->missing_count++] = (uint32_t)i;
        }
    }
}

static void miss_all(struct many *many)
{
    many->missing_count = many->count;
    for (size_t i = 0; i < many->count; i++) {
        many->missing[i] = (uint32_t)i;
    }
}

// Out of the cache, before the snapshot ends.
static void copy_found(struct many *many)
{
    for (size_t i = 0, next = 0; i < many->count; i++) {
        if (next < many->missing_count && many->missing[next] == i) {
            next++;
            continue;
        }
        pgnear_item *item = &many->items[i];
        if (item->present) {
            item->value = bytes_of_slice(arena_copy(&many->arena, slice_of_bytes(item->value)));
        }
    }
}

static bool find_once(struct many *many)
{
    struct direct *direct = &many->handle->direct;
    if (!direct_begin(direct)) {
        return false;
    }
    look_all(many);
    bool found = direct_holds(direct);
    if (found) {
        copy_found(many);
    }
    direct_end(direct);
    return found;
}

static void find_many(struct many *many)
{
    int looks = 0;
    bool found = false;
    if (many->count <= KEYS_MAX && !get_asks_postgres(many->options)) {
        do {
            found = find_once(many);
        } while (!found && direct_looks_again(&many->handle->direct, &looks));
        size_t hits = found ? many->count - many->missing_count : 0;
        direct_count(&many->handle->direct, hits, many->count - hits);
    }
    if (!found) {
        miss_all(many);
    }
}

static void pack_missing(struct many *many)
{
    many->missing_keys =
        arena_alloc(&many->arena, many->missing_count * sizeof *many->missing_keys);
    msgpack_packer *packer = exchange_begin(many->handle, "mget", 2);
    msgpack_pack_array(packer, many->missing_count);
    for (size_t i = 0; i < many->missing_count; i++) {
        struct slice key = slice_of_bytes(many->keys[many->missing[i]]);
        mpack_pack_slice(packer, key);
        many->missing_keys[i] = arena_copy(&many->arena, key);
        direct_floor(&many->handle->direct, sketch_hash(key), &many->wish);
    }
    pack_options(many->handle, many->options, &many->wish);
}

// Each of the missing is answered by the cache of a node that is gone, or all are not.
static bool find_cut_off(struct many *many)
{
    if (get_asks_postgres(many->options) || many->missing_count > KEYS_MAX) {
        return false;
    }
    for (size_t i = 0; i < many->missing_count; i++) {
        pgnear_item *item = &many->items[many->missing[i]];
        if (!direct_get_cut_off(&many->handle->direct, many->missing_keys[i], &many->wish, item)) {
            return false;
        }
        item->value = bytes_of_slice(arena_copy(&many->arena, slice_of_bytes(item->value)));
    }
    return true;
}

static pgnear_code ask_for_missing(struct many *many, pgnear_error *error)
{
    pack_missing(many);
    struct mpack_cursor result;
    pgnear_code code = exchange_run(
        many->handle, &(struct exchange){.timeout_ms = many->options->timeout_ms}, &result, error);
    if (code == PGNEAR_UNREACHABLE && find_cut_off(many)) {
        return PGNEAR_OK;
    }
    if (code != PGNEAR_OK) {
        return code;
    }
    const pgnear_item *answered;
    if (!result_items(many->handle, &result, many->missing_count, &answered)) {
        return result_garbled("mget", error);
    }
    for (size_t i = 0; i < many->missing_count; i++) {
        many->items[many->missing[i]] = answered[i];
        get_note(many->handle, sketch_hash(many->missing_keys[i]), many->options, &answered[i]);
    }
    return PGNEAR_OK;
}

static pgnear_code get_many(struct many *many, pgnear_error *error)
{
    many->items = arena_alloc(&many->arena, many->count * sizeof *many->items);
    many->missing = arena_alloc(&many->arena, many->count * sizeof *many->missing);
    find_many(many);
    if (many->missing_count > 0 || many->count == 0) {
        return ask_for_missing(many, error);
    }
    return handle_enter(many->handle, error);
}

pgnear_code pgnear_mget(pgnear *handle, const pgnear_bytes *keys, size_t count,
                        const pgnear_get_options *options, const pgnear_item **items,
                        pgnear_error *error)
{
    pgnear_get_options own;
    pgnear_code code = options_take(&own, sizeof own, options, error);
    code = code != PGNEAR_OK ? code : handle_check(handle, error);
    if (code != PGNEAR_OK) {
        return code;
    }
    struct many many = {
        .handle = handle,
        .keys = keys,
        .count = count,
        .options = &own,
        .wish = get_wish(&own),
    };
    code = get_many(&many, error);
    if (code != PGNEAR_OK) {
        arena_deinit(&many.arena);
        return code;
    }
    handle->found = many.arena;
    if (items != NULL) {
        *items = many.items;
    }
    return PGNEAR_OK;
}
