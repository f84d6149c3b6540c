// Where a handle's direct reads come together: the files that are open, one key, and what is lent.
// How a look is judged is in look.c.
//
// A key is looked for in the memtable first (cachefile/memtable.h), which lies over LMDB, then in
// the hot tier (cachefile/tier.h): a copy of what LMDB has committed at that moment, so as good as
// a snapshot taken then, and judged by the same rules. Several keys are of one moment where a
// snapshot that was begun before the first is still of now after the last.
#include "client/direct.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/memory.h"
#include "client/look.h"

enum { RETRY_US = 1000000, KEEP_BYTES_MAX = 1 << 20, MOMENT_TRIES_MAX = 100 };
// A look takes less time than memory does.
enum { PLACES_AHEAD = 16, ENTRIES_AHEAD = 8 };

// ---- opening and closing

static void close_files(struct direct *direct)
{
    reader_close(&direct->reader);
    direct->sequence = CONTROL_NO_SEQUENCE;
}

// Opens what the node named. Where it cannot be read directly that is no error: the daemon answers.
static bool open_files(struct direct *direct)
{
    if (direct->directory == NULL || direct->directory[0] == '\0') {
        return false;
    }
    int64_t now_us = clock_boot_us();
    if (now_us < direct->retry_boot_us) {
        return false;
    }
    direct->retry_boot_us = now_us + RETRY_US;
    struct mapping *mapping = mapping_attach(direct->directory, slice_of_string(direct->node));
    bool open = mapping != NULL && reader_open(&direct->reader, mapping);
    if (open) {
        reader_count(&direct->reader);
    }
    direct->guards = direct->guards || open;
    return open;
}

void direct_init(struct direct *direct, bool wanted)
{
    *direct = (struct direct){.sequence = CONTROL_NO_SEQUENCE, .notes = wanted};
}

static void free_memory(struct direct *direct)
{
    free(direct->directory);
    seen_deinit(&direct->seen);
    buffer_deinit(&direct->value);
    buffer_deinit(&direct->lent);
    direct_init(direct, false);
}

void direct_deinit(struct direct *direct)
{
    reader_close(&direct->reader);
    reader_close(&direct->lender);
    free_memory(direct);
}

void direct_forget(struct direct *direct)
{
    free_memory(direct);
}

void direct_set_node(struct direct *direct, struct slice directory, struct slice node)
{
    bool same = direct->directory != NULL &&
                slice_equal(slice_of_string(direct->directory), directory) &&
                slice_equal(slice_of_string(direct->node), node);
    // A node that answers while the page says it is dead has another page, under the same name.
    if (same && (direct->reader.mapping == NULL || mapping_is_served(direct->reader.mapping))) {
        return;
    }
    close_files(direct);
    free(direct->directory);
    direct->directory = memory_string(directory);
    memset(direct->node, 0, sizeof direct->node);
    size_t len = node.len < sizeof direct->node ? node.len : sizeof direct->node - 1;
    memcpy(direct->node, node.at, len);
    direct->retry_boot_us = 0;
}

// The cache's files are those of now, opened where they were not.
static bool has_files(struct direct *direct)
{
    if (direct->reader.mapping != NULL && mapping_is_present(direct->reader.mapping)) {
        return true;
    }
    if (direct->reader.mapping != NULL) {
        close_files(direct);
        direct->retry_boot_us = 0;
    }
    return open_files(direct);
}

static bool begin(struct direct *direct, struct direct_reader *reader)
{
    return look_begin(direct, reader->mapping) && reader_begin(reader);
}

// Before the snapshot: what goes from the memtable after this may not be in it.
static void take_moment(struct direct *direct)
{
    const struct memtable *memtable = &direct->reader.mapping->memtable;
    int tries = 0;
    direct->is_torn = false;
    do {
        direct->moment = memtable_now(memtable);
    } while (direct->moment.changes % 2 != 0 && ++tries < MOMENT_TRIES_MAX);
}

bool direct_begin(struct direct *direct)
{
    if (!has_files(direct) || !mapping_is_served(direct->reader.mapping)) {
        return false;
    }
    take_moment(direct);
    return begin(direct, &direct->reader);
}

void direct_end(struct direct *direct)
{
    reader_end(&direct->reader);
}

// ---- counting

void direct_count(const struct direct *direct, size_t hot_hits, size_t other_hits, size_t misses)
{
    struct tally_row *row = direct->reader.row;
    if (row != NULL) {
        tally_add(&row->hot_hits, hot_hits);
        tally_add(&row->other_hits, other_hits);
        tally_add(&row->misses, misses);
    }
}

static void count_one(const struct direct *direct, bool answered)
{
    direct_count(direct, 0, answered, !answered);
}

