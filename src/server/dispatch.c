// Runs on a server loop. One read of the cache serves the calls of a whole pass: it is opened by
// the first lookup, thus after the bytes (or the mail) were taken, and so sees whatever was
// acknowledged before the client sent them. For later bytes of the pass it goes on only where
// nothing was committed meanwhile; dispatch_end closes it before the loop sleeps.
//
// A key alone is looked for in the hot tier first, which shows what is committed now. Whoever was
// answered so is told nothing older after it: the open read, too, goes on only where it is current.

#include "server/dispatch.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/memory.h"
#include "base/words.h"
#include "server/rules.h"

enum { KEYS_KEEP = 256 };

void dispatch_deinit(struct dispatch *dispatch)
{
    CHECK(!dispatch->reading);
    free(dispatch->items);
    free(dispatch->missing);
    dispatch->items = NULL;
    dispatch->missing = NULL;
    dispatch->keys_capacity = 0;
}

static void reserve_keys(struct dispatch *dispatch, size_t count)
{
    if (count > dispatch->keys_capacity) {
        dispatch->keys_capacity = count > KEYS_KEEP ? count : KEYS_KEEP;
        dispatch->items =
            memory_resize(dispatch->items, dispatch->keys_capacity * sizeof *dispatch->items);
        dispatch->missing =
            memory_resize(dispatch->missing, dispatch->keys_capacity * sizeof *dispatch->missing);
    }
}

static void count_hot_hits(struct dispatch *dispatch)
{
    if (dispatch->hot_hits > 0) {
        status_add(dispatch->status, STATUS_CACHE_HOT_HITS, dispatch->hot_hits);
        dispatch->hot_hits = 0;
    }
}

static void end_reading(struct dispatch *dispatch)
{
    if (dispatch->reading) {
        dispatch->cache->end(dispatch->reader);
        dispatch->reading = false;
    }
    dispatch->may_be_behind = false;
}

void dispatch_end(struct dispatch *dispatch)
{
    end_reading(dispatch);
    count_hot_hits(dispatch);
    if (dispatch->keys_capacity > KEYS_KEEP) {
        dispatch_deinit(dispatch);
    }
}

void dispatch_catch_up(struct dispatch *dispatch)
{
    if (dispatch->reading && !dispatch->cache->is_current(dispatch->reader)) {
        end_reading(dispatch);
    }
    dispatch->may_be_behind = false;
}

uint64_t dispatch_expect_get(struct dispatch *dispatch, struct slice key)
{
    return dispatch->cache->prefetch(dispatch->reader, key);
}

void dispatch_expect_record(struct dispatch *dispatch, uint64_t key_hash)
{
    dispatch->cache->prefetch_record(dispatch->reader, key_hash);
}

static bool deny(const struct caller *caller, const struct call *call)
{
    struct reply reply = {0};
    failure_note(&reply.failure, ERROR_DENIED, "%s: this connection is read-only",
                 call_words(call).text);
    caller->answer.reply(caller->answer.context, call, &reply);
    return true;
}

// ---- The loop itself

static void answer_done(const struct caller *caller, const struct call *call)
{
    struct reply reply = {0};
    caller->answer.reply(caller->answer.context, call, &reply);
}

static void answer_watch(struct dispatch *dispatch, const struct caller *caller,
                         const struct call *call)
{
    struct reply reply = {0};
    if (call->method == METHOD_WATCH) {
        // What it says of a failure is in the reply.
        (void)watch_add(caller->watch, call->prefix, dispatch->status, &reply.failure);
    } else {
        watch_remove(caller->watch, call->prefix, dispatch->status);
    }
    caller->answer.reply(caller->answer.context, call, &reply);
}

