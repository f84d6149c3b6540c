// The clients. A client that loses its connection knows nothing of what was unanswered: it goes on
// with the next value, which the node must order after whatever it had journaled.

#include "system/harness/load.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "system/harness/deadline.h"
#include "system/harness/load_journal.h"

// A client thinks between two windows, so that increments find room between the sets.
enum { WINDOW = 16, THINK_US_MAX = 40000, INCR_TIMEOUT_MS = 4000 };

// The code of an error answer, as "\"OVERLOADED\""; NULL where it is a result.
static const char *error_code(struct load *load, const char *answer)
{
    return strncmp(answer, "{\"error\"", strlen("{\"error\"")) != 0
               ? NULL
               : json_at(load->scenario, answer, "error.code");
}

static bool is_code(const char *code, const char *name)
{
    return strncmp(code + 1, name, strlen(name)) == 0;
}

// Errors that say that nothing was done and that it may be asked again.
static bool is_refusal(const char *code)
{
    return is_code(code, "OVERLOADED") || is_code(code, "UNAVAILABLE") || is_code(code, "TIMEOUT");
}

static void count_ack(struct load_client *client)
{
    atomic_fetch_add(&client->load->acks[client->kind], 1);
}

static void disconnect(struct load_client *client)
{
    if (client->rpc != NULL) {
        rpc_close(client->rpc);
        client->rpc = NULL;
    }
}

// What the node reads after a restart is what it acknowledged before, or what was on its way.
static bool counters_are_there(struct load_client *client)
{
    struct load *load = client->load;
    for (int i = 0; i < LOAD_COUNTERS_A_CLIENT; i++) {
        char params[64];
        snprintf(params, sizeof params, "[\"counter:%d:%d\"]", client->index, i);
        const char *answer = rpc_try_call(client->rpc, "get", params);
        if (answer == NULL) {
            return false;
        }
        const char *code = error_code(load, answer);
        if (code != NULL) {
            if (!is_refusal(code)) {
                scenario_fail("get %s: %s", params, answer);
            }
            continue; // not connected yet
        }
        bool absent = strcmp(answer, "null") == 0;
        int64_t value = absent ? 0 : json_int_at(load->scenario, answer, "0");
        if (value < client->acked[i] || value > client->sent[i]) {
            scenario_fail("get %s: %s, but %lld was acknowledged and %lld sent", params, answer,
                          (long long)client->acked[i], (long long)client->sent[i]);
        }
    }
    return true;
}

// False where the client is to stop.
static bool connected(struct load_client *client)
{
    struct deadline deadline = deadline_in(DEADLINE_MS);
    while (client->rpc == NULL) {
        client->rpc = rpc_try_open(client->load->scenario, client->load->node->socket_path);
        if (client->rpc != NULL && client->kind == LOAD_COUNTER && !counters_are_there(client)) {
            disconnect(client);
        }
        if (client->rpc == NULL && worker_is_stopping()) {
            return false;
        }
        if (client->rpc == NULL && !deadline_again(&deadline)) {
            scenario_fail("the node does not listen");
        }
    }
    return true;
}

// One write in flight: which counter or ledger write it is.
struct in_flight {
    uint32_t msgid;
    int key;
    int64_t value;
};

static bool send_counter(struct load_client *client, struct in_flight *flight)
{
    int key = (int)random_below(&client->random, LOAD_COUNTERS_A_CLIENT);
    char params[96];
    int64_t value = ++client->sent[key];
    snprintf(params, sizeof params, "[\"counter:%d:%d\", %lld]", client->index, key,
             (long long)value);
    *flight = (struct in_flight){.key = key, .value = value};
    return rpc_try_send(client->rpc, "set", params, &flight->msgid);
}

static bool send_ledger(struct load_client *client, struct in_flight *flight)
{
    if (client->ledger_count == LEDGER_WRITES_MAX) {
        scenario_fail("more than LEDGER_WRITES_MAX writes");
    }
    int number = ++client->ledger_count;
    client->ledger[number - 1] = (struct ledger_write){.outcome = LEDGER_UNANSWERED};
    char params[96];
    snprintf(params, sizeof params, "[\"ledger:%d:%d\", %d]", client->index, number, number);
    *flight = (struct in_flight){.value = number};
    return rpc_try_send(client->rpc, "set", params, &flight->msgid);
}

static void on_set_answer(struct load_client *client, const struct in_flight *flight,
                          const char *answer)
{
    const char *code = error_code(client->load, answer);
    if (code != NULL && !is_code(code, "OVERLOADED")) {
        scenario_fail("a set is answered %s", answer);
    }
    if (code == NULL) {
        count_ack(client);
    }
    if (client->kind == LOAD_LEDGER) {
        struct ledger_write *write = &client->ledger[flight->value - 1];
        write->outcome = code == NULL ? LEDGER_ACKED : LEDGER_REFUSED;
        write->seq = code == NULL ? json_int_at(client->load->scenario, answer, "seq") : 0;
    } else if (code == NULL && client->acked[flight->key] < flight->value) {
        client->acked[flight->key] = flight->value;
    }
}

static bool receive_answer(struct load_client *client, const struct in_flight *flights, int count)
{
    uint32_t msgid;
    const char *answer = rpc_try_receive(client->rpc, &msgid);
    for (int i = 0; answer != NULL && i < count; i++) {
        if (flights[i].msgid == msgid) {
            on_set_answer(client, &flights[i], answer);
            return true;
        }
    }
    return false;
}

