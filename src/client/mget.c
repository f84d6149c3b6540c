// mget: a look at the node's cache for all keys at one moment, and one question to the node about
// the rest.
//
// Keys may lie in what the last call handed out, which is gone once a question was sent: what is
// needed of them later is kept.

#include "base/limits.h"
#include "client/exchange.h"
#include "client/gets.h"
#include "client/options.h"
#include "client/results.h"

static const size_t DIRECT_BYTES_MAX = (size_t)8 << 20; // of one mget

// One call of mget: what was found, and what is still to be asked for. Owned by `arena`, which the
// handle takes over at the end.
struct many {
    pgnear *handle;
    const pgnear_bytes *keys;
    size_t count;
    const pgnear_get_options *options;
    struct direct_wish wish;
    struct arena arena;
    uint64_t *hashes; // of the keys
    pgnear_item *items;
    size_t hot_count;  // found in the hot tier
    uint32_t *missing; // places in `keys`
    struct slice *missing_keys;
    size_t missing_count;
};

// What the key's record says, copied out, from the hot tier where `hot` says so and it is there.
static bool look_for(struct many *many, size_t place, bool hot)
{
    struct direct *direct = &many->handle->direct;
    const struct slice key = slice_of_bytes(many->keys[place]);
    pgnear_item *item = &many->items[place];
    bool found_hot = hot && direct_look_hot(direct, key, many->hashes[place], &many->wish, item);
    if (!found_hot && !direct_look(direct, key, &many->wish, item)) {
        return false;
    }
    many->hot_count += found_hot;
    if (item->present) {
        item->value = bytes_of_slice(arena_copy(&many->arena, slice_of_bytes(item->value)));
    }
    return true;
}

static void look_for_all(struct many *many, bool hot)
{
    size_t bytes = 0;
    many->missing_count = 0;
    many->hot_count = 0;
    for (size_t i = 0; i < many->count; i++) {
        if (hot) {
            direct_fetch_ahead(&many->handle->direct, many->hashes, sizeof *many->hashes, i,
                               many->count);
        }
        if (bytes <= DIRECT_BYTES_MAX && look_for(many, i, hot)) {
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

// What the hot tier says is of now, and the rest of the snapshot: they are of one moment where
// nothing was committed meanwhile. Else a snapshot says it all, a new one, which is not behind what
// the tier has said.
static bool find_once(struct many *many)
{
    struct direct *direct = &many->handle->direct;
    if (!direct_begin(direct)) {
        return false;
    }
    look_for_all(many, true);
    if (many->hot_count > 0 && !direct_is_of_now(direct)) {
        direct_end(direct);
        if (!direct_begin(direct)) {
            return false;
        }
        look_for_all(many, false);
    }
    bool found = direct_holds(direct);
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
        size_t hot_hits = found ? many->hot_count : 0;
        direct_count(&many->handle->direct, hot_hits, hits - hot_hits, many->count - hits);
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
        direct_floor(&many->handle->direct, many->hashes[many->missing[i]], &many->wish);
    }
    get_pack_options(many->handle, many->options, &many->wish);
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
        uint32_t place = many->missing[i];
        many->items[place] = answered[i];
        get_note(many->handle, many->hashes[place], many->options, &answered[i]);
    }
    return PGNEAR_OK;
}

static pgnear_code get_many(struct many *many, pgnear_error *error)
{
    many->items = arena_alloc(&many->arena, many->count * sizeof *many->items);
    many->missing = arena_alloc(&many->arena, many->count * sizeof *many->missing);
    many->hashes = arena_alloc_raw(&many->arena, many->count * sizeof *many->hashes);
    for (size_t i = 0; i < many->count; i++) {
        many->hashes[i] = sketch_hash(slice_of_bytes(many->keys[i]));
    }
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
