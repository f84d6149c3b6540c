// A look at the cache goes: control page, snapshot, record, trust, control page again. What lowers
// trust is on the page before the cache's commit, so a page that was looked at before the snapshot
// was taken is never too trusting (rule 11 of docs/architecture.md); looking again is for the
// daemon that ends, and for the cache that is made anew, in between.
//
// One key alone is looked for in the hot tier first (cachefile/tier.h): a copy of what LMDB has
// committed at that moment, so as good as a snapshot taken then, and judged by the same rules.
//
// An acknowledged write is in the cache's committed state before its acknowledgement, so a snapshot
// taken after that holds it (promise 1).
#include "client/direct.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/memory.h"
#include "cachefile/environment.h"

enum { SPINS_MAX = 100, RETRY_US = 1000000, KEEP_BYTES_MAX = 1 << 20, LOOKS_MAX = 4 };

// ---- opening and closing

static void close_reader(struct direct_reader *reader)
{
    if (reader->txn != NULL) {
        mdb_txn_abort(reader->txn); // gives the slot back
    }
    if (reader->mapping != NULL) {
        mapping_release(reader->mapping);
    }
    *reader = (struct direct_reader){0};
}

static bool open_reader(struct direct_reader *reader, struct mapping *mapping)
{
    reader->mapping = mapping;
    if (mdb_txn_begin(mapping->env, NULL, MDB_RDONLY, &reader->txn) != MDB_SUCCESS) {
        reader->txn = NULL;
        close_reader(reader);
        return false;
    }
    mdb_txn_reset(reader->txn);
    return true;
}

static void close_files(struct direct *direct)
{
    close_reader(&direct->reader);
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
    bool open = mapping != NULL && open_reader(&direct->reader, mapping);
    direct->guards = direct->guards || open;
    return open;
}

void direct_init(struct direct *direct)
{
    *direct = (struct direct){.sequence = CONTROL_NO_SEQUENCE};
}

static void free_memory(struct direct *direct)
{
    free(direct->directory);
    seen_deinit(&direct->seen);
    buffer_deinit(&direct->value);
    buffer_deinit(&direct->lent);
    direct_init(direct);
}

