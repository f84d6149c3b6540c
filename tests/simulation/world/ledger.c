// The books of a run. Nothing is ever taken out of them but by a failover.
#include "simulation/world/ledger.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/memory.h"
#include "base/mpack.h"
#include "simulation/world/machine.h"

enum { WRITES_MAX = 1 << 17, STATES_MAX = 1 << 16, PER_NODE_MAX = 1 << 16 };

struct own_commit {
    uint64_t number;
    uint64_t order;
};

// What is known of one node's writes to one key.
struct own_key {
    uint64_t acked_number;
    size_t commits_count;
    struct own_commit *commits; // in the order of the commits
};

struct own {
    uint64_t numbers;
    uint64_t journaled_seq; // in the outbox, as found there
    uint64_t promised_seq;  // acknowledged as more than in memory, and all before it with it
    uint64_t applied_seq;   // in PostgreSQL
    uint64_t lost_from_seq; // the least seq that a failover took back; UINT64_MAX: none
    int64_t synced_us;
    size_t count;
    int64_t writes[PER_NODE_MAX]; // journaled, by seq
    struct own_key keys[KEYS_COUNT];
};

static struct write writes[WRITES_MAX];
static int64_t writes_count;
static struct state *states[KEYS_COUNT];
static size_t states_count[KEYS_COUNT];
static uint64_t selected_steps[KEYS_COUNT];
static uint64_t orders;
static struct own owns[NODES_MAX];

int ledger_hot_keys = KEYS_COUNT;

int ledger_random_plain(void)
{
    int count = ledger_hot_keys < COUNTERS_FROM ? ledger_hot_keys : COUNTERS_FROM;
    return (int)machine_below((uint32_t)count);
}

int ledger_random_counter(void)
{
    int count = ledger_hot_keys < KEYS_COUNT ? 1 : KEYS_COUNT - COUNTERS_FROM;
    return COUNTERS_FROM + (int)machine_below((uint32_t)count);
}

int ledger_random_key(void)
{
    return machine_chance(250) ? ledger_random_counter() : ledger_random_plain();
}

void ledger_start(void)
{
    for (int node = 0; node < NODES_MAX; node++) {
        owns[node].lost_from_seq = UINT64_MAX;
    }
    for (int key = 0; key < KEYS_COUNT; key++) {
        states[key] = memory_zeroed(STATES_MAX, sizeof *states[key]);
        states[key][0].until_us = INT64_MAX;
        states_count[key] = 1;
    }
}

// ---- states

static void add_state(int key, struct state state)
{
    CHECK_VALUES(states_count[key] < STATES_MAX, "key %d", key);
    states[key][states_count[key] - 1].until_us = machine.now_us;
    state.from_us = machine.now_us;
    state.until_us = INT64_MAX;
    states[key][states_count[key]++] = state;
}

uint64_t ledger_changed(int key, bool present, int64_t token, int64_t version)
{
    const struct state *before = &states[key][states_count[key] - 1];
    if (present && before->present && version <= before->version) {
        violation("version", "k%d goes from version %lld to %lld", key, (long long)before->version,
                  (long long)version);
    }
    orders++;
    trace("    k%d = %lld, version %lld", key, present ? (long long)token : -1ll,
          (long long)version);
    add_state(key, (struct state){
                       .present = present, .token = token, .version = version, .order = orders});
    return orders;
}

void ledger_lost(int key, const struct state *back)
{
    trace("    k%d is back at %lld, version %lld", key, back->present ? (long long)back->token : -1,
          (long long)back->version);
    add_state(key, *back);
}

struct state ledger_state(int key)
{
    return states[key][states_count[key] - 1];
}

void ledger_selected(int key)
{
    selected_steps[key] = machine.step;
}

uint64_t ledger_selected_step(int key)
{
    return selected_steps[key];
}

// ---- writes

int64_t ledger_write(const struct write *write)
{
    CHECK(writes_count + 1 < WRITES_MAX);
    writes[++writes_count] = *write;
    if (write->node != NOBODY) {
        writes[writes_count].number = ++owns[write->node].numbers;
    }
    return writes_count;
}

struct write *ledger_write_of(int64_t number)
{
    return number > 0 && number <= writes_count ? &writes[number] : NULL;
}

static int64_t first_number(struct slice text)
{
    int64_t number = 0;
    size_t i = 0;
    while (i < text.len && text.at[i] >= '0' && text.at[i] <= '9') {
        number = number * 10 + (text.at[i++] - '0');
    }
    return number;
}

// The value of a set is a string that begins with its write's number; other writes carry it in
// their id.
static int64_t number_of(const struct entry *entry, const struct pair *pair)
{
    if (entry->id.len > 1) {
        return first_number(slice_of(entry->id.at + 1, entry->id.len - 1));
    }
    struct mpack_cursor cursor = mpack_cursor_of(pair->value);
    struct slice text;
    return mpack_read_str(&cursor, &text) ? first_number(text) : 0;
}