// A window of pipelined sets and their answers.
static void write_window(struct load_client *client)
{
    struct in_flight flights[WINDOW];
    int wanted = 1 + (int)random_below(&client->random, WINDOW);
    int sent = 0;
    bool alive = true;
    while (alive && sent < wanted) {
        alive = client->kind == LOAD_COUNTER ? send_counter(client, &flights[sent])
                                             : send_ledger(client, &flights[sent]);
        sent += alive ? 1 : 0;
    }
    // A daemon that was killed may have answered before: those answers count.
    int answered = 0;
    while (answered < sent && receive_answer(client, flights, sent)) {
        answered++;
    }
    if (!alive || answered < sent) {
        disconnect(client);
    }
}

static void on_incr_result(struct load_client *client, const char *answer)
{
    int64_t value = json_int_at(client->load->scenario, answer, "0");
    if (value <= client->incr_last) {
        scenario_fail("incr answers %s after %lld", answer, (long long)client->incr_last);
    }
    client->incr_last = value;
    client->incr_acked++;
    count_ack(client);
}

// Until it is answered with a result, over as many connections as that takes.
static void incr_with_id(struct load_client *client)
{
    char params[128];
    snprintf(params, sizeof params, "[\"total:id\", 1, {\"id\": \"%d-%lld\", \"timeout_ms\": %d}]",
             client->index, (long long)client->incr_acked, INCR_TIMEOUT_MS);
    struct deadline deadline = deadline_in(2 * DEADLINE_MS);
    bool begun = false;
    for (;;) {
        if (!connected(client)) {
            // It may have been done: only an answer can tell. The node comes back at the end.
            if (!begun) {
                return;
            }
            if (!deadline_again(&deadline)) {
                scenario_fail("the node does not come back");
            }
            continue;
        }
        begun = true;
        const char *answer = rpc_try_call(client->rpc, "incr", params);
        const char *code = answer == NULL ? NULL : error_code(client->load, answer);
        if (answer != NULL && code == NULL) {
            on_incr_result(client, answer);
            return;
        }
        if (answer == NULL) {
            disconnect(client);
        } else if (!is_refusal(code) && !is_code(code, "OUTCOME_UNKNOWN")) {
            scenario_fail("incr %s: %s", params, answer);
        }
        if (!deadline_again(&deadline)) {
            scenario_fail("incr %s is not answered, at last %s", params, answer);
        }
    }
}

static void incr_plain(struct load_client *client)
{
    const char *answer = rpc_try_call(client->rpc, "incr", "[\"total:plain\", 1]");
    const char *code = answer == NULL ? NULL : error_code(client->load, answer);
    if (answer == NULL) {
        client->incr_unanswered++;
        disconnect(client);
    } else if (code == NULL) {
        on_incr_result(client, answer);
    } else if (is_code(code, "OUTCOME_UNKNOWN")) {
        client->incr_unanswered++;
    } else if (is_refusal(code)) {
        struct deadline pause = deadline_in(DEADLINE_MS);
        deadline_again(&pause);
    } else {
        scenario_fail("incr: %s", answer);
    }
}

static void think(struct load_client *client)
{
    struct timespec pause = {.tv_nsec = (long)random_below(&client->random, THINK_US_MAX) * 1000};
    nanosleep(&pause, NULL);
}

static void run_client(void *context, int index)
{
    struct load *load = context;
    struct load_client *client = &load->clients[index];
    while (!worker_is_stopping() && connected(client)) {
        switch (client->kind) {
        case LOAD_COUNTER:
        case LOAD_LEDGER:
            write_window(client);
            think(client);
            break;
        case LOAD_INCR_ID:
            incr_with_id(client);
            break;
        default:
            incr_plain(client);
            break;
        }
    }
    disconnect(client);
}

struct load *load_start(struct scenario *scenario, struct pg *pg, struct node *node)
{
    struct load *load = scenario_alloc(scenario, sizeof *load);
    load->scenario = scenario;
    load->pg = pg;
    load->node = node;
    load->seed = random_seed();
    for (int i = 0; i < LOAD_CLIENTS; i++) {
        struct load_client *client = &load->clients[i];
        *client = (struct load_client){.load = load,
                                       .index = i,
                                       .kind = (enum load_kind)(i % LOAD_KINDS_COUNT),
                                       .random = random_of(load->seed, (uint64_t)i)};
        if (client->kind == LOAD_LEDGER) {
            client->ledger = scenario_alloc(scenario, LEDGER_WRITES_MAX * sizeof *client->ledger);
        }
    }
    load_audit(load);
    load->workers = workers_start(scenario, LOAD_CLIENTS, run_client, load);
    load->sampler = workers_start(scenario, 1, load_sample, load);
    return load;
}

static uint64_t count_acks(struct load *load, unsigned kinds)
{
    uint64_t sum = 0;
    for (unsigned kind = 0; kind < LOAD_KINDS_COUNT; kind++) {
        sum += kinds == 0 || (kinds & (1u << kind)) != 0 ? atomic_load(&load->acks[kind]) : 0;
    }
    return sum;
}

void load_await_acks(struct load *load, unsigned kinds, uint64_t more)
{
    uint64_t goal = count_acks(load, kinds) + more;
    struct deadline deadline = deadline_in(2 * DEADLINE_MS);
    while (count_acks(load, kinds) < goal) {
        if (!deadline_again(&deadline)) {
            scenario_fail("writes are no longer acknowledged: %llu of %llu",
                          (unsigned long long)count_acks(load, kinds), (unsigned long long)goal);
        }
    }
}

void load_stop_and_check(struct load *load)
{
    node_await_ready(load->node);
    workers_stop(load->workers);
    workers_join(load->workers);
    assert_rpc(load->node, "flush", "[{\"timeout_ms\": 30000}]", "{\"seq\": \"*\"}");
    workers_stop(load->sampler);
    workers_join(load->sampler);
    load_check(load);
}