void direct_deinit(struct direct *direct)
{
    close_reader(&direct->reader);
    close_reader(&direct->lender);
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

// ---- a snapshot

static bool refresh_view(struct direct *direct, struct control_page *page)
{
    for (int i = 0; i < SPINS_MAX; i++) {
        if (control_refresh(page, &direct->view, &direct->sequence)) {
            return true;
        }
    }
    direct->sequence = CONTROL_NO_SEQUENCE;
    return false;
}

// What is looked at from now on is judged by a page and a time that are no older.
static inline bool begin_look(struct direct *direct, const struct mapping *mapping)
{
    bool viewed = refresh_view(direct, mapping->page);
    direct->now_boot_us = clock_boot_us();
    return viewed;
}

// The reader at a snapshot; false where the cache cannot be read.
static bool begin_snapshot(struct direct_reader *reader)
{
    CHECK(!reader->is_reading);
    if (mdb_txn_renew(reader->txn) != MDB_SUCCESS) {
        // The map became too small, or the slot was taken from us.
        close_reader(reader);
        return false;
    }
    reader->is_reading = true;
    return true;
}

static bool begin(struct direct *direct, struct direct_reader *reader)
{
    return begin_look(direct, reader->mapping) && begin_snapshot(reader);
}

static void end(struct direct_reader *reader)
{
    CHECK(reader->is_reading);
    mdb_txn_reset(reader->txn);
    reader->is_reading = false;
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

bool direct_begin(struct direct *direct)
{
    return has_files(direct) && mapping_is_served(direct->reader.mapping) &&
           begin(direct, &direct->reader);
}

// The daemon that served when the snapshot was taken serves the same files still.
static bool holds(const struct direct *direct, const struct mapping *mapping)
{
    return control_is_unchanged(mapping->page, direct->sequence) && mapping_is_present(mapping) &&
           mapping_is_served(mapping);
}

bool direct_holds(const struct direct *direct)
{
    return holds(direct, direct->reader.mapping);
}

bool direct_looks_again(const struct direct *direct, int *looks)
{
    const struct mapping *mapping = direct->reader.mapping;
    return ++*looks < LOOKS_MAX && mapping != NULL &&
           !control_is_unchanged(mapping->page, direct->sequence) && mapping_is_present(mapping) &&
           mapping_is_served(mapping);
}

void direct_end(struct direct *direct)
{
    end(&direct->reader);
}

// ---- a record

// The handle was told what is newer than the record, or may be.
static bool is_behind(const struct direct *direct, uint64_t hash, const struct record *record)
{
    int64_t version;
    if (record->pending || !seen_find(&direct->seen, hash, &version)) {
        return false;
    }
    return version == SEEN_ABSENT ? !record->absent : record->absent || record->version < version;
}

void direct_floor(const struct direct *direct, uint64_t key_hash, struct direct_wish *wish)
{
    int64_t version;
    if (!direct->guards || !seen_find(&direct->seen, key_hash, &version)) {
        return;
    }
    if (version == SEEN_ABSENT) {
        wish->asks_fresh = true;
    } else if (!wish->has_floor || version > wish->floor) {
        wish->has_floor = true;
        wish->floor = version;
    }
}

static bool satisfies(const struct direct *direct, const struct record *record,
                      int64_t current_boot_us, const struct direct_wish *wish)
{
    if (wish->has_max_age && direct->now_boot_us - current_boot_us > wish->max_age_us) {
        return false;
    }
    return !wish->has_min_version || (!record->pending && record->version >= wish->min_version);
}

static int64_t now_us(const struct direct *direct)
{
    return direct->now_boot_us + direct->view.clock_offset_us;
}

static void hand_out(const struct record *record, bool present, pgnear_item *item)
{
    *item = (pgnear_item){.present = present};
    if (present) {
        item->value = (pgnear_bytes){.at = record->value.at, .len = record->value.len};
        item->has_version = !record->pending;
        item->version = record->version;
    }
}

// `cut_off`: the daemon is not there to be asked about what is suspect or expired.
static inline bool judge(struct direct *direct, const struct mapping *mapping, struct slice key,
                         uint64_t hash, const struct record *record, bool cut_off,
                         const struct direct_wish *wish, pgnear_item *item)
{
    int64_t current_boot_us;
    enum trust trust =
        trust_of_record(record, key, &direct->view, direct->now_boot_us, &current_boot_us);
    bool trusted = trust == TRUST_GOOD || (cut_off && trust == TRUST_SUSPECT);
    bool expired = record->expires_at_us != 0 && record_is_expired(record, now_us(direct));
    if (!trusted || (expired && !cut_off) || !satisfies(direct, record, current_boot_us, wish) ||
        is_behind(direct, hash, record)) {
        return false;
    }
    sketch_warm_hash(&mapping->sketch, hash, SKETCH_HOT);
    if (!record->pending && !record->absent) {
        seen_note(&direct->seen, hash, record->version);
    }
    hand_out(record, !record->absent && !expired, item);
    return true;
}

static bool look(struct direct *direct, const struct direct_reader *reader, struct slice key,
                 uint64_t hash, bool cut_off, const struct direct_wish *wish, pgnear_item *item)
{
    sketch_prefetch(&reader->mapping->sketch, hash);
    MDB_val name = environment_value(key);
    MDB_val value;
    struct record record;
    return mdb_get(reader->txn, reader->mapping->records, &name, &value) == MDB_SUCCESS &&
           record_decode(environment_slice(value), &record) == ERROR_NONE &&
           judge(direct, reader->mapping, key, hash, &record, cut_off, wish, item);
}

bool direct_look(struct direct *direct, struct slice key, const struct direct_wish *wish,
                 pgnear_item *item)
{
    return look(direct, &direct->reader, key, sketch_hash(key), false, wish, item);
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

// In the hot tier, within a look. `answered` is false where the record that was found will not do.
static bool find_hot(struct direct *direct, struct slice key, uint64_t hash,
                     const struct direct_wish *wish, pgnear_item *item, bool *answered)
{
    const struct mapping *mapping = direct->reader.mapping;
    uint64_t life = tier_life(mapping);
    if (mapping->tier.buckets_count == 0 || life == 0) {
        return false;
    }
    uint64_t *room = direct->hot[direct->hot_turn % 2];
    size_t bytes = tier_find(&mapping->tier, life, hash, key, room);
    struct record record;
    if (bytes == 0 || record_decode(slice_of(room, bytes), &record) != ERROR_NONE) {
        return false;
    }
    *answered =
        judge(direct, mapping, key, hash, &record, false, wish, item) && holds(direct, mapping);
    direct->hot_turn += *answered;
    return true;
}

static bool get_in_snapshot(struct direct *direct, struct slice key, uint64_t hash,
                            const struct direct_wish *wish, pgnear_item *item)
{
    if (!begin_snapshot(&direct->reader)) {
        return false;
    }
    bool answered = look(direct, &direct->reader, key, hash, false, wish, item) &&
                    holds(direct, direct->reader.mapping);
    if (answered && item->present) {
        copy_value(&direct->value, item);
    }
    end(&direct->reader);
    return answered;
}

static bool get_once(struct direct *direct, struct slice key, uint64_t hash,
                     const struct direct_wish *wish, pgnear_item *item)
{
    bool answered;
    if (!begin_look(direct, direct->reader.mapping)) {
        return false;
    }
    return find_hot(direct, key, hash, wish, item, &answered)
               ? answered
               : get_in_snapshot(direct, key, hash, wish, item);
}

bool direct_get(struct direct *direct, struct slice key, const struct direct_wish *wish,
                pgnear_item *item)
{
    if (!has_files(direct) || !mapping_is_served(direct->reader.mapping)) {
        return false;
    }
    const struct mapping *mapping = direct->reader.mapping;
    // What lies far away comes while the clock is read.
    uint64_t hash = sketch_hash(key);
    tier_prefetch(&mapping->tier, tier_life(mapping), hash);
    sketch_prefetch(&mapping->sketch, hash);
    int looks = 0;
    bool answered;
    do {
        answered = get_once(direct, key, hash, wish, item);
    } while (!answered && direct_looks_again(direct, &looks));
    return answered;
}

bool direct_get_cut_off(struct direct *direct, struct slice key, const struct direct_wish *wish,
                        pgnear_item *item)
{
    struct mapping *mapping = direct->reader.mapping;
    if (mapping == NULL || !mapping_is_present(mapping) || !begin(direct, &direct->reader)) {
        return false;
    }
    bool answered = look(direct, &direct->reader, key, sketch_hash(key), true, wish, item);
    if (answered && item->present) {
        copy_value(&direct->value, item);
    }
    end(&direct->reader);
    return answered;
}

// ---- lending

// The lender reads what the reader reads: the mapping of now.
static bool has_lender(struct direct *direct)
{
    if (!has_files(direct) || !mapping_is_served(direct->reader.mapping)) {
        return false;
    }
    if (direct->lender.mapping != direct->reader.mapping) {
        close_reader(&direct->lender);
        mapping_share(direct->reader.mapping);
        return open_reader(&direct->lender, direct->reader.mapping);
    }
    return true;
}

static bool lend_once(struct direct *direct, struct slice key, const struct direct_wish *wish,
                      pgnear_item *item)
{
    struct direct_reader *lender = &direct->lender;
    if (!has_lender(direct) || !begin(direct, lender)) {
        return false;
    }
    bool answered = look(direct, lender, key, sketch_hash(key), false, wish, item) &&
                    holds(direct, lender->mapping);
    if (!answered || !item->present) {
        end(lender);
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
    return answered;
}

void direct_lend_copy(struct direct *direct, pgnear_item *item)
{
    copy_value(&direct->lent, item);
}

void direct_take_back(struct direct *direct)
{
    if (direct->lender.is_reading) {
        end(&direct->lender);
    }
    buffer_clear(&direct->lent, KEEP_BYTES_MAX);
}

void direct_note(struct direct *direct, uint64_t key_hash, const pgnear_item *item)
{
    if (direct->guards && (!item->present || item->has_version)) {
        seen_note(&direct->seen, key_hash, item->present ? item->version : SEEN_ABSENT);
    }
}

void direct_written(struct direct *direct, struct slice key)
{
    seen_drop(&direct->seen, sketch_hash(key));
}
