// This node's own writes in the cache: as they are accepted, laid over it again after a start or a
// failover, and taken back when PostgreSQL will never have them. Part of the cache phase of a turn.
#include "cache/apply.h"

// So many items before it is wanted: the place in the table that names an entry, then that entry.
enum { PREFETCH_CHAIN = 8, PREFETCH_ENTRY = 4 };

// ---- this node's writes

static void prefetch_chain(const struct store *store, struct turn_item *item)
{
    const struct request *request = (const struct request *)item->message;
    bool is_write = item_has_entry(item) && request->call.pairs_count == 1;
    item->key_hash = is_write ? sketch_hash(request->call.pairs[0].key) : 0;
    if (is_write) {
        memtable_prefetch(&store->memtable.table, item->key_hash);
        sketch_prefetch(&store->sketch, item->key_hash);
    }
}

void apply_prefetch(struct turn *turn, size_t index)
{
    const struct store *store = &turn->writer->store;
    size_t first = index == 0 ? 0 : index + PREFETCH_CHAIN;
    for (size_t i = first; i <= index + PREFETCH_CHAIN && i < turn->count; i++) {
        prefetch_chain(store, &turn->items[i]);
    }
    size_t near = index + PREFETCH_ENTRY;
    if (near < turn->count && turn->items[near].key_hash != 0) {
        memtable_prefetch_entry(&store->memtable, turn->items[near].key_hash);
    }
}

static enum error apply_pair(struct turn *turn, const struct entry *entry, const struct pair *pair)
{
    struct record record;
    const struct record *held;
    enum error error = apply_get_pending(turn, pair->key, &record, &held);
    if (error != ERROR_NONE || (held != NULL && held->pending_seq > entry->seq)) {
        return error;
    }
    bool deletes = entry->op == ENTRY_DELETE;
    const struct local_write write = {
        .seq = entry->seq,
        .absent = deletes,
        .expires_at_us = deletes ? 0 : entry->expires_at_us,
        .value = deletes ? slice_of(NULL, 0) : pair->value,
    };
    struct decision decision = coherence_write(held, &write);
    sketch_warm_hash(&turn->writer->store.sketch, turn->key_hash, SKETCH_STORED);
    return apply_decision(turn, pair->key, held, &decision);
}

static enum error apply_write(struct turn *turn, const struct entry *entry)
{
    struct entry_cursor cursor = entry_cursor_of(entry);
    struct pair pair;
    enum error error = ERROR_NONE;
    while (error == ERROR_NONE && entry_next_pair(&cursor, &pair)) {
        error = apply_pair(turn, entry, &pair);
    }
    return error;
}

static void await_result(struct turn *turn, const struct entry *entry)
{
    struct entry_cursor cursor = entry_cursor_of(entry);
    struct pair pair;
    while (entry_next_pair(&cursor, &pair)) {
        awaited_add(&turn->writer->awaited, pair.key, entry->seq);
    }
}

enum error apply_entry(struct turn *turn, const struct entry *entry)
{
    if (entry_returns_result(entry)) {
        await_result(turn, entry);
        return ERROR_NONE;
    }
    return apply_write(turn, entry);
}

// ---- entries that PostgreSQL does not have, laid over the cache (again)

struct lay_visit {
    struct turn *turn;
    struct slice key;    // of uncover: the only key
    uint64_t before_seq; // of uncover
    enum error error;
};

// A retired one says nothing of an earlier write that waits; one whose result PostgreSQL decides
// may have overtaken it.
static enum error lay_without_value(struct turn *turn, const struct entry *entry, struct slice key)
{
    struct record record;
    const struct record *held;
    enum error error = apply_get(turn, key, &record, &held);
    struct decision decision = entry->retired ? coherence_retired(held, entry->seq)
                                              : coherence_overtaken(held, entry->seq);
    return error == ERROR_NONE ? apply_decision(turn, key, held, &decision) : error;
}

// What is held under a retired one may be of before a change that was noted in its pending record.
static bool lay_over(void *context, const struct entry *entry)
{
    struct lay_visit *visit = context;
    bool is_plain = !entry->retired && !entry_returns_result(entry);
    struct entry_cursor cursor = entry_cursor_of(entry);
    struct pair pair;
    while (visit->error == ERROR_NONE && entry_next_pair(&cursor, &pair)) {
        visit->error = is_plain ? apply_pair(visit->turn, entry, &pair)
                                : lay_without_value(visit->turn, entry, pair.key);
    }
    if (!entry->retired && entry_returns_result(entry)) {
        visit->turn->decided_seq = entry->seq;
    }
    return visit->error == ERROR_NONE;
}

enum error apply_unapplied(struct turn *turn, uint64_t after_seq, uint64_t up_to_seq)
{
    struct lay_visit visit = {.turn = turn};
    enum error error = outbox_visit(&turn->writer->outbox, after_seq, up_to_seq, lay_over, &visit);
    return error == ERROR_NONE ? visit.error : error;
}

static bool lay_key_over(void *context, const struct entry *entry)
{
    struct lay_visit *visit = context;
    if (entry->seq >= visit->before_seq) {
        return false;
    }
    struct entry_cursor cursor = entry_cursor_of(entry);
    struct pair pair;
    bool plain = !entry->retired && !entry_returns_result(entry);
    while (plain && visit->error == ERROR_NONE && entry_next_pair(&cursor, &pair)) {
        if (slice_equal(pair.key, visit->key)) {
            visit->error = apply_pair(visit->turn, entry, &pair);
        }
    }
    return visit->error == ERROR_NONE;
}

// ---- writes that PostgreSQL will not have

// An earlier write to the key may have been pending under the one that is retired.
static enum error uncover(struct turn *turn, struct slice key, uint64_t retired_seq)
{
    struct lay_visit visit = {.turn = turn, .key = key, .before_seq = retired_seq};
    enum error error =
        outbox_visit(&turn->writer->outbox, turn->applied_seq, retired_seq, lay_key_over, &visit);
    return error == ERROR_NONE ? visit.error : error;
}

enum error apply_retire(struct turn *turn, const struct entry *entry)
{
    struct entry_cursor cursor = entry_cursor_of(entry);
    struct pair pair;
    while (entry_next_pair(&cursor, &pair)) {
        struct record record;
        const struct record *held;
        enum error error = apply_get(turn, pair.key, &record, &held);
        if (error != ERROR_NONE) {
            return error;
        }
        awaited_take_back(&turn->writer->awaited, pair.key, entry->seq);
        struct decision decision = coherence_retired(held, entry->seq);
        bool covered = held != NULL && held->stacked && decision.verdict == VERDICT_DROP;
        error = apply_decision(turn, pair.key, held, &decision);
        if (error == ERROR_NONE && covered) {
            error = uncover(turn, pair.key, entry->seq);
        }
        if (error != ERROR_NONE) {
            return error;
        }
    }
    return ERROR_NONE;
}

enum error apply_rewind(struct turn *turn, const struct rewind_message *rewind)
{
    if (rewind->applied_seq < turn->applied_seq) {
        turn->applied_seq = rewind->applied_seq;
    }
    return apply_unapplied(turn, rewind->applied_seq, UINT64_MAX);
}