static bool answer_local(struct dispatch *dispatch, const struct caller *caller,
                         const struct call *call)
{
    if (call->method == METHOD_HELLO) {
        struct hello hello;
        hello_take(dispatch->facts, caller->read_only, dispatch->status, &hello);
        caller->answer.hello(caller->answer.context, &hello);
    } else if (call->method == METHOD_STATS) {
        struct stats stats;
        count_hot_hits(dispatch);
        stats_take(dispatch->status, dispatch->latencies,
                   dispatch->cache->now_us(dispatch->cache->cache), &stats);
        caller->answer.stats(caller->answer.context, &stats);
    } else if (call->method == METHOD_PING) {
        answer_done(caller, call);
    } else {
        answer_watch(dispatch, caller, call);
    }
    return true;
}

// ---- The cache

// Whether what the cache holds is new enough for the options of the call.
static bool satisfies(const struct dispatch *dispatch, const struct call *call,
                      const struct cached *cached)
{
    if (call->fresh || call->has_at_version || call->method == METHOD_HISTORY ||
        (call->has_max_age && call->max_age_ms == 0)) {
        return false;
    }
    if (call->has_max_age &&
        dispatch->now_boot_us - cached->current_boot_us > call->max_age_ms * CLOCK_US_PER_MS) {
        return false;
    }
    return !call->has_min_version || (!cached->pending && cached->version >= call->min_version);
}

static bool is_torn(const struct dispatch *dispatch)
{
    return dispatch->reading && dispatch->cache->is_torn(dispatch->reader);
}

// Several keys of one call are looked up at one moment, which the caller sees to.
static enum lookup look_in_snapshot(struct dispatch *dispatch, const struct call *call,
                                    struct slice key, struct cached *cached)
{
    for (;;) {
        if (dispatch->may_be_behind) {
            dispatch_catch_up(dispatch);
        }
        if (!dispatch->reading) {
            dispatch->cache->begin(dispatch->reader);
            dispatch->reading = true;
        }
        *cached = (struct cached){0};
        enum lookup found = dispatch->cache->lookup(dispatch->reader, key, cached);
        if (call->method == METHOD_MGET || !is_torn(dispatch)) {
            return found;
        }
        end_reading(dispatch);
    }
}

static void count_looks(struct dispatch *dispatch)
{
    const struct looks *looks = &dispatch->looks;
    if (looks->hits > 0) {
        status_add(dispatch->status, STATUS_CACHE_HITS, looks->hits);
    }
    if (looks->negative_hits > 0) {
        status_add(dispatch->status, STATUS_CACHE_NEGATIVE_HITS, looks->negative_hits);
    }
    if (looks->misses > 0) {
        status_add(dispatch->status, STATUS_CACHE_MISSES, looks->misses);
    }
    if (looks->suspects > 0) {
        status_add(dispatch->status, STATUS_CACHE_SUSPECT_READS, looks->suspects);
    }
    dispatch->looks = (struct looks){0};
}

// Looks one key up. False: PostgreSQL must be asked, after this node's pending write to the key.
// Several keys of one call are looked up at one moment.
static bool look_up(struct dispatch *dispatch, const struct call *call, struct slice key,
                    struct cached *cached, uint64_t *after_seq)
{
    enum lookup found;
    bool is_hot = false;
    if (call->method != METHOD_MGET &&
        dispatch->cache->look_up_hot(dispatch->reader, key, call->key_hash, dispatch->now_boot_us,
                                     &found, cached)) {
        dispatch->may_be_behind = dispatch->reading;
        is_hot = !cached->pending; // else it is in the memtable
    } else {
        found = look_in_snapshot(dispatch, call, key, cached);
    }
    if (found == LOOKUP_HIT && satisfies(dispatch, call, cached)) {
        dispatch->looks.hits++;
        dispatch->looks.negative_hits += !cached->present;
        dispatch->hot_hits += is_hot;
        return true;
    }
    dispatch->looks.misses++;
    dispatch->looks.suspects += found == LOOKUP_SUSPECT;
    if (found == LOOKUP_HIT && cached->pending && cached->pending_seq > *after_seq) {
        *after_seq = cached->pending_seq;
    }
    return false;
}

static struct item item_of(struct slice key, const struct cached *cached)
{
    return (struct item){
        .key = key,
        .value = cached->value,
        .present = cached->present,
        .has_version = !cached->pending,
        .version = cached->version,
    };
}

