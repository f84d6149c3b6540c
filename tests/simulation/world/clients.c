// Clients ask what a run may ask of a node, through the server wing's own dispatch, and hand every
// answer to the ledger.
#include "simulation/world/clients.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/mpack.h"
#include "simulation/world/machine.h"
#include "simulation/world/sql.h"

// How long an answer of PostgreSQL may be on its way to those who ask meanwhile: until the feed is
// known to be dead, and a little for the scheduler.
enum { FLIGHT_US = 3000000, STEPS_OF_GRACE = 200 };

static const char *const KEY_NAMES[KEYS_COUNT] = {"k0", "k1", "k2", "k3", "k4", "k5", "k6", "k7"};

// ---- the journal

static bool see_entry(void *context, const struct entry *entry)
{
    const struct node *node = context;
    ledger_journaled(node->number, entry);
    return true;
}

void clients_see_journal(struct node *node)
{
    CHECK(node->outbox.visit(node->outbox.outbox, ledger_journaled_seq(node->number), see_entry,
                             node) == ERROR_NONE);
}

void clients_forget(struct node *node)
{
    memset(node->invalidated_step, 0, sizeof node->invalidated_step);
    memset(node->has_stray_reads, 0, sizeof node->has_stray_reads);
    for (int i = 0; i < CLIENTS_MAX; i++) {
        struct client *client = &node->clients[i];
        client->busy = false;
        held_deinit(&client->held);
        if (client->unsent != NULL) {
            request_destroy(client->unsent);
            client->unsent = NULL;
        }
    }
}

bool clients_are_idle(const struct node *node)
{
    for (int i = 0; i < CLIENTS_MAX; i++) {
        if (node->clients[i].busy) {
            return false;
        }
    }
    return true;
}

bool node_client_is_idle(const struct node *node, int client)
{
    return !node->clients[client].busy;
}

// ---- values

static int64_t token_of(struct slice value)
{
    struct mpack_cursor cursor = mpack_cursor_of(value);
    struct mpack_token token;
    CHECK_VALUES(mpack_next(&cursor, &token) == DECODE_OK, "%zu bytes", value.len);
    switch (token.type) {
    case MPACK_STR:
        return value_token(token.body);
    case MPACK_UINT:
        return (int64_t)token.uint;
    case MPACK_INT:
        return token.sint;
    default:
        violation("unknown", "a value of type %d is read", (int)token.type);
    }
}

static void pack_value(int64_t token, struct buffer *out)
{
    char json[VALUE_BYTES];
    size_t len = value_json(0, token, json);
    msgpack_packer packer;
    mpack_packer_init(&packer, out);
    mpack_pack_slice(&packer, slice_of(json + 1, len - 2));
}

// ---- answers

// What comes from PostgreSQL, and not from the cache by a second look, is of a question that was
// asked after the key was invalidated.
static void judge_asked(struct node *node, const struct client *client, size_t place)
{
    int key = client->keys[place];
    bool is_late_hit = status_get(&node->status, STATUS_CACHE_LATE_HITS) != client->late_hits;
    if (!is_late_hit && client->invalidated_step[place] > ledger_selected_step(key)) {
        violation("stale", "node %d tells what it knew of k%d before that was invalidated",
                  node->number, key);
    }
}

static void judge_item(struct node *node, const struct client *client, size_t place,
                       const struct item *item, bool from_cache)
{
    const struct cached *cached = &client->cached[place];
    int64_t grace_us = FLIGHT_US + STEPS_OF_GRACE * node->given.step_us;
    struct seen seen = {
        .present = item->present,
        .pending = from_cache && cached->pending,
        .token = item->present ? token_of(item->value) : 0,
        .version = item->version,
        .current_us = from_cache      ? cached->current_boot_us
                      : client->fresh ? client->asked_us
                                      : client->asked_us - grace_us,
    };
    trace("node %d: client reads k%d = %lld, version %lld%s%s", node->number, client->keys[place],
          seen.present ? (long long)seen.token : -1, (long long)seen.version,
          seen.pending ? ", pending" : "", from_cache ? ", cached" : "");
    ledger_read(node->number, client->keys[place], &client->floors[place], &seen);
    if (!from_cache) {
        judge_asked(node, client, place);
    }
}

// Whether the item of the answer is what the cache held when it was asked.
static bool is_held(const struct client *client, size_t place)
{
    const struct held *held = &client->held;
    for (size_t i = 0; i < held->missing_count; i++) {
        if (held->missing[i] == place) {
            return false;
        }
    }
    return held->items != NULL;
}

static bool is_undone(enum error error)
{
    switch (error) {
    case ERROR_CONFLICT:
    case ERROR_OVERLOADED:
    case ERROR_UNAVAILABLE:
    case ERROR_TIMEOUT:
    case ERROR_TOO_LARGE:
    case ERROR_REJECTED:
        return true;
    default:
        return false;
    }
}