static int key_of(struct slice key)
{
    return key.len == 2 ? key.at[1] - '0' : -1;
}

void ledger_journaled(int node, const struct entry *entry)
{
    struct own *own = &owns[node];
    if (entry->seq <= own->journaled_seq) {
        return;
    }
    struct entry_cursor cursor = entry_cursor_of(entry);
    struct pair pair;
    while (entry_next_pair(&cursor, &pair)) {
        int64_t number = number_of(entry, &pair);
        struct write *write = ledger_write_of(number);
        CHECK_VALUES(write != NULL && write->node == node && write->key == key_of(pair.key),
                     "seq %llu", (unsigned long long)entry->seq);
        if (write->seq != 0) {
            violation("seq", "write %lld of node %d is journaled as %llu and again as %llu",
                      (long long)number, node, (unsigned long long)write->seq,
                      (unsigned long long)entry->seq);
        }
        write->seq = entry->seq;
        CHECK(own->count < PER_NODE_MAX);
        own->writes[own->count++] = number;
    }
    own->journaled_seq = entry->seq;
}

uint64_t ledger_journaled_seq(int node)
{
    return owns[node].journaled_seq;
}

uint64_t ledger_applied_seq(int node)
{
    return owns[node].applied_seq;
}

void ledger_acked(int64_t number, uint64_t seq)
{
    struct write *write = ledger_write_of(number);
    struct own_key *own = &owns[write->node].keys[write->key];
    if (write->seq != 0 && write->seq != seq) {
        violation("seq", "write %lld was journaled as %llu and acknowledged as %llu",
                  (long long)number, (unsigned long long)write->seq, (unsigned long long)seq);
    }
    if (write->ack == ACK_POSTGRES && !write->applied && !write->undone) {
        violation("ack", "write %lld (seq %llu) is acknowledged as in PostgreSQL, and is not",
                  (long long)number, (unsigned long long)seq);
    }
    write->acked = true;
    write->acked_seq = seq;
    if (write->number > own->acked_number) {
        own->acked_number = write->number;
    }
    if (write->ack != ACK_MEMORY && seq > owns[write->node].promised_seq) {
        owns[write->node].promised_seq = seq;
    }
}

void ledger_withdrawn(int64_t number)
{
    struct write *write = ledger_write_of(number);
    write->withdrawn = true;
    if (write->effective) {
        violation("withdrawn", "write %lld was answered as not done, and is", (long long)number);
    }
}

void ledger_retired(int node, uint64_t seq)
{
    const struct own *own = &owns[node];
    for (size_t i = own->count; i > 0 && writes[own->writes[i - 1]].seq >= seq; i--) {
        struct write *write = &writes[own->writes[i - 1]];
        write->retired |= write->seq == seq;
    }
}

void ledger_flushed(int node, uint64_t seq)
{
    const struct own *own = &owns[node];
    if (own->applied_seq < seq && own->lost_from_seq > seq) {
        violation("flush", "node %d answered a flush up to %llu, and is at %llu", node,
                  (unsigned long long)seq, (unsigned long long)own->applied_seq);
    }
}

static bool is_durable(const struct own *own, const struct write *write)
{
    uint64_t seq = write->seq != 0 ? write->seq : write->acked_seq;
    bool is_promised = write->acked && seq <= own->promised_seq;
    return is_promised || (write->seq != 0 && seq <= own->journaled_seq);
}

void ledger_machine_lost(int node)
{
    struct own *own = &owns[node];
    for (int key = 0; key < KEYS_COUNT; key++) {
        own->keys[key].acked_number = 0;
    }
    for (int64_t i = 1; i <= writes_count; i++) {
        struct write *write = &writes[i];
        if (write->node != node) {
            continue;
        }
        write->lost |= write->ack == ACK_MEMORY && !is_durable(own, write);
        struct own_key *key = &own->keys[write->key];
        if (write->acked && !write->lost && write->number > key->acked_number) {
            key->acked_number = write->number;
        }
    }
}

// ---- batches

