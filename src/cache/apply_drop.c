// Dropping everything clean at once: TRUNCATE, another server, a client's invalidate. The records
// are dropped as a whole and the pending ones put back, so that the cost is that of the pages.
// Part of the cache phase of a turn.
#include "cache/apply.h"

struct keep_visit {
    struct turn *turn;
    struct arena arena;
    struct kept *kept;
    size_t below_count;  // of them, in LMDB
    size_t hidden_count; // records of LMDB that lie under one of the memtable
    enum error error;
};

struct kept {
    struct kept *next;
    struct slice key;
    struct record record;
    bool is_aside;
};

static void count_kept(struct keep_visit *visit, struct slice key, bool is_aside)
{
    struct record below;
    visit->below_count += !is_aside;
    visit->hidden_count += is_aside && store_get(visit->turn->records, key, &below) == ERROR_NONE;
}

// Keeps the records that are pending with this very entry.
static bool keep_pending(void *context, const struct entry *entry)
{
    struct keep_visit *visit = context;
    struct entry_cursor cursor = entry_cursor_of(entry);
    struct pair pair;
    while (entry_next_pair(&cursor, &pair)) {
        struct record record;
        const struct record *held;
        visit->error = apply_get(visit->turn, pair.key, &record, &held);
        if (visit->error != ERROR_NONE) {
            return false;
        }
        if (held != NULL && held->pending_seq == entry->seq) {
            struct kept *kept = arena_alloc(&visit->arena, sizeof *kept);
            kept->next = visit->kept;
            kept->key = arena_copy(&visit->arena, pair.key);
            kept->record = record;
            kept->record.value = arena_copy(&visit->arena, record.value);
            kept->is_aside = visit->turn->is_aside;
            count_kept(visit, kept->key, kept->is_aside);
            visit->kept = kept;
        }
    }
    return true;
}

static enum error keep_of_rows(struct keep_visit *visit, const struct rows *rows)
{
    enum error error = rows_visit(rows_cursor_of(rows), 0, UINT64_MAX, keep_pending, visit);
    return error == ERROR_NONE ? visit->error : error;
}

// Every pending record has an entry that is not applied: in the outbox, or on its way there.
static enum error collect_pending(struct turn *turn, struct keep_visit *visit)
{
    struct writer *writer = turn->writer;
    if (turn->pending_count == 0 && !memtable_is_in_use(&writer->store.memtable)) {
        return ERROR_NONE;
    }
    uint64_t after_seq =
        turn->applied_seq < writer->applied_seq ? turn->applied_seq : writer->applied_seq;
    enum error error = outbox_visit(&writer->outbox, after_seq, UINT64_MAX, keep_pending, visit);
    if (error == ERROR_NONE) {
        error = visit->error;
    }
    if (error == ERROR_NONE && mover_is_busy(&writer->mover)) {
        error = keep_of_rows(visit, &writer->mover.move.rows);
    }
    return error == ERROR_NONE ? keep_of_rows(visit, &writer->memory.rows) : error;
}

static enum error put_back(struct turn *turn, const struct kept *kept, bool taints)
{
    struct decision decision = coherence_drop_all(&kept->record);
    bool changes = taints && decision.verdict == VERDICT_STORE;
    if (!kept->is_aside) {
        const struct record *record = changes ? &decision.record : &kept->record;
        return store_put(&turn->writer->store, turn->records, kept->key, NULL, record);
    }
    struct record record;
    const struct record *held;
    enum error error = changes ? apply_get(turn, kept->key, &record, &held) : ERROR_NONE;
    return changes && error == ERROR_NONE ? apply_decision(turn, kept->key, held, &decision)
                                          : error;
}

enum error apply_drop_all(struct turn *turn, bool taints, int64_t *dropped)
{
    struct writer *writer = turn->writer;
    struct keep_visit visit = {.turn = turn};
    size_t entries = store_entries(&writer->store, turn->txn);
    enum error error = collect_pending(turn, &visit);
    hot_drop_all(&writer->store.hot);
    turn->changes_cache = true;
    if (error == ERROR_NONE) {
        error = environment_error(mdb_drop(turn->txn, writer->store.records, 0));
    }
    for (struct kept *kept = visit.kept; error == ERROR_NONE && kept != NULL; kept = kept->next) {
        error = put_back(turn, kept, taints);
    }
    arena_deinit(&visit.arena);
    if (error == ERROR_NONE) {
        *dropped = (int64_t)(entries - visit.below_count - visit.hidden_count);
        if (taints) {
            awaited_taint_all(&writer->awaited, writer->last_seq);
        }
    }
    return error;
}
