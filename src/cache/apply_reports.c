// What PostgreSQL's side reports, in the cache: fills, changes, the feed, the sweep, flush results.
// Part of the cache phase of a turn.
#include "cache/apply.h"

#include "base/fault.h"

static struct feed_state feed_of(const struct turn *turn)
{
    return (struct feed_state){.epoch = turn->page.epoch, .live = turn->page.feed_live};
}

// Notes what makes the record clean, and when.
static void stamp(const struct turn *turn, struct decision *decision, enum record_origin origin)
{
    if (decision->verdict == VERDICT_STORE && !decision->record.pending) {
        decision->record.origin = origin;
        decision->record.stored_at_us = turn->now_us;
    }
}

static struct fetched fetched_of(const struct fills_message *fills, const struct fill *fill)
{
    return (struct fetched){
        .epoch = fills->epoch,
        .present = fill->present,
        .version = fill->version,
        .expires_at_us = fill->expires_at_us,
        .value = fill->value,
    };
}

static enum error add_fills(struct turn *turn, const struct fills_message *fills,
                            struct store_adding *adding)
{
    const struct store *store = &turn->writer->store;
    for (size_t i = 0; i < fills->fills_count; i++) {
        const struct fill *fill = &fills->fills[i];
        const struct fetched fetched = fetched_of(fills, fill);
        struct decision decision = coherence_fill(NULL, &fetched, feed_of(turn), false);
        if (decision.verdict != VERDICT_STORE || fill->value.len > store->fill_bytes_max) {
            continue;
        }
        bool added;
        stamp(turn, &decision, RECORD_ORIGIN_PRELOAD);
        enum error error = store_add(adding, fill->key, &decision.record, &added);
        if (error != ERROR_NONE) {
            return error;
        }
        turn->fills += added;
    }
    return ERROR_NONE;
}

// What is held stays: what somebody asked for is newer than the preload's page, or the same.
static enum error apply_preload(struct turn *turn, const struct fills_message *fills)
{
    struct store_adding adding;
    if (fills->fills_count == 0) {
        return ERROR_NONE;
    }
    turn->changes_cache = true;
    enum error error =
        store_adding_begin(&turn->writer->store, turn->txn, fills->fills[0].key, &adding);
    if (error == ERROR_NONE) {
        error = add_fills(turn, fills, &adding);
        store_adding_end(&adding);
    }
    return error;
}

enum error apply_fills(struct turn *turn, const struct fills_message *fills)
{
    const struct writer *writer = turn->writer;
    if (turn->skips_fills) {
        return ERROR_NONE;
    }
    (void)FAULT_POINT(CACHE_FILL);
    if (fills->preloads) {
        return apply_preload(turn, fills);
    }
    for (size_t i = 0; i < fills->fills_count; i++) {
        const struct fill *fill = &fills->fills[i];
        const struct fetched fetched = fetched_of(fills, fill);
        struct record record;
        const struct record *held;
        enum error error = apply_get(turn, fill->key, &record, &held);
        if (error != ERROR_NONE) {
            return error;
        }
        struct decision decision =
            coherence_fill(held, &fetched, feed_of(turn), writer->settings->cache.negative);
        stamp(turn, &decision, RECORD_ORIGIN_FILL);
        if (decision.verdict == VERDICT_STORE) {
            if (fill->value.len > writer->store.fill_bytes_max) {
                decision = coherence_invalidate(held);
            } else {
                turn->fills++;
            }
        }
        error = apply_decision(turn, fill->key, held, &decision);
        if (error != ERROR_NONE) {
            return error;
        }
    }
    return ERROR_NONE;
}

// A change that was never announced: the version may be the same.
static enum error apply_repair(struct turn *turn, const struct change *change)
{
    struct record record;
    const struct record *held;
    enum error error = apply_get(turn, change->key, &record, &held);
    if (error != ERROR_NONE) {
        return error;
    }
    struct decision decision = coherence_drop_all(held);
    awaited_taint(&turn->writer->awaited, change->key);
    turn->repairs += decision.verdict == VERDICT_DROP;
    return apply_decision(turn, change->key, held, &decision);
}

static enum error apply_change(struct turn *turn, const struct change *change, bool own)
{
    struct record record;
    const struct record *held;
    enum error error = apply_get(turn, change->key, &record, &held);
    if (error != ERROR_NONE) {
        return error;
    }
    struct decision decision =
        own ? coherence_own_notify(held, change->version, change->op == CHANGE_DELETE)
            : coherence_foreign_notify(held, change->version);
    if (!own) {
        awaited_taint(&turn->writer->awaited, change->key);
    }
    turn->invalidations += decision.verdict == VERDICT_DROP;
    return apply_decision(turn, change->key, held, &decision);
}

