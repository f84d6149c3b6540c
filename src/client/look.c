// A look at the cache goes: control page, snapshot, record, trust, control page again. What lowers
// trust is on the page before the cache's commit, so a page that was looked at before the snapshot
// was taken is never too trusting (rule 11 of docs/architecture.md); looking again is for the
// daemon that ends, and for the cache that is made anew, in between.
//
// An acknowledged write is in the cache's committed state before its acknowledgement, so a snapshot
// taken after that holds it (promise 1).
#include "client/look.h"

#include "base/clock.h"
#include "cachefile/environment.h"

enum { SPINS_MAX = 100, LOOKS_MAX = 4 };

// ---- the control page

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

bool look_begin(struct direct *direct, const struct mapping *mapping)
{
    bool viewed = refresh_view(direct, mapping->page);
    direct->now_boot_us = clock_boot_us();
    return viewed;
}

bool look_holds(const struct direct *direct, const struct mapping *mapping)
{
    return control_is_unchanged(mapping->page, direct->sequence) && mapping_is_present(mapping) &&
           mapping_is_served(mapping);
}

bool direct_holds(const struct direct *direct)
{
    return !direct->is_torn && look_holds(direct, direct->reader.mapping);
}

bool direct_looks_again(const struct direct *direct, int *looks)
{
    const struct mapping *mapping = direct->reader.mapping;
    return ++*looks < LOOKS_MAX && mapping != NULL &&
           (direct->is_torn || !control_is_unchanged(mapping->page, direct->sequence)) &&
           mapping_is_present(mapping) && mapping_is_served(mapping);
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

bool look_judge(struct direct *direct, const struct mapping *mapping, struct slice key,
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

bool look_into(struct direct *direct, const struct direct_reader *reader, struct slice key,
               uint64_t hash, bool cut_off, const struct direct_wish *wish, pgnear_item *item)
{
    sketch_prefetch(&reader->mapping->sketch, hash);
    MDB_val name = environment_value(key);
    MDB_val value;
    struct record record;
    return mdb_get(reader->txn, reader->mapping->records, &name, &value) == MDB_SUCCESS &&
           record_decode(environment_slice(value), &record) == ERROR_NONE &&
           look_judge(direct, reader->mapping, key, hash, &record, cut_off, wish, item);
}

enum memtable_found look_aside(const struct mapping *mapping, struct slice key, uint64_t hash,
                               uint64_t *room, struct record *record, uint64_t *place)
{
    size_t bytes = 0;
    if (mapping_memtable_life(mapping) == 0) {
        return MEMTABLE_ABSENT;
    }
    enum memtable_found found = memtable_find(&mapping->memtable, hash, key, room, &bytes, place);
    bool is_record =
        found != MEMTABLE_FOUND || record_decode(slice_of(room, bytes), record) == ERROR_NONE;
    return is_record ? found : MEMTABLE_UNKNOWN;
}

bool direct_look(struct direct *direct, struct slice key, const struct direct_wish *wish,
                 pgnear_item *item)
{
    const struct mapping *mapping = direct->reader.mapping;
    uint64_t hash = sketch_hash(key);
    uint64_t place = 0;
    struct record record;
    enum memtable_found found = look_aside(mapping, key, hash, direct->many_hot, &record, &place);
    if (found == MEMTABLE_UNKNOWN || memtable_has_lost(&mapping->memtable, direct->moment) ||
        (found == MEMTABLE_FOUND && place >= direct->moment.end)) {
        direct->is_torn = true;
        return false;
    }
    return found == MEMTABLE_FOUND
               ? look_judge(direct, mapping, key, hash, &record, false, wish, item)
               : look_into(direct, &direct->reader, key, hash, false, wish, item);
}

void direct_note(struct direct *direct, uint64_t key_hash, const pgnear_item *item)
{
    if (direct->notes && (!item->present || item->has_version)) {
        seen_note(&direct->seen, key_hash, item->present ? item->version : SEEN_ABSENT);
    }
}

struct seen_told direct_write_begin(struct direct *direct, uint64_t key_hash)
{
    return seen_take(&direct->seen, key_hash);
}

void direct_write_end(struct direct *direct, uint64_t key_hash, struct seen_told told, bool done)
{
    if (done) {
        seen_drop(&direct->seen, key_hash);
    } else {
        seen_give_back(&direct->seen, key_hash, told);
    }
}
