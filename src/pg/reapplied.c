#include "pg/reapplied.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/hash.h"

struct reapplied_key {
    UT_hash_handle hh;
    int64_t version;
    int64_t decided_on; // the greatest version that a condition has named
    size_t len;
    uint8_t bytes[];
};

void reapplied_deinit(struct reapplied *reapplied)
{
    struct reapplied_key *key, *following;
    HASH_ITER(hh, reapplied->keys, key, following)
    {
        HASH_DEL(reapplied->keys, key);
        free(key);
    }
    *reapplied = (struct reapplied){0};
}

void reapplied_begin(struct reapplied *reapplied, uint64_t to_seq)
{
    uint64_t before = reapplied->to_seq;
    reapplied_deinit(reapplied);
    reapplied->to_seq = to_seq > before ? to_seq : before;
}

void reapplied_extend(struct reapplied *reapplied, uint64_t to_seq)
{
    if (to_seq > reapplied->to_seq) {
        reapplied->to_seq = to_seq;
    }
}

static struct reapplied_key *find(const struct reapplied *reapplied, struct slice name)
{
    struct reapplied_key *key;
    HASH_FIND(hh, reapplied->keys, name.at, name.len, key);
    return key;
}

static void forget(struct reapplied *reapplied, struct slice name)
{
    struct reapplied_key *key = find(reapplied, name);
    if (key != NULL) {
        HASH_DEL(reapplied->keys, key);
        free(key);
    }
}

static void remember(struct reapplied *reapplied, struct slice name, int64_t version,
                     int64_t decided_on)
{
    struct reapplied_key *key = find(reapplied, name);
    if (key == NULL) {
        key = memory_zeroed(1, sizeof *key + name.len);
        key->len = name.len;
        memcpy(key->bytes, name.at, name.len);
        HASH_ADD_KEYPTR(hh, reapplied->keys, key->bytes, key->len, key);
    }
    key->version = version;
    if (decided_on > key->decided_on) {
        key->decided_on = decided_on;
    }
}

bool reapplied_add(const struct reapplied *reapplied, struct batch *batch,
                   const struct entry *entry)
{
    // What PostgreSQL holds already is decided.
    bool is_decided = entry->seq > reapplied->to_seq || batch->limits.is_unbounded;
    if (is_decided || entry->condition != CONDITION_IF_VERSION) {
        return batch_add(batch, entry);
    }
    struct entry_cursor cursor = entry_cursor_of(entry);
    struct pair pair;
    CHECK(entry_next_pair(&cursor, &pair));
    if (batch_has_key(batch, pair.key)) {
        return false;
    }
    struct entry again = *entry;
    const struct reapplied_key *key = find(reapplied, pair.key);
    if (key != NULL && entry->if_version > key->decided_on) {
        again.if_version = key->version;
    }
    if (!batch_add(batch, &again)) {
        return false;
    }
    if (!entry->retired) {
        batch->ops[batch->ops_count - 1]->named_version = entry->if_version;
    }
    return true;
}

// A write that left no row, or whose result is not known, has no version for a later condition.
static void note_key(void *context, struct batch_op *last)
{
    struct reapplied *reapplied = context;
    const struct batch_op *op = last;
    int64_t decided_on = 0;
    for (const struct batch_op *each = last; each != NULL; each = each->before) {
        bool named = each->kind == BATCH_PUT_IF_VERSION || each->kind == BATCH_DELETE_IF_VERSION;
        if (named && each->named_version > decided_on) {
            decided_on = each->named_version;
        }
    }
    while (op != NULL && op->kind != BATCH_DELETE && op->is_known && !op->is_applied) {
        op = op->before;
    }
    if (op == NULL) {
        return;
    }
    bool is_delete = op->kind == BATCH_DELETE || op->kind == BATCH_DELETE_IF_VERSION;
    if (is_delete || !op->is_known || !op->has_version) {
        forget(reapplied, op->key);
    } else {
        remember(reapplied, op->key, op->version, decided_on);
    }
}

size_t reapplied_note(struct reapplied *reapplied, const struct batch *batch)
{
    size_t count = 0;
    for (size_t i = 0; i < batch->entries_count; i++) {
        const struct batch_entry *entry = batch->entries[i];
        count += entry->seq <= reapplied->to_seq && !entry->is_retired;
    }
    if (count > 0) {
        batch_visit_keys(batch, reapplied, note_key);
    }
    if (reapplied->keys != NULL && batch->entries_count > 0 &&
        batch_to_seq(batch) >= reapplied->to_seq) {
        reapplied_begin(reapplied, reapplied->to_seq);
    }
    return count;
}