// The first journaled write of the node with a seq greater than `seq`.
static size_t after(const struct own *own, uint64_t seq)
{
    size_t low = 0, high = own->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (writes[own->writes[middle]].seq <= seq) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

// The write that the change is of.
static struct write *write_of(const struct batch_commit *batch, const struct batch_change *change)
{
    const struct own *own = &owns[batch->node];
    if (change->token != 0) {
        return ledger_write_of(change->token);
    }
    struct write *found = NULL;
    for (size_t i = after(own, batch->from_seq); i < own->count; i++) {
        struct write *write = &writes[own->writes[i]];
        bool fits = write->seq <= batch->to_seq && write->key == change->key &&
                    (change->seq == 0 ? write->op == change->op : write->seq == change->seq);
        if (fits) {
            found = write;
        }
    }
    return found;
}

static void note_commit(struct own_key *own, const struct write *write,
                        const struct batch_change *change)
{
    own->commits = memory_resize(own->commits, (own->commits_count + 1) * sizeof *own->commits);
    own->commits[own->commits_count++] =
        (struct own_commit){.number = write->number, .order = change->order};
}

// When PostgreSQL had such a state of the key for the first time, or for the last; 0: never.
static uint64_t order_of_token(int key, int64_t token)
{
    for (size_t i = 0; i < states_count[key]; i++) {
        if (states[key][i].present && states[key][i].token == token) {
            return states[key][i].order;
        }
    }
    return 0;
}

static uint64_t order_of_version(int key, int64_t version)
{
    uint64_t order = 0;
    for (size_t i = 0; i < states_count[key]; i++) {
        const struct state *state = &states[key][i];
        if (state->present && state->version == version && state->order > order) {
            order = state->order;
        }
    }
    return order;
}

// After a failover the state that a condition named may have another version. What came after that
// state is no longer it: a write on the condition would undo what its caller never saw.
static void check_condition(const struct write *write, const struct batch_change *change)
{
    if (write->if_version == 0 || change->before_version == write->if_version) {
        return;
    }
    uint64_t named = order_of_version(change->key, write->if_version);
    uint64_t replaced = order_of_token(change->key, change->before_token);
    if (replaced == 0 || replaced > named) {
        violation("condition",
                  "write %llu of node %d to k%d names version %lld, and replaces %lld, which came"
                  " after it",
                  (unsigned long long)write->seq, write->node, change->key,
                  (long long)write->if_version, (long long)change->before_token);
    }
}

static void check_change(const struct batch_commit *batch, const struct batch_change *change,
                         uint64_t newest[KEYS_COUNT])
{
    struct write *write = write_of(batch, change);
    if (write == NULL) {
        violation("once", "node %d changed k%d by a write that is not of its batch %llu to %llu",
                  batch->node, change->key, (unsigned long long)batch->from_seq,
                  (unsigned long long)batch->to_seq);
    }
    if (write->applied || write->seq <= batch->from_seq || write->seq > batch->to_seq) {
        violation("once", "write %llu of node %d to k%d came with the batch %llu to %llu%s",
                  (unsigned long long)write->seq, batch->node, change->key,
                  (unsigned long long)batch->from_seq, (unsigned long long)batch->to_seq,
                  write->applied ? ": it is applied already" : "");
    }
    if (write->seq > newest[change->key]) {
        newest[change->key] = write->seq;
    }
    if (change->effect && write->withdrawn) {
        violation("withdrawn", "write %llu of node %d was answered as not done, and is applied",
                  (unsigned long long)write->seq, batch->node);
    }
    if (change->effect) {
        check_condition(write, change);
    }
    write->effective |= change->effect;
    if (change->effect || !write->conditional) {
        note_commit(&owns[batch->node].keys[change->key], write, change);
    }
}

void ledger_batch(const struct batch_commit *batch)
{
    struct own *own = &owns[batch->node];
    uint64_t newest[KEYS_COUNT] = {0};
    if (batch->from_seq != own->applied_seq) {
        violation("once", "node %d applied %llu to %llu, and PostgreSQL was at %llu", batch->node,
                  (unsigned long long)batch->from_seq, (unsigned long long)batch->to_seq,
                  (unsigned long long)own->applied_seq);
    }
    for (size_t i = 0; i < batch->changes_count; i++) {
        check_change(batch, &batch->changes[i], newest);
    }
    for (size_t i = after(own, batch->from_seq); i < own->count; i++) {
        struct write *write = &writes[own->writes[i]];
        if (write->seq > batch->to_seq) {
            break;
        }
        if (write->seq > newest[write->key] && !write->withdrawn && !write->retired) {
            violation("prefix", "node %d moved on to %llu without its write %llu to k%d",
                      batch->node, (unsigned long long)batch->to_seq,
                      (unsigned long long)write->seq, write->key);
        }
        write->applied = true;
    }
    own->applied_seq = batch->to_seq;
}

void ledger_unguarded(const struct batch_change *change)
{
    struct write *write = ledger_write_of(change->token);
    for (int64_t i = writes_count; write == NULL && i > 0; i--) {
        bool fits = writes[i].node != NOBODY && writes[i].key == change->key &&
                    writes[i].op == change->op && writes[i].seq != 0 && !writes[i].applied;
        write = fits ? &writes[i] : NULL;
    }
    if (write == NULL || write->node == NOBODY) {
        return;
    }
    if (write->effective) {
        violation("once", "write %llu of node %d to k%d is applied again, by a batch without a row",
                  (unsigned long long)write->seq, write->node, change->key);
    }
    write->effective = true;
    write->applied = true;
    struct own_key *own = &owns[write->node].keys[change->key];
    note_commit(own, write, change);
}

void ledger_batch_lost(const struct batch_commit *batch)
{
    struct own *own = &owns[batch->node];
    for (size_t i = after(own, batch->from_seq); i < own->count; i++) {
        struct write *write = &writes[own->writes[i]];
        if (write->seq <= batch->to_seq) {
            write->applied = false;
            write->effective = false;
            write->undone = true;
        }
    }
    own->applied_seq = batch->from_seq;
    if (batch->from_seq < own->lost_from_seq) {
        own->lost_from_seq = batch->from_seq;
    }
}

// ---- reads

struct read_floor ledger_floor(int node, int key)
{
    return (struct read_floor){
        .number = owns[node].keys[key].acked_number,
        .since_us = owns[node].synced_us,
    };
}

void ledger_synced(int node, int64_t since_us)
{
    if (since_us > owns[node].synced_us) {
        owns[node].synced_us = since_us;
    }
}

void ledger_restarted(int node)
{
    owns[node].synced_us = 0;
}

// The order of the first commit of this node to the key of a write from `number` on.
static uint64_t floor_order(int node, int key, uint64_t number)
{
    const struct own_key *own = &owns[node].keys[key];
    uint64_t order = UINT64_MAX;
    for (size_t i = own->commits_count; number > 0 && i > 0; i--) {
        const struct own_commit *commit = &own->commits[i - 1];
        if (commit->number >= number && commit->order < order) {
            order = commit->order;
        }
    }
    return number == 0 ? 0 : order;
}

// Of an acknowledged write that became a dead letter nothing is left to be read.
static bool is_retired(int node, uint64_t number)
{
    int64_t i = writes_count;
    while (i > 0 && (writes[i].node != node || writes[i].number != number)) {
        i--;
    }
    return i > 0 && writes[i].retired;
}

static void check_pending(int node, int key, const struct read_floor *floor,
                          const struct seen *seen)
{
    if (!seen->present) {
        return; // a delete: any of this node's
    }
    const struct write *write = ledger_write_of(seen->token);
    if (write == NULL || write->node != node || write->key != key) {
        violation("alien", "node %d holds %lld pending under k%d", node, (long long)seen->token,
                  key);
    }
    if (write->number < floor->number && !is_retired(node, floor->number)) {
        violation("own", "node %d reads its write %llu of k%d, and %llu was acknowledged", node,
                  (unsigned long long)write->number, key, (unsigned long long)floor->number);
    }
}

static bool is_state(const struct state *state, const struct seen *seen)
{
    return state->present == seen->present &&
           (!seen->present || (state->token == seen->token && state->version == seen->version));
}

void ledger_read(int node, int key, const struct read_floor *floor, const struct seen *seen)
{
    if (seen->pending) {
        check_pending(node, key, floor, seen);
        return;
    }
    int64_t since_us = seen->current_us > floor->since_us ? seen->current_us : floor->since_us;
    uint64_t order = floor_order(node, key, floor->number);
    bool known = false, current = false;
    for (size_t i = states_count[key]; i > 0; i--) {
        const struct state *state = &states[key][i - 1];
        if (!is_state(state, seen)) {
            continue;
        }
        known = true;
        if (state->until_us > since_us) {
            current = true;
            if (state->order >= order) {
                return;
            }
        }
    }
    const char *what = seen->present ? "value" : "absence, not value";
    if (!known) {
        violation("unknown", "node %d reads %s %lld, version %lld, of k%d, which never was", node,
                  what, (long long)seen->token, (long long)seen->version, key);
    }
    violation(current ? "own" : "stale",
              "node %d reads %s %lld, version %lld, of k%d as current at %lld us; write %llu was "
              "acknowledged",
              node, what, (long long)seen->token, (long long)seen->version, key,
              (long long)since_us, (unsigned long long)floor->number);
}

// ---- the end

void ledger_check_end(void)
{
    for (int64_t i = 1; i <= writes_count; i++) {
        const struct write *write = &writes[i];
        bool owed = write->node != NOBODY && (write->acked || write->seq != 0) && !write->lost &&
                    !write->withdrawn && !write->retired;
        if (owed && !write->applied) {
            violation("lost", "write %lld (seq %llu, k%d) of node %d is not in PostgreSQL",
                      (long long)i, (unsigned long long)write->seq, write->key, write->node);
        }
    }
}