enum error apply_changes(struct turn *turn, const struct changes_message *changes)
{
    if (changes->truncated) {
        int64_t dropped;
        enum error error = apply_drop_all(turn, true, &dropped);
        if (error != ERROR_NONE) {
            return error;
        }
        turn->invalidations += dropped;
    }
    enum error error = ERROR_NONE;
    for (size_t i = 0; error == ERROR_NONE && i < changes->changes_count; i++) {
        error = changes->is_repair ? apply_repair(turn, &changes->changes[i])
                                   : apply_change(turn, &changes->changes[i], changes->own);
    }
    return error;
}

static void note_lag(struct writer *writer, int64_t sent_boot_us)
{
    int64_t now_boot_us = writer_boot_us(writer);
    histogram_record(&writer->status->lag, 1, now_boot_us - sent_boot_us, now_boot_us);
}

enum error apply_feed(struct turn *turn, const struct feed_message *feed)
{
    turn->page_changed = true;
    if (feed->server.started_us != 0) {
        turn->server = feed->server;
    }
    if (feed->has_clock_offset) {
        turn->page.clock_offset_us = feed->clock_offset_us;
    }
    switch (feed->event) {
    case FEED_HEARTBEAT:
        note_lag(turn->writer, feed->heartbeat_boot_us);
        page_view_heartbeat(&turn->page, feed->heartbeat_boot_us);
        return ERROR_NONE;
    case FEED_LOST:
        turn->page.feed_live = false;
        return ERROR_NONE;
    case FEED_STARTED:
        page_view_begin_epoch(&turn->page, turn->page.epoch + 1, feed->heartbeat_boot_us);
        return ERROR_NONE;
    case FEED_REPLACED: {
        page_view_begin_epoch(&turn->page, turn->page.epoch + 1, feed->heartbeat_boot_us);
        page_view_sweep(&turn->page, slice_of(NULL, 0), true);
        int64_t dropped;
        return apply_drop_all(turn, true, &dropped);
    }
    }
    return ERROR_NONE;
}

enum error apply_swept(struct turn *turn, const struct swept_message *swept)
{
    if (swept->epoch != turn->page.epoch) {
        return ERROR_NONE;
    }
    (void)FAULT_POINT(CACHE_SWEEP);
    for (size_t i = 0; i < swept->drops_count; i++) {
        struct record record;
        const struct record *held;
        enum error error = apply_get(turn, swept->drops[i], &record, &held);
        struct decision decision = coherence_sweep_drop(held, swept->epoch);
        if (error == ERROR_NONE) {
            error = apply_decision(turn, swept->drops[i], held, &decision);
        }
        if (error != ERROR_NONE) {
            return error;
        }
    }
    page_view_sweep(&turn->page, swept->hand, swept->done);
    turn->page_changed = true;
    return ERROR_NONE;
}

static enum error apply_flushed_key(struct turn *turn, const struct flushed_message *flushed,
                                    const struct flushed_key *key)
{
    const struct flush_result result = {
        .seq = key->seq,
        .drop = key->drop,
        .present = key->present,
        .has_value = key->has_value,
        .version = key->version,
        .expires_at_us = key->expires_at_us,
        .value = key->value,
        .epoch = flushed->epoch,
        .feed_was_live = flushed->feed_was_live,
    };
    struct record record;
    const struct record *held;
    enum error error = apply_get(turn, key->key, &record, &held);
    if (error != ERROR_NONE) {
        return error;
    }
    bool believed = awaited_settle(&turn->writer->awaited, key->key, key->seq);
    struct decision decision = coherence_flushed(held, &result, feed_of(turn), believed,
                                                 turn->writer->settings->cache.negative);
    stamp(turn, &decision, RECORD_ORIGIN_FLUSH);
    return apply_decision(turn, key->key, held, &decision);
}

enum error apply_flushed(struct turn *turn, const struct flushed_message *flushed)
{
    enum error error = ERROR_NONE;
    for (size_t i = 0; error == ERROR_NONE && i < flushed->keys_count; i++) {
        error = apply_flushed_key(turn, flushed, &flushed->keys[i]);
    }
    awaited_pass(&turn->writer->awaited, flushed->applied_seq);
    if (flushed->applied_seq > turn->applied_seq) {
        turn->applied_seq = flushed->applied_seq;
    }
    return error;
}
