// Other ways to take a value than pgnear_get: into the caller's memory, lent, or a part of it.

#include "base/limits.h"
#include "client/exchange.h"
#include "client/gets.h"
#include "client/options.h"
#include "client/process.h"

// What the functions here begin with.
static pgnear_code begin(const pgnear *handle, const pgnear_get_options *options,
                         pgnear_get_options *own, struct direct_wish *wish, pgnear_error *error)
{
    pgnear_code code = options_take(own, sizeof *own, options, error);
    code = code != PGNEAR_OK ? code : handle_check(handle, error);
    if (code == PGNEAR_OK) {
        *wish = get_wish(own);
    }
    return code;
}

static bool look_once(struct direct *direct, struct slice key, const struct direct_wish *wish,
                      pgnear_item *item)
{
    if (!direct_begin(direct)) {
        return false;
    }
    if (direct_look(direct, key, wish, item) && direct_holds(direct)) {
        return true;
    }
    direct_end(direct);
    return false;
}

// A look that is good; true leaves the snapshot open for the caller to end.
static bool look(pgnear *handle, pgnear_bytes key, const pgnear_get_options *options,
                 struct direct_wish *wish, pgnear_item *item)
{
    struct direct *direct = &handle->direct;
    int looks = 0;
    bool good = false;
    if (!get_asks_postgres(options)) {
        do {
            good = look_once(direct, slice_of_bytes(key), wish, item);
        } while (!good && direct_looks_again(direct, &looks));
        direct_count(direct, 0, good, !good);
    }
    return good;
}

// ---- into the caller's memory

static pgnear_code move_into(pgnear_item *item, void *room, size_t room_bytes, pgnear_error *error)
{
    if (!item->present) {
        return PGNEAR_OK;
    }
    if (item->value.len > room_bytes) {
        item->value.at = NULL;
        return outcome_set(error, PGNEAR_TOO_LARGE, "the value has %zu bytes, the room %zu",
                           item->value.len, room_bytes);
    }
    memcpy(room, item->value.at, item->value.len);
    item->value.at = room;
    return PGNEAR_OK;
}

pgnear_code pgnear_get_into(pgnear *handle, pgnear_bytes key, const pgnear_get_options *options,
                            void *room, size_t room_bytes, pgnear_item *item, pgnear_error *error)
{
    pgnear_get_options own;
    struct direct_wish wish;
    pgnear_item unwanted;
    item = item != NULL ? item : &unwanted;
    pgnear_code code = begin(handle, options, &own, &wish, error);
    if (code != PGNEAR_OK) {
        return code;
    }
    if (!get_asks_postgres(&own) && direct_get(&handle->direct, slice_of_bytes(key), &wish, item)) {
        handle_let_go(handle);
    } else {
        code = get_ask(handle, key, &own, &wish, item, error);
    }
    return code != PGNEAR_OK ? code : move_into(item, room, room_bytes, error);
}

// ---- lent

pgnear_code pgnear_lend(pgnear *handle, pgnear_bytes key, const pgnear_get_options *options,
                        pgnear_item *item, pgnear_error *error)
{
    pgnear_get_options own;
    struct direct_wish wish;
    pgnear_item unwanted;
    item = item != NULL ? item : &unwanted;
    pgnear_code code = begin(handle, options, &own, &wish, error);
    if (code != PGNEAR_OK) {
        return code;
    }
    // The key may lie in what is lent.
    uint8_t kept[KEY_BYTES_MAX];
    if (key.len > 0 && key.len <= sizeof kept) {
        memcpy(kept, key.at, key.len);
        key.at = kept;
    }
    direct_take_back(&handle->direct);
    if (!get_asks_postgres(&own) &&
        direct_lend(&handle->direct, slice_of_bytes(key), &wish, item)) {
        return handle_enter(handle, error);
    }
    code = get_ask(handle, key, &own, &wish, item, error);
    if (code == PGNEAR_OK && item->present) {
        direct_lend_copy(&handle->direct, item);
    }
    return code;
}

void pgnear_release(pgnear *handle)
{
    if (process_is(handle->pid)) {
        direct_take_back(&handle->direct);
    }
}

// ---- a part

static pgnear_code narrow(pgnear_item *item, const char *path, pgnear_error *error)
{
    pgnear_bytes part;
    pgnear_code code = pgnear_path(item->value, path, &part, error);
    if (code == PGNEAR_OK && part.len > 0) {
        item->value = part;
    } else {
        *item = (pgnear_item){0};
    }
    return code;
}

// A path is read whole before anything is asked, so that a wrong one fails whatever the key holds.
static pgnear_code check_path(const char *path, pgnear_error *error)
{
    static const uint8_t NIL[] = {0xc0};
    return pgnear_path((pgnear_bytes){.at = NIL, .len = sizeof NIL}, path, NULL, error);
}

pgnear_code pgnear_get_path(pgnear *handle, pgnear_bytes key, const char *path,
                            const pgnear_get_options *options, pgnear_item *item,
                            pgnear_error *error)
{
    pgnear_get_options own;
    struct direct_wish wish;
    pgnear_item unwanted;
    item = item != NULL ? item : &unwanted;
    pgnear_code code = begin(handle, options, &own, &wish, error);
    code = code != PGNEAR_OK ? code : check_path(path, error);
    if (code != PGNEAR_OK) {
        return code;
    }
    if (look(handle, key, &own, &wish, item)) {
        code = item->present ? narrow(item, path, error) : PGNEAR_OK;
        if (item->present) {
            direct_copy(&handle->direct, item);
        }
        direct_end(&handle->direct);
        handle_enter(handle, NULL);
        return code;
    }
    code = get_ask(handle, key, &own, &wish, item, error);
    return code == PGNEAR_OK && item->present ? narrow(item, path, error) : code;
}
