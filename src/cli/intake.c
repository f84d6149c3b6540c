// Writes on a condition carry no id, by which a repeat would get its first answer: a node remembers
// ids for ten minutes, and an import of millions of pairs would use up what it has room for. So a
// repeat may meet the pair that it has just written, and what it meets is compared.

#include "cli/intake.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/hash.h"

struct intake_pair {
    struct slice key; // in `bytes`
    struct slice value;
    int64_t ttl_ms;
    uint64_t line;
    bool is_done;
    UT_hash_handle hh;
};

void intake_init(struct intake *intake, pgnear *node, int64_t patience_ms)
{
    *intake = (struct intake){.node = node};
    intake->pairs = memory_zeroed(INTAKE_PAIRS_MAX, sizeof *intake->pairs);
    intake->batch = node == NULL ? NULL : pgnear_batch_create(node);
    patience_begin(&intake->patience, patience_ms);
}

static void empty(struct intake *intake)
{
    HASH_CLEAR(hh, intake->by_key);
    arena_deinit(&intake->bytes);
    intake->count = 0;
}

void intake_deinit(struct intake *intake)
{
    empty(intake);
    pgnear_batch_destroy(intake->batch);
    free(intake->pairs);
}

bool intake_has_room(const struct intake *intake, const struct pairs_pair *pair)
{
    struct intake_pair *same;
    HASH_FIND(hh, intake->by_key, pair->key.at, pair->key.len, same);
    size_t bytes = intake->bytes.bytes + pair->key.len + pair->value.len;
    return same == NULL && intake->count < INTAKE_PAIRS_MAX &&
           (intake->count == 0 || bytes <= INTAKE_BYTES_MAX);
}

void intake_add(struct intake *intake, const struct pairs_pair *pair, int64_t ttl_ms)
{
    CHECK(intake_has_room(intake, pair));
    struct intake_pair *own = &intake->pairs[intake->count++];
    *own = (struct intake_pair){
        .key = arena_copy(&intake->bytes, pair->key),
        .value = arena_copy(&intake->bytes, pair->value),
        .ttl_ms = ttl_ms,
        .line = pair->line,
    };
    HASH_ADD_KEYPTR(hh, intake->by_key, own->key.at, own->key.len, own);
}

// ---- Delivery

static pgnear_code add_to_batch(struct intake *intake, const struct intake_pair *pair,
                                pgnear_error *error)
{
    pgnear_write_options options = PGNEAR_WRITE_OPTIONS_INIT;
    options.ack = intake->ack;
    options.has_ttl = pair->ttl_ms > 0;
    options.ttl_ms = pair->ttl_ms;
    options.if_absent = intake->policy != CONFLICT_REPLACE;
    const pgnear_bytes key = {pair->key.at, pair->key.len};
    const pgnear_bytes value = {pair->value.at, pair->value.len};
    return pgnear_batch_set(intake->batch, key, value, &options, error);
}

// A set may be sent again whatever became of it: it sets the same once more.
static bool is_to_be_repeated(pgnear_code code, const pgnear_error *error)
{
    return code == PGNEAR_OUTCOME_UNKNOWN || error->retryable;
}

// A key exists that was not to. Asks what it holds now; where that is not known, or it is gone
// again, the pair stays to be sent.
static enum intake_result judge_conflict(struct intake *intake, struct intake_pair *pair)
{
    pgnear_get_options fresh = PGNEAR_GET_OPTIONS_INIT;
    pgnear_item item;
    fresh.fresh = true;
    if (pgnear_get(intake->node, (pgnear_bytes){pair->key.at, pair->key.len}, &fresh, &item,
                   &intake->error) != PGNEAR_OK) {
        return intake->error.retryable ? INTAKE_OK : INTAKE_GONE;
    }
    if (!item.present) {
        return INTAKE_OK;
    }
    pair->is_done = true;
    if (slice_equal(slice_of(item.value.at, item.value.len), pair->value)) {
        intake->imported++;
        return INTAKE_OK;
    }
    intake->conflict_line = pair->line;
    return INTAKE_CONFLICT;
}

static enum intake_result take_reply(struct intake *intake, struct intake_pair *pair,
                                     const pgnear_reply *reply)
{
    if (reply->code != PGNEAR_OK && is_to_be_repeated(reply->code, reply->error)) {
        intake->error = *reply->error;
        return INTAKE_OK;
    }
    patience_renew(&intake->patience);
    if (reply->code == PGNEAR_CONFLICT && intake->policy == CONFLICT_FAIL) {
        return judge_conflict(intake, pair);
    }
    pair->is_done = true;
    if (reply->code == PGNEAR_OK) {
        intake->imported++;
    } else if (reply->code == PGNEAR_CONFLICT) {
        intake->skipped++;
    } else if (!intake->on_refused(intake->context, pair->line, reply->error->message)) {
        return INTAKE_REFUSED;
    }
    return INTAKE_OK;
}

// The replies come in the order of the pairs that are not done. The first result that is not OK is
// the whole one's, once all are counted.
static enum intake_result take_replies(struct intake *intake, const pgnear_reply *replies,
                                       size_t replies_count, size_t *left)
{
    enum intake_result result = INTAKE_OK;
    size_t next = 0;
    *left = 0;
    for (size_t i = 0; i < intake->count; i++) {
        struct intake_pair *pair = &intake->pairs[i];
        if (pair->is_done) {
            continue;
        }
        CHECK(next < replies_count);
        enum intake_result one = take_reply(intake, pair, &replies[next++]);
        result = result == INTAKE_OK ? one : result;
        *left += !pair->is_done;
    }
    return result;
}

// Sends what is not done once. *left pairs are still to be sent.
static enum intake_result deliver_once(struct intake *intake, size_t *left)
{
    const pgnear_reply *replies;
    size_t count;
    for (size_t i = 0; i < intake->count; i++) {
        if (!intake->pairs[i].is_done) {
            // Bounded well below what a batch holds, and the value is our own.
            CHECK(add_to_batch(intake, &intake->pairs[i], NULL) == PGNEAR_OK);
        }
    }
    if (pgnear_batch_run(intake->batch, NULL, &replies, &count, &intake->error) != PGNEAR_OK) {
        pgnear_batch_destroy(intake->batch);
        intake->batch = pgnear_batch_create(intake->node);
        return intake->error.retryable ? INTAKE_OK : INTAKE_GONE;
    }
    return take_replies(intake, replies, count, left);
}

enum intake_result intake_deliver(struct intake *intake)
{
    enum intake_result result = INTAKE_OK;
    size_t left = intake->count;
    patience_renew(&intake->patience);
    if (intake->node == NULL) {
        intake->imported += (int64_t)intake->count;
        left = 0;
    }
    while (left > 0 && result == INTAKE_OK) {
        result = deliver_once(intake, &left);
        if (result == INTAKE_OK && left > 0 && !patience_wait(&intake->patience)) {
            result = INTAKE_GONE;
        }
    }
    empty(intake);
    return result;
}