// A reply that no client would take: the size is known before a byte is encoded.
static void check_reply_size(const struct dispatch *dispatch, struct reply *reply)
{
    size_t bytes = 0;
    for (size_t i = 0; i < reply->items_count; i++) {
        bytes += reply->items[i].value.len;
    }
    if (bytes > dispatch->reply_bytes_max) {
        failure_note(&reply->failure, ERROR_TOO_LARGE,
                     "mget: %zu bytes of values are more than %zu: ask for fewer keys", bytes,
                     dispatch->reply_bytes_max);
    }
}

static void look_up_all(struct dispatch *dispatch, const struct call *call, struct route *route)
{
    route->missing_count = 0;
    for (size_t i = 0; i < call->pairs_count; i++) {
        struct cached cached;
        if (look_up(dispatch, call, call->pairs[i].key, &cached, &route->after_seq)) {
            dispatch->items[i] = item_of(call->pairs[i].key, &cached);
        } else {
            dispatch->missing[route->missing_count++] = (uint32_t)i;
        }
    }
}

static bool answer_mget(struct dispatch *dispatch, const struct caller *caller,
                        const struct call *call, struct route *route)
{
    reserve_keys(dispatch, call->pairs_count);
    look_up_all(dispatch, call, route);
    while (is_torn(dispatch)) {
        end_reading(dispatch);
        dispatch->looks = (struct looks){0};
        look_up_all(dispatch, call, route);
    }
    count_looks(dispatch);
    if (route->missing_count > 0) {
        return false;
    }
    struct reply reply = {.items = dispatch->items, .items_count = call->pairs_count};
    check_reply_size(dispatch, &reply);
    caller->answer.reply(caller->answer.context, call, &reply);
    return true;
}

static void set_time_left(const struct dispatch *dispatch, const struct cached *cached,
                          struct reply *reply)
{
    if (cached->present && cached->expires_at_us != 0) {
        int64_t left_us = cached->expires_at_us - dispatch->cache->now_us(dispatch->cache->cache);
        reply->has_integer = left_us > 0;
        reply->integer = clock_us_to_ms(left_us);
    }
}

static bool answer_read(struct dispatch *dispatch, const struct caller *caller,
                        const struct call *call, struct route *route)
{
    route->to = dispatch->pg;
    if (call->method == METHOD_MGET) {
        return answer_mget(dispatch, caller, call, route);
    }
    struct cached cached;
    bool is_found = look_up(dispatch, call, call->pairs[0].key, &cached, &route->after_seq);
    count_looks(dispatch);
    if (!is_found) {
        return false;
    }
    struct item item = item_of(call->pairs[0].key, &cached);
    if (call->method == METHOD_GET && caller->answer.item != NULL) {
        caller->answer.item(caller->answer.context, &item);
        return true;
    }
    struct reply reply = {.items = &item, .items_count = 1};
    if (call->method == METHOD_TTL) {
        set_time_left(dispatch, &cached, &reply);
    }
    caller->answer.reply(caller->answer.context, call, &reply);
    return true;
}

// What a read-only connection may not ask for.
static bool changes_something(enum method method)
{
    switch (method) {
    case METHOD_INVALIDATE:
    case METHOD_DISCARD_DEAD_LETTER:
    case METHOD_BACKUP:
    case METHOD_RESTORE:
    case METHOD_CLEANUP_BACKUPS:
        return true;
    default:
        return method_class(method) == METHOD_WRITE;
    }
}

bool dispatch_answer(struct dispatch *dispatch, const struct caller *caller,
                     const struct call *call, struct route *route)
{
    *route = (struct route){.to = dispatch->pg};
    if (caller->read_only && changes_something(call->method)) {
        return deny(caller, call);
    }
    switch (method_class(call->method)) {
    case METHOD_LOCAL:
        return answer_local(dispatch, caller, call);
    case METHOD_READ:
        return answer_read(dispatch, caller, call, route);
    case METHOD_WRITE:
    case METHOD_CONTROL:
        route->to = dispatch->writer;
        return false;
    case METHOD_ASK:
        return false;
    }
    CHECK_VALUES(false, "method %d", (int)call->method);
    return false;
}