static void judge_write(const struct client *client, const struct reply *reply)
{
    for (size_t i = 0; i < client->keys_count; i++) {
        if (reply->failure.error == ERROR_NONE) {
            ledger_acked(client->writes[i], reply->seq);
        } else if (is_undone(reply->failure.error)) {
            ledger_withdrawn(client->writes[i]);
        }
    }
}

// What is invalidated while nobody reads it is asked of PostgreSQL again by whoever comes after.
static void note_invalidated(struct node *node, const struct client *client)
{
    int key = client->keys[0];
    if (client->settles && !node->has_stray_reads[key]) {
        node->invalidated_step[key] = client->asked_step;
    }
}

// What nobody waits for any more may still be on its way; without a connection nothing is.
static void note_stray_reads(struct node *node, const struct client *client, enum error error)
{
    if (error == ERROR_UNAVAILABLE) {
        return;
    }
    for (size_t i = 0; method_class(client->method) == METHOD_READ && i < client->keys_count; i++) {
        node->has_stray_reads[client->keys[i]] = true;
    }
}

static void judge_answer(struct node *node, const struct client *client, const struct reply *reply,
                         bool from_cache)
{
    if (reply->failure.error != ERROR_NONE) {
        trace("node %d: client hears %s: %s", node->number, error_wire_code(reply->failure.error),
              reply->failure.message);
    }
    if (method_class(client->method) == METHOD_WRITE) {
        judge_write(client, reply);
    } else if (reply->failure.error != ERROR_NONE) {
        note_stray_reads(node, client, reply->failure.error);
        return;
    } else if (client->method == METHOD_INVALIDATE) {
        note_invalidated(node, client);
    } else if (client->method == METHOD_SYNC) {
        ledger_synced(node->number, client->asked_us);
    } else if (client->method == METHOD_FLUSH) {
        ledger_flushed(node->number, reply->seq);
    }
    for (size_t i = 0; method_class(client->method) == METHOD_READ && i < client->keys_count; i++) {
        judge_item(node, client, i, &reply->items[i], from_cache || is_held(client, i));
    }
}

static void judge(struct node *node, struct client *client, const struct reply *reply,
                  bool from_cache)
{
    client->busy = false;
    judge_answer(node, client, reply, from_cache);
    held_deinit(&client->held);
}

static void on_answered(void *context, const struct call *call, const struct reply *reply)
{
    (void)call;
    struct client *client = context;
    judge(client->node, client, reply, true);
}

bool node_has_answers(const struct node *node)
{
    return node->home.woken;
}

static void take_answer(struct node *node, struct message *message)
{
    if (message->kind == MESSAGE_REQUEST) {
        struct request *request = (struct request *)message;
        struct client *client = &node->clients[(uintptr_t)request->flight];
        CHECK(client->busy);
        dispatch_complete(&node->dispatch, &client->held, request);
        judge(node, client, &request->reply, false);
    }
    message_destroy(message);
}

void node_take_answers(struct node *node)
{
    clients_see_journal(node);
    struct message *message = mailbox_take(&node->home);
    while (message != NULL) {
        struct message *next = message->next;
        take_answer(node, message);
        message = next;
    }
}

// ---- questions

enum question {
    ASK_GET,
    ASK_FRESH,
    ASK_MGET,
    ASK_SET,
    ASK_SET_IF_ABSENT,
    ASK_SET_IF_VERSION,
    ASK_MSET,
    ASK_DELETE,
    ASK_INCR,
    ASK_SYNC,
    ASK_FLUSH,
    ASK_INVALIDATE,
    ASK_COUNT
};

static const struct {
    enum method method;
    uint32_t weight;
} QUESTIONS[ASK_COUNT] = {
    [ASK_GET] = {METHOD_GET, 40},          [ASK_FRESH] = {METHOD_GET, 6},
    [ASK_MGET] = {METHOD_MGET, 6},         [ASK_SET] = {METHOD_SET, 20},
    [ASK_SET_IF_ABSENT] = {METHOD_SET, 3}, [ASK_SET_IF_VERSION] = {METHOD_SET, 3},
    [ASK_MSET] = {METHOD_MSET, 4},         [ASK_DELETE] = {METHOD_DELETE, 7},
    [ASK_INCR] = {METHOD_INCR, 8},         [ASK_SYNC] = {METHOD_SYNC, 3},
    [ASK_FLUSH] = {METHOD_FLUSH, 2},       [ASK_INVALIDATE] = {METHOD_INVALIDATE, 1},
};