static void count_hot(const struct direct *direct)
{
    struct tally_row *row = direct->reader.row;
    if (row != NULL) {
        tally_add(&row->hot_hits, 1);
    }
}

// ---- one key

static void copy_value(struct buffer *room, pgnear_item *item)
{
    buffer_clear(room, KEEP_BYTES_MAX);
    buffer_append(room, item->value.at, item->value.len);
    item->value.at = buffer_slice(room).at;
}

void direct_copy(struct direct *direct, pgnear_item *item)
{
    copy_value(&direct->value, item);
}

static uint64_t tier_life(const struct mapping *mapping)
{
    return atomic_load_explicit(&mapping->page->tier_life, memory_order_acquire);
}

// A copy of the key's record in the hot tier, in `room`; false where it is not there.
static bool find_hot(const struct mapping *mapping, struct slice key, uint64_t hash, uint64_t *room,
                     struct record *record)
{
    uint64_t life = tier_life(mapping);
    if (mapping->tier.buckets_count == 0 || life == 0) {
        return false;
    }
    size_t bytes = tier_find(&mapping->tier, life, hash, key, room);
    return bytes > 0 && record_decode(slice_of(room, bytes), record) == ERROR_NONE;
}

static uint64_t *hot_room(struct direct *direct)
{
    return direct->hot[direct->hot_turn % 2];
}

// In the hot tier, within a look. `answered` is false where the record that was found will not do.
static bool get_hot(struct direct *direct, struct slice key, uint64_t hash,
                    const struct direct_wish *wish, pgnear_item *item, bool *answered)
{
    const struct mapping *mapping = direct->reader.mapping;
    struct record record;
    if (!find_hot(mapping, key, hash, hot_room(direct), &record)) {
        return false;
    }
    *answered = look_judge(direct, mapping, key, hash, &record, false, wish, item) &&
                look_holds(direct, mapping);
    if (*answered) {
        direct->hot_turn++;
        count_hot(direct);
    }
    return true;
}

// In the memtable, within a look. False where nothing is there; as get_hot besides.
static bool get_aside(struct direct *direct, struct slice key, uint64_t hash, bool cut_off,
                      const struct direct_wish *wish, pgnear_item *item, bool *answered)
{
    const struct mapping *mapping = direct->reader.mapping;
    struct record record;
    uint64_t place;
    enum memtable_found found = look_aside(mapping, key, hash, hot_room(direct), &record, &place);
    *answered = found == MEMTABLE_FOUND &&
                look_judge(direct, mapping, key, hash, &record, cut_off, wish, item) &&
                (cut_off || look_holds(direct, mapping));
    direct->hot_turn += *answered;
    return found != MEMTABLE_ABSENT;
}

static bool get_in_snapshot(struct direct *direct, struct slice key, uint64_t hash,
                            const struct direct_wish *wish, pgnear_item *item)
{
    if (!reader_begin(&direct->reader)) {
        return false;
    }
    bool answered = look_into(direct, &direct->reader, key, hash, false, wish, item) &&
                    look_holds(direct, direct->reader.mapping);
    if (answered && item->present) {
        copy_value(&direct->value, item);
    }
    reader_end(&direct->reader);
    if (answered) {
        count_one(direct, true);
    }
    return answered;
}

static bool get_once(struct direct *direct, struct slice key, uint64_t hash,
                     const struct direct_wish *wish, pgnear_item *item)
{
    bool answered;
    direct->is_torn = false;
    if (!look_begin(direct, direct->reader.mapping)) {
        return false;
    }
    if (get_aside(direct, key, hash, false, wish, item, &answered)) {
        if (answered) {
            count_one(direct, true);
        }
        return answered;
    }
    return get_hot(direct, key, hash, wish, item, &answered)
               ? answered
               : get_in_snapshot(direct, key, hash, wish, item);
}

static void prefetch(const struct mapping *mapping, uint64_t hash)
{
    memtable_prefetch(&mapping->memtable, hash);
    tier_prefetch(&mapping->tier, tier_life(mapping), hash);
    sketch_prefetch(&mapping->sketch, hash);
}

bool direct_get(struct direct *direct, struct slice key, const struct direct_wish *wish,
                pgnear_item *item)
{
    if (!has_files(direct) || !mapping_is_served(direct->reader.mapping)) {
        return false;
    }
    // What lies far away comes while the clock is read.
    uint64_t hash = sketch_hash(key);
    prefetch(direct->reader.mapping, hash);
    int looks = 0;
    bool answered;
    do {
        answered = get_once(direct, key, hash, wish, item);
    } while (!answered && direct_looks_again(direct, &looks));
    if (!answered) {
        count_one(direct, false);
    }
    return answered;
}

