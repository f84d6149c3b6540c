#include "pg/reapplied.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/hash.h"

struct reapplied_key {
    UT_hash_handle hh;
    uint64_t seq; // of the last write that has made something of it, and the version from that
    int64_t version;
    size_t len;
    uint8_t bytes[];
};

static void forget_keys(struct reapplied *reapplied)
{
    struct reapplied_key *key, *following;
    HASH_ITER(hh, reapplied->keys, key, following)
    {
        HASH_DEL(reapplied->keys, key);
        free(key);
    }
}

void reapplied_deinit(struct reapplied *reapplied)
{
    forget_keys(reapplied);
    *reapplied = (struct reapplied){0};
}

void reapplied_extend(struct reapplied *reapplied, uint64_t decided_seq, uint64_t to_seq)
{
    if (decided_seq > reapplied->decided_seq) {
        reapplied->decided_seq = decided_seq;
    }
    if (to_seq > reapplied->to_seq) {
        reapplied->to_seq = to_seq;
    }
}

void reapplied_begin(struct reapplied *reapplied, uint64_t decided_seq, uint64_t to_seq)
{
    forget_keys(reapplied);
    reapplied_extend(reapplied, decided_seq, to_seq);
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

static void remember(struct reapplied *reapplied, const struct batch_op *op)
{
    struct reapplied_key *key = find(reapplied, op->key);
    if (key == NULL) {
        key = memory_zeroed(1, sizeof *key + op->key.len);
        key->len = op->key.len;
        memcpy(key->bytes, op->key.at, op->key.len);
        HASH_ADD_KEYPTR(hh, reapplied->keys, key->bytes, key->len, key);
    }
    key->seq = op->entry->seq;
    key->version = op->version;
}

// Whether what the entry's condition named came of the write before it, which made `key` of it.
static bool follows(const struct reapplied *reapplied, const struct entry *entry,
                    const struct reapplied_key *key)
{
    return entry->seq <= reapplied->decided_seq || key->seq <= entry->held_seq;
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
    if (key != NULL && follows(reapplied, entry, key)) {
        again.if_version = key->version;
    }
    return batch_add(batch, &again);
}

// A write that left no row, or whose result is not known, has no version for a later condition.
static void note_key(void *context, struct batch_op *last)
{
    struct reapplied *reapplied = context;
    const struct batch_op *op = last;
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
        remember(reapplied, op);
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
        forget_keys(reapplied);
    }
    return count;
}