static uint32_t weight_of(const struct node *node, int question)
{
    bool is_often = question == ASK_GET || question == ASK_INVALIDATE;
    if (is_often && node->given.invalidates_often) {
        return 4 * QUESTIONS[ASK_GET].weight;
    }
    return QUESTIONS[question].weight;
}

static enum question random_question(const struct node *node)
{
    uint32_t total = 0;
    for (int i = 0; i < ASK_COUNT; i++) {
        total += weight_of(node, i);
    }
    uint32_t dice = machine_below(total);
    int question = 0;
    while (dice >= weight_of(node, question)) {
        dice -= weight_of(node, question);
        question++;
    }
    return (enum question)question;
}

static enum ack random_ack(enum question question)
{
    uint32_t dice = machine_below(10);
    bool plain = question == ASK_SET || question == ASK_DELETE || question == ASK_MSET;
    return !plain ? ACK_JOURNAL : dice < 2 ? ACK_MEMORY : dice < 8 ? ACK_JOURNAL : ACK_POSTGRES;
}

static void pick_keys(struct client *client, enum question question)
{
    bool two = question == ASK_MSET || question == ASK_MGET;
    client->keys_count = two ? 2 : 1;
    bool is_of_last = question == ASK_GET || question == ASK_INVALIDATE;
    if (is_of_last && client->node->given.invalidates_often && machine_chance(700)) {
        return;
    }
    if (question == ASK_INCR) {
        client->keys[0] = ledger_random_counter();
    } else if (QUESTIONS[question].method == METHOD_GET) {
        client->keys[0] = ledger_random_key();
    } else {
        client->keys[0] = ledger_random_plain();
        client->keys[1] = (client->keys[0] + 1) % 2;
    }
    if (question == ASK_SYNC || question == ASK_FLUSH) {
        client->keys_count = 0;
    }
}

// What is asked, while it is put together.
struct asking {
    struct call call;
    struct pair pairs[CLIENT_KEYS_MAX];
    struct buffer values[CLIENT_KEYS_MAX];
    char id[24];
};

static void add_write(struct client *client, struct asking *asking, enum question question,
                      size_t place)
{
    struct write write = {
        .node = client->node->number,
        .key = client->keys[place],
        .op = question == ASK_DELETE ? WRITE_DELETE
              : question == ASK_INCR ? WRITE_INCR
                                     : WRITE_SET,
        .amount = 1 + machine_below(9),
        .ack = client->ack,
        .conditional = question == ASK_SET_IF_ABSENT || question == ASK_SET_IF_VERSION,
        .if_version = asking->call.if_version,
    };
    int64_t number = ledger_write(&write);
    client->writes[place] = number;
    if (write.op == WRITE_SET) {
        pack_value(number, &asking->values[place]);
    } else {
        snprintf(asking->id, sizeof asking->id, "w%lld", (long long)number);
        asking->call.id = slice_of_string(asking->id);
    }
    if (write.op == WRITE_INCR) {
        msgpack_packer packer;
        mpack_packer_init(&packer, &asking->values[place]);
        msgpack_pack_int64(&packer, write.amount);
    }
    asking->pairs[place].value = buffer_slice(&asking->values[place]);
}

static void make_call(struct client *client, enum question question, struct asking *asking)
{
    struct call *call = &asking->call;
    client->ack = random_ack(question);
    *call = (struct call){
        .method = client->method,
        .ack = client->ack,
        .timeout_ms = client->node->given.timeout_ms,
        .fresh = client->fresh,
        .pairs_count = client->keys_count,
        .pairs = asking->pairs,
        .has_key = client->keys_count > 0,
        .condition = question == ASK_SET_IF_ABSENT    ? CONDITION_IF_ABSENT
                     : question == ASK_SET_IF_VERSION ? CONDITION_IF_VERSION
                                                      : CONDITION_NONE,
    };
    if (question == ASK_SET_IF_VERSION) {
        call->if_version = ledger_state(client->keys[0]).version;
    }
    for (size_t i = 0; i < client->keys_count; i++) {
        asking->pairs[i].key = slice_of_string(KEY_NAMES[client->keys[i]]);
        if (method_class(client->method) == METHOD_WRITE) {
            add_write(client, asking, question, i);
        }
    }
}

static bool is_being_read(const struct node *node, int key)
{
    for (int i = 0; i < CLIENTS_MAX; i++) {
        const struct client *client = &node->clients[i];
        bool reads = client->busy && method_class(client->method) == METHOD_READ;
        for (size_t j = 0; reads && j < client->keys_count; j++) {
            if (client->keys[j] == key) {
                return true;
            }
        }
    }
    return false;
}