bool direct_get_cut_off(struct direct *direct, struct slice key, const struct direct_wish *wish,
                        pgnear_item *item)
{
    struct mapping *mapping = direct->reader.mapping;
    uint64_t hash = sketch_hash(key);
    bool answered;
    if (mapping == NULL || !mapping_is_present(mapping) || !look_begin(direct, mapping)) {
        return false;
    }
    if (get_aside(direct, key, hash, true, wish, item, &answered)) {
        return answered;
    }
    if (!reader_begin(&direct->reader)) {
        return false;
    }
    answered = look_into(direct, &direct->reader, key, hash, true, wish, item);
    if (answered && item->present) {
        copy_value(&direct->value, item);
    }
    reader_end(&direct->reader);
    return answered;
}

// ---- several keys

bool direct_look_hot(struct direct *direct, struct slice key, uint64_t hash,
                     const struct direct_wish *wish, pgnear_item *item)
{
    const struct mapping *mapping = direct->reader.mapping;
    struct record record;
    uint64_t place;
    // What the memtable says of it, direct_look finds.
    return look_aside(mapping, key, hash, direct->many_hot, &record, &place) == MEMTABLE_ABSENT &&
           !memtable_has_lost(&mapping->memtable, direct->moment) &&
           find_hot(mapping, key, hash, direct->many_hot, &record) &&
           look_judge(direct, mapping, key, hash, &record, false, wish, item);
}

// LMDB shows a commit in its meta pages before any of its records is in the tier.
bool direct_is_of_now(const struct direct *direct)
{
    MDB_envinfo info;
    return mdb_env_info(direct->reader.mapping->env, &info) == MDB_SUCCESS &&
           info.me_last_txnid == mdb_txn_id(direct->reader.txn);
}

static void prefetch_entry(const struct mapping *mapping, uint64_t hash)
{
    if (mapping->tier.buckets_count > 0) {
        tier_prefetch_entry(&mapping->tier, tier_life(mapping), hash);
    }
}

static uint64_t hash_at(const uint64_t *first_hash, size_t stride_bytes, size_t place)
{
    const void *hash = (const char *)first_hash + place * stride_bytes;
    return *(const uint64_t *)hash;
}

// First where the entry lies, and the entry itself once that has come.
void direct_fetch_ahead(const struct direct *direct, const uint64_t *first_hash,
                        size_t stride_bytes, size_t place, size_t count)
{
    const struct mapping *mapping = direct->reader.mapping;
    if (mapping == NULL) {
        return;
    }
    size_t to = place + PLACES_AHEAD;
    for (size_t i = place == 0 ? 0 : to; i <= to && i < count; i++) {
        prefetch(mapping, hash_at(first_hash, stride_bytes, i));
    }
    if (place + ENTRIES_AHEAD < count) {
        prefetch_entry(mapping, hash_at(first_hash, stride_bytes, place + ENTRIES_AHEAD));
    }
}

// ---- lending

// The lender reads what the reader reads: the mapping of now.
static bool has_lender(struct direct *direct)
{
    if (!has_files(direct) || !mapping_is_served(direct->reader.mapping)) {
        return false;
    }
    if (direct->lender.mapping != direct->reader.mapping) {
        reader_close(&direct->lender);
        mapping_share(direct->reader.mapping);
        return reader_open(&direct->lender, direct->reader.mapping);
    }
    return true;
}

static bool lend_once(struct direct *direct, struct slice key, const struct direct_wish *wish,
                      pgnear_item *item)
{
    struct direct_reader *lender = &direct->lender;
    uint64_t hash = sketch_hash(key);
    bool answered;
    if (!has_lender(direct) || !look_begin(direct, lender->mapping)) {
        return false;
    }
    if (get_aside(direct, key, hash, false, wish, item, &answered)) {
        if (answered && item->present) {
            direct_lend_copy(direct, item);
        }
        return answered;
    }
    if (!reader_begin(lender)) {
        return false;
    }
    answered = look_into(direct, lender, key, hash, false, wish, item) &&
               look_holds(direct, lender->mapping);
    if (!answered || !item->present) {
        reader_end(lender);
    }
    return answered;
}

bool direct_lend(struct direct *direct, struct slice key, const struct direct_wish *wish,
                 pgnear_item *item)
{
    int looks = 0;
    bool answered;
    do {
        answered = lend_once(direct, key, wish, item);
    } while (!answered && direct_looks_again(direct, &looks));
    count_one(direct, answered);
    return answered;
}

void direct_lend_copy(struct direct *direct, pgnear_item *item)
{
    copy_value(&direct->lent, item);
}

void direct_take_back(struct direct *direct)
{
    if (direct->lender.is_reading) {
        reader_end(&direct->lender);
    }
    buffer_clear(&direct->lent, KEEP_BYTES_MAX);
}
