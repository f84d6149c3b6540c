// The rules of coherence. Where a rule would be hard to keep, the record is dropped: a dropped
// record costs a miss, a wrong one is believed for ever. Pure, any thread, owns nothing.
//
// Invariants: a pending record is replaced only by a later write, by its own flush result, or by
// a recovery that finds no entry for it; a record becomes clean only in the epoch in which the
// feed was live from the query or batch that made it until now.
#include "cache/coherence.h"

#include "base/check.h"

static const struct decision KEEP = {.verdict = VERDICT_KEEP};
static const struct decision DROP = {.verdict = VERDICT_DROP};

static struct decision store(struct record record)
{
    return (struct decision){.verdict = VERDICT_STORE, .record = record};
}

static struct decision drop_if_held(const struct record *held)
{
    return held != NULL ? DROP : KEEP;
}

static struct decision drop_if_clean(const struct record *held)
{
    return held != NULL && !held->pending ? DROP : KEEP;
}

struct decision coherence_write(const struct record *held, const struct local_write *write)
{
    CHECK(write->seq != 0);
    CHECK_VALUES(held == NULL || held->pending_seq <= write->seq, "seq %llu over %llu",
                 (unsigned long long)write->seq, (unsigned long long)held->pending_seq);
    // A taint is not inherited: the foreign change was committed before this write was journaled,
    // so before it commits.
    return store((struct record){
        .pending = true,
        .absent = write->absent,
        .stacked =
            held != NULL && held->pending && (held->stacked || held->pending_seq != write->seq),
        .expires_at_us = write->expires_at_us,
        .pending_seq = write->seq,
        .value = write->value,
    });
}

// A record stored as clean now, absent where there is no value.
static struct decision store_clean(bool present, bool negative, const struct record *held,
                                   struct record clean)
{
    if (!present && !negative) {
        return drop_if_held(held);
    }
    clean.absent = !present;
    if (!present) {
        clean.value = slice_of(NULL, 0);
        clean.expires_at_us = 0;
    }
    return store(clean);
}

struct decision coherence_fill(const struct record *held, const struct fetched *fetched,
                               struct feed_state feed, bool negative)
{
    if (held != NULL && held->pending) {
        return KEEP;
    }
    if (!feed.live || fetched->epoch != feed.epoch) {
        return KEEP;
    }
    return store_clean(fetched->present, negative, held,
                       (struct record){
                           .version = fetched->version,
                           .epoch = feed.epoch,
                           .expires_at_us = fetched->expires_at_us,
                           .value = fetched->value,
                       });
}

struct decision coherence_foreign_notify(const struct record *held, int64_t version)
{
    if (held == NULL) {
        return KEEP;
    }
    if (held->pending) {
        struct record tainted = *held;
        tainted.tainted = true;
        return held->tainted ? KEEP : store(tainted);
    }
    return held->version == version ? KEEP : DROP;
}

// The flush result may be long in coming: its connection may hang while the feed lives.
struct decision coherence_own_notify(const struct record *held, int64_t version, bool deletes)
{
    bool agrees = held != NULL && (held->absent ? deletes : !deletes && held->version == version);
    return agrees ? KEEP : drop_if_clean(held);
}

// The write that is pending is the very one that the result speaks of.
static struct decision settle_pending(const struct record *held, const struct flush_result *result,
                                      struct feed_state feed, bool negative)
{
    bool takes_result = result->has_value || !result->present;
    if (held->tainted || (!takes_result && held->absent)) {
        return DROP;
    }
    return store_clean(
        result->present, negative, held,
        (struct record){
            .version = result->version,
            .epoch = feed.epoch,
            .expires_at_us = takes_result ? result->expires_at_us : held->expires_at_us,
            .value = takes_result ? result->value : held->value,
        });
}

struct decision coherence_flushed(const struct record *held, const struct flush_result *result,
                                  struct feed_state feed, bool untainted_result, bool negative)
{
    if (held != NULL && held->pending && held->pending_seq > result->seq) {
        return KEEP;
    }
    bool known = !result->drop && result->feed_was_live && feed.live && result->epoch == feed.epoch;
    if (!known) {
        return drop_if_held(held);
    }
    if (held != NULL && held->pending && held->pending_seq == result->seq) {
        return settle_pending(held, result, feed, negative);
    }
    if (held != NULL && !held->pending && held->version == result->version) {
        return KEEP;
    }
    // A result that no pending record foretold: it is the newest state only if nobody else's
    // change was heard of since the write was journaled.
    bool tainted = held != NULL && held->tainted;
    if (!untainted_result || tainted || (result->present && !result->has_value)) {
        return drop_if_held(held);
    }
    return store_clean(result->present, negative, held,
                       (struct record){
                           .version = result->version,
                           .epoch = feed.epoch,
                           .expires_at_us = result->expires_at_us,
                           .value = result->value,
                       });
}

struct decision coherence_retired(const struct record *held, uint64_t seq)
{
    if (held != NULL && held->pending && held->pending_seq != seq) {
        return KEEP;
    }
    return drop_if_held(held);
}

struct decision coherence_overtaken(const struct record *held, uint64_t seq)
{
    bool is_later = held != NULL && held->pending && held->pending_seq > seq;
    return is_later ? KEEP : drop_if_held(held);
}

struct decision coherence_sweep_drop(const struct record *held, uint64_t epoch)
{
    bool stored_since = held != NULL && held->epoch >= epoch;
    return stored_since ? KEEP : drop_if_clean(held);
}

struct decision coherence_drop_all(const struct record *held)
{
    if (held != NULL && held->pending && !held->tainted) {
        struct record tainted = *held;
        tainted.tainted = true;
        return store(tainted);
    }
    return drop_if_clean(held);
}

struct decision coherence_invalidate(const struct record *held)
{
    return drop_if_clean(held);
}

struct decision coherence_recover(const struct record *held, bool unapplied)
{
    return held != NULL && held->pending && !unapplied ? DROP : KEEP;
}