// What the cache holds and what may be expected of the answer, at the moment of asking.
static void note_before(struct node *node, struct client *client)
{
    client->asked_step = machine.step;
    client->late_hits = status_get(&node->status, STATUS_CACHE_LATE_HITS);
    client->settles = client->method == METHOD_INVALIDATE && !node->given.preload &&
                      !is_being_read(node, client->keys[0]);
    node->cache.begin(node->reader);
    for (size_t i = 0; i < client->keys_count; i++) {
        client->floors[i] = ledger_floor(node->number, client->keys[i]);
        client->invalidated_step[i] = node->invalidated_step[client->keys[i]];
        client->cached[i] = (struct cached){0};
        node->cache.lookup(node->reader, slice_of_string(KEY_NAMES[client->keys[i]]),
                           &client->cached[i]);
    }
    node->cache.end(node->reader);
}

static void ask(struct node *node, struct client *client, const struct call *call)
{
    struct caller caller = {.answer = {.context = client, .reply = on_answered}};
    node->dispatch.now_boot_us = machine.now_us;
    if (!dispatch_answer(&node->dispatch, &caller, call, &client->route)) {
        client->unsent = dispatch_request(&node->dispatch, call, &client->route, &client->held);
        client->unsent->flight = (void *)(uintptr_t)(client - node->clients);
    }
    dispatch_end(&node->dispatch);
    bool is_read = method_class(client->method) == METHOD_READ;
    if (client->unsent != NULL && !(is_read && node->given.sends_late)) {
        node_client_sends(node, (int)(client - node->clients));
    }
}

bool node_client_is_unsent(const struct node *node, int number)
{
    return node->clients[number].unsent != NULL;
}

void node_client_sends(struct node *node, int number)
{
    struct client *client = &node->clients[number];
    struct request *request = client->unsent;
    client->unsent = NULL;
    if (!dispatch_send(&node->dispatch, &client->route, request)) {
        request_fail(request, ERROR_OVERLOADED, "the mailbox is full");
    }
}

void node_client_asks(struct node *node, int number)
{
    struct client *client = &node->clients[number];
    enum question question = random_question(node);
    client->node = node;
    client->busy = true;
    client->method = QUESTIONS[question].method;
    client->fresh = question == ASK_FRESH;
    client->asked_us = machine.now_us;
    pick_keys(client, question);
    struct asking asking = {0};
    make_call(client, question, &asking);
    client->deadline_us = machine.now_us + asking.call.timeout_ms * 1000;
    trace("node %d: client %d asks %s k%d%s%s", node->number, number, method_name(client->method),
          client->keys[0], client->fresh ? ", fresh" : "",
          asking.call.condition != CONDITION_NONE ? ", on a condition" : "");
    note_before(node, client);
    ask(node, client, &asking.call);
    for (size_t i = 0; i < CLIENT_KEYS_MAX; i++) {
        buffer_deinit(&asking.values[i]);
    }
}

// ---- the end

void node_check_key(struct node *node, int key)
{
    struct cached cached = {0};
    struct slice name = slice_of_string(KEY_NAMES[key]);
    node->cache.begin(node->reader);
    enum lookup found = node->cache.lookup(node->reader, name, &cached);
    int64_t token = found == LOOKUP_HIT && cached.present ? token_of(cached.value) : 0;
    node->cache.end(node->reader);
    struct state state = ledger_state(key);
    if (found != LOOKUP_HIT) {
        return;
    }
    if (cached.pending) {
        violation("end", "k%d of node %d is still pending with seq %llu", key, node->number,
                  (unsigned long long)cached.pending_seq);
    }
    if (cached.present != state.present || (state.present && token != state.token)) {
        violation("end", "node %d holds %lld under k%d, and PostgreSQL %lld", node->number,
                  cached.present ? (long long)token : -1, key,
                  state.present ? (long long)state.token : -1);
    }
}

bool node_preloads(const struct node *node)
{
    return node->settings.cache.preload;
}

bool node_is_preloading(const struct node *node)
{
    struct status *status = (struct status *)(uintptr_t)&node->status;
    return status_get(status, STATUS_CACHE_PRELOADING) != 0;
}

void node_check_preloaded(struct node *node, int key)
{
    struct cached cached = {0};
    node->cache.begin(node->reader);
    enum lookup found = node->cache.lookup(node->reader, slice_of_string(KEY_NAMES[key]), &cached);
    node->cache.end(node->reader);
    if (ledger_state(key).present && found != LOOKUP_HIT) {
        violation("preload", "node %d has read the table, and does not hold k%d", node->number,
                  key);
    }
}

void node_check_clients(const struct node *node)
{
    for (int i = 0; i < CLIENTS_MAX; i++) {
        const struct client *client = &node->clients[i];
        if (client->busy) {
            violation("silence", "client %d of node %d got no answer to its %s", i, node->number,
                      method_name(client->method));
        }
    }
}