// ---- Requests to the other threads

// Copies what the cache answered out of its map, and makes the call that asks for the rest.
static struct call hold_found(struct dispatch *dispatch, const struct call *call,
                              const struct route *route, struct held *held, struct pair *rest)
{
    size_t missing_bytes = route->missing_count * sizeof *held->missing;
    held->items_count = call->pairs_count;
    held->items = arena_alloc(&held->arena, call->pairs_count * sizeof *held->items);
    held->missing_count = route->missing_count;
    held->missing = arena_alloc(&held->arena, missing_bytes);
    memcpy(held->missing, dispatch->missing, missing_bytes);
    for (size_t i = 0, next = 0; i < call->pairs_count; i++) {
        if (next < route->missing_count && held->missing[next] == i) {
            rest[next++] = call->pairs[i];
            continue;
        }
        held->items[i] = dispatch->items[i];
        held->items[i].key = slice_of("", 0); // the encoder of an mget does not look at it
        held->items[i].value = arena_copy(&held->arena, dispatch->items[i].value);
    }
    struct call asked = *call;
    asked.pairs = rest;
    asked.pairs_count = route->missing_count;
    return asked;
}

// A write whose result PostgreSQL decides is always journaled: only what is in the outbox can be
// flushed.
static void raise_ack(struct call *call)
{
    bool has_result = call->condition != CONDITION_NONE || call->method == METHOD_INCR ||
                      call->method == METHOD_MERGE || call->method == METHOD_TOUCH ||
                      call->method == METHOD_RETRY_DEAD_LETTER;
    if (has_result && call->ack == ACK_MEMORY) {
        call->ack = ACK_JOURNAL;
    }
}

struct request *dispatch_request(struct dispatch *dispatch, const struct call *call,
                                 const struct route *route, struct held *held)
{
    struct request *request;
    if (route->missing_count > 0 && route->missing_count < call->pairs_count) {
        struct pair *rest = memory_zeroed(route->missing_count, sizeof *rest);
        struct call asked = hold_found(dispatch, call, route, held, rest);
        request = request_create_in(&dispatch->requests, &asked, dispatch->home);
        free(rest);
    } else {
        request = request_create_in(&dispatch->requests, call, dispatch->home);
    }
    raise_ack(&request->call);
    request->after_seq = route->after_seq;
    request->deadline_boot_us = dispatch->now_boot_us + call->timeout_ms * CLOCK_US_PER_MS;
    return request;
}

// A read that was torn often holds the writer still, and as a guest this thread may wait for that
// with the pg worker's reader: it would wait for itself.
static bool ask_itself(struct dispatch *dispatch, struct request *request)
{
    if (dispatch->own_fetch == NULL || method_class(request->call.method) != METHOD_READ) {
        return false;
    }
    end_reading(dispatch);
    return own_fetch_ask(dispatch->own_fetch, request);
}

bool dispatch_send(struct dispatch *dispatch, const struct route *route, struct request *request)
{
    (void)FAULT_POINT(ASKS);
    return ask_itself(dispatch, request) || mailbox_offer(route->to, &request->message);
}

void dispatch_complete(const struct dispatch *dispatch, struct held *held, struct request *request)
{
    struct reply *reply = &request->reply;
    if (request->call.method != METHOD_MGET || reply->failure.error != ERROR_NONE) {
        return;
    }
    if (held->items != NULL) {
        CHECK_VALUES(reply->items_count == held->missing_count, "%zu of %zu", reply->items_count,
                     held->missing_count);
        for (size_t i = 0; i < held->missing_count; i++) {
            held->items[held->missing[i]] = reply->items[i];
        }
        reply->items = held->items;
        reply->items_count = held->items_count;
    }
    check_reply_size(dispatch, reply);
}

void held_deinit(struct held *held)
{
    arena_deinit(&held->arena);
    *held = (struct held){0};
}
