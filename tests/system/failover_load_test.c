// Two nodes under load while their primary dies with its last commits and its asynchronous standby
// is promoted (SPEC, promise 8). Every client writes keys of its own, with every kind of write, and
// knows exactly what they hold, since each write carries an id and is repeated until it is decided;
// it reads them all the time. All clients count on common counters and set common keys. In the end
// PostgreSQL and both nodes hold each client's own keys as acknowledged, the counters as the sum of
// all increments, and each common key at one of the writes of the lost window or later.

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/buffer.h"
#include "system/harness/deadline.h"
#include "system/harness/node.h"
#include "system/harness/random.h"
#include "system/harness/replication.h"

enum { NODES = 2, CLIENTS_A_NODE = 3, CLIENTS = NODES * CLIENTS_A_NODE };
enum { NUMBERS = 3, MEMBERS = 3, COUNTERS = 2, COMMON_KEYS = 3, COMMON_WRITES_MAX = 4096 };
enum { WARM_WRITES = 60, LOST_WRITES = 60, LATER_WRITES = 60 };

enum { ABSENT = -1 };

struct common_write {
    int key;
    long long seq;
};

struct load;

struct client {
    struct load *load;
    int index;
    struct node *node;
    struct random random;
    struct rpc *rpc;
    int writes;
    // What the keys of its own hold:
    long long numbers[NUMBERS];  // own:<client>:n<i>; ABSENT
    long long members[MEMBERS];  // of the object own:<client>:object; ABSENT
    long long pair;              // own:<client>:p0 and p1, written together; ABSENT
    long long counted[COUNTERS]; // what it added to count:<i>
    // common:<key> = "<client>-<place in this list>"
    struct common_write common[COMMON_WRITES_MAX];
    int common_count;
};

struct load {
    struct scenario *scenario;
    struct node *nodes[NODES];
    struct client clients[CLIENTS];
    struct workers *workers;
    atomic_ullong writes[NODES];
    struct pg *pg;
    // Of the standby when its stream had been cut:
    long long kept_seq[NODES];
    const char *kept_common[COMMON_KEYS];
};

// ---- Requests

static const char *error_of(struct client *client, const char *answer)
{
    return strncmp(answer, "{\"error\"", strlen("{\"error\"")) == 0
               ? json_at(client->load->scenario, answer, "error.code")
               : NULL;
}

static bool is_to_be_repeated(const char *code)
{
    static const char *const CODES[] = {"\"UNAVAILABLE\"", "\"TIMEOUT\"", "\"OVERLOADED\"",
                                        "\"OUTCOME_UNKNOWN\""};
    for (size_t i = 0; i < sizeof CODES / sizeof CODES[0]; i++) {
        if (strcmp(code, CODES[i]) == 0) {
            return true;
        }
    }
    return false;
}

// The answer, or CONFLICT as NULL. Asked again while the node is restarted or cut off.
static const char *decide(struct client *client, const char *method, const char *params)
{
    struct deadline deadline = deadline_in(3 * DEADLINE_MS);
    const char *answer = "nobody listens";
    do {
        if (client->rpc == NULL) {
            client->rpc = rpc_try_open(client->load->scenario, client->node->socket_path);
        }
        if (client->rpc == NULL) {
            continue;
        }
        answer = rpc_try_call(client->rpc, method, params);
        if (answer == NULL) {
            rpc_close(client->rpc);
            client->rpc = NULL;
            answer = "the connection broke";
            continue;
        }
        const char *code = error_of(client, answer);
        if (code == NULL) {
            return answer;
        }
        if (strcmp(code, "\"CONFLICT\"") == 0) {
            return NULL;
        }
        if (!is_to_be_repeated(code)) {
            scenario_fail("%s %s: %s", method, params, answer);
        }
    } while (deadline_again(&deadline));
    scenario_fail("%s %s is not decided: %s", method, params, answer);
}

// A write whose params begin as `head`, with its id and `options`.
static const char *write_once(struct client *client, const char *method, const char *head,
                              const char *options)
{
    struct scenario *scenario = client->load->scenario;
    const char *params =
        scenario_text(scenario, "[%s, {\"id\": \"%d-%d\", \"timeout_ms\": 2000%s}]", head,
                      client->index, ++client->writes, options);
    const char *answer = decide(client, method, params);
    atomic_fetch_add(&client->load->writes[client->index % NODES], 1);
    return answer;
}

static const char *number_text(struct client *client, long long number)
{
    return number == ABSENT ? "null" : scenario_text(client->load->scenario, "%lld", number);
}

static const char *own_key(struct client *client, const char *name, int number)
{
    return scenario_text(client->load->scenario, "\"own:%d:%s%d\"", client->index, name, number);
}

// ---- What is read

static void expect(const char *what, const char *answer, const char *expected)
{
    if (!json_matches(answer, expected)) {
        scenario_fail("%s: %s instead of %s", what, answer, expected);
    }
}

static const char *object_text(struct client *client)
{
    struct buffer text = {0};
    const char *comma = "";
    buffer_printf(&text, "{");
    for (int i = 0; i < MEMBERS; i++) {
        if (client->members[i] != ABSENT) {
            buffer_printf(&text, "%s\"m%d\": %lld", comma, i, client->members[i]);
            comma = ", ";
        }
    }
    buffer_printf(&text, "}");
    const char *copy =
        scenario_text(client->load->scenario, "%.*s", SLICE_FORMAT(buffer_slice(&text)));
    buffer_deinit(&text);
    return copy;
}

static const char *entry_text(struct client *client, const char *value)
{
    return strcmp(value, "null") == 0 ? value
                                      : scenario_text(client->load->scenario, "[%s, \"*\"]", value);
}

static void read_number(struct client *client, int number, const char *options)
{
    const char *key = own_key(client, "n", number);
    const char *params = scenario_text(client->load->scenario, "[%s%s]", key, options);
    expect(params, decide(client, "get", params),
           entry_text(client, number_text(client, client->numbers[number])));
}

// Every own key at once, as SQL and scan show them: in byte order.
static void read_all(struct client *client)
{
    struct scenario *scenario = client->load->scenario;
    struct buffer items = {0};
    const char *comma = "";
    for (int i = 0; i < NUMBERS; i++) {
        if (client->numbers[i] != ABSENT) {
            buffer_printf(&items, "%s[%s, %lld, \"*\"]", comma, own_key(client, "n", i),
                          client->numbers[i]);
            comma = ", ";
        }
    }
    buffer_printf(&items, "%s[%s, %s, \"*\"]", comma, own_key(client, "object", 0),
                  object_text(client));
    for (int i = 0; i < 2 && client->pair != ABSENT; i++) {
        buffer_printf(&items, ", [%s, %lld, \"*\"]", own_key(client, "p", i), client->pair);
    }
    const char *params = scenario_text(scenario, "[{\"prefix\": \"own:%d:\"}]", client->index);
    expect(params, decide(client, "scan", params),
           scenario_text(scenario, "{\"items\": [%.*s], \"next\": null}",
                         SLICE_FORMAT(buffer_slice(&items))));
    buffer_deinit(&items);
}

// ---- What is written

static void set_if_version(struct client *client, int number, long long value)
{
    struct scenario *scenario = client->load->scenario;
    const char *key = own_key(client, "n", number);
    const char *held = decide(client, "get", scenario_text(scenario, "[%s]", key));
    const char *version = json_at(scenario, held, "1");
    if (version == NULL || strcmp(version, "null") == 0) {
        return; // absent or on its way
    }
    bool deletes = random_below(&client->random, 3) == 0;
    const char *condition = scenario_text(scenario, ", \"if_version\": %s", version);
    const char *head = deletes ? key : scenario_text(scenario, "%s, %lld", key, value);
    // CONFLICT where the key was applied again between the two.
    if (write_once(client, deletes ? "delete" : "set", head, condition) != NULL) {
        client->numbers[number] = deletes ? ABSENT : value;
    }
}

static void write_number(struct client *client)
{
    struct scenario *scenario = client->load->scenario;
    int number = (int)random_below(&client->random, NUMBERS);
    long long value = (long long)random_below(&client->random, 1000000);
    long long *held = &client->numbers[number];
    const char *key = own_key(client, "n", number);
    const char *head = scenario_text(scenario, "%s, %lld", key, value);
    const char *answer;
    switch (random_below(&client->random, 6)) {
    case 0:
        write_once(client, "set", head, ", \"ack\": \"postgres\"");
        *held = value;
        break;
    case 1:
        answer = write_once(client, "incr", scenario_text(scenario, "%s, 7", key), "");
        *held = (*held == ABSENT ? 0 : *held) + 7;
        expect(key, answer, entry_text(client, number_text(client, *held)));
        break;
    case 2:
        write_once(client, "delete", key, "");
        *held = ABSENT;
        break;
    case 3:
        if (write_once(client, "set", head, ", \"if_absent\": true") != NULL) {
            if (*held != ABSENT) {
                scenario_fail("%s was set although it held %lld", key, *held);
            }
            *held = value;
        } else if (*held == ABSENT) {
            scenario_fail("%s was not set although it was absent", key);
        }
        break;
    case 4:
        set_if_version(client, number, value);
        break;
    default:
        write_once(client, "set", head, "");
        *held = value;
    }
}

static void write_object(struct client *client)
{
    struct scenario *scenario = client->load->scenario;
    int member = (int)random_below(&client->random, MEMBERS);
    bool removes = random_below(&client->random, 3) == 0;
    long long value = removes ? ABSENT : (long long)random_below(&client->random, 1000000);
    const char *patch =
        scenario_text(scenario, "{\"m%d\": %s}", member, number_text(client, value));
    const char *key = own_key(client, "object", 0);
    const char *answer =
        write_once(client, "merge", scenario_text(scenario, "%s, %s", key, patch), "");
    client->members[member] = value;
    expect(key, answer, entry_text(client, object_text(client)));
}

static void write_pair(struct client *client)
{
    struct scenario *scenario = client->load->scenario;
    const char *first = own_key(client, "p", 0), *second = own_key(client, "p", 1);
    if (random_below(&client->random, 4) == 0) {
        write_once(client, "delete", scenario_text(scenario, "[%s, %s]", first, second), "");
        client->pair = ABSENT;
        return;
    }
    client->pair = (long long)random_below(&client->random, 1000000);
    write_once(client, "mset",
               scenario_text(scenario, "[[%s, %lld], [%s, %lld]]", first, client->pair, second,
                             client->pair),
               "");
}

static void count(struct client *client)
{
    struct scenario *scenario = client->load->scenario;
    int counter = (int)random_below(&client->random, COUNTERS);
    long long by = 1 + (long long)random_below(&client->random, 9);
    write_once(client, "incr", scenario_text(scenario, "\"count:%d\", %lld", counter, by), "");
    client->counted[counter] += by;
}

static void write_common(struct client *client)
{
    struct scenario *scenario = client->load->scenario;
    if (client->common_count == COMMON_WRITES_MAX) {
        return;
    }
    struct common_write *write = &client->common[client->common_count++];
    write->key = (int)random_below(&client->random, COMMON_KEYS);
    const char *answer = write_once(client, "set",
                                    scenario_text(scenario, "\"common:%d\", \"%d-%d\"", write->key,
                                                  client->index, client->common_count - 1),
                                    "");
    write->seq = json_int_at(scenario, answer, "seq");
}

static void work(void *context, int index)
{
    struct load *load = context;
    struct client *client = &load->clients[index];
    while (!worker_is_stopping()) {
        switch (random_below(&client->random, 8)) {
        case 0:
            count(client);
            break;
        case 1:
            write_common(client);
            break;
        case 2:
            write_object(client);
            break;
        case 3:
            write_pair(client);
            break;
        case 4:
            read_all(client);
            break;
        case 5:
            read_number(client, (int)random_below(&client->random, NUMBERS),
                        random_below(&client->random, 2) == 0 ? "" : ", {\"fresh\": true}");
            break;
        default:
            write_number(client);
        }
    }
}

// ---- The load

static void start_load(struct scenario *scenario, struct load *load)
{
    load->scenario = scenario;
    for (int i = 0; i < CLIENTS; i++) {
        struct client *client = &load->clients[i];
        *client = (struct client){
            .load = load,
            .index = i,
            .node = load->nodes[i % NODES],
            .random = random_of(random_seed(), 200 + (uint64_t)i),
            .pair = ABSENT,
        };
        for (int j = 0; j < NUMBERS; j++) {
            client->numbers[j] = ABSENT;
        }
        for (int j = 0; j < MEMBERS; j++) {
            client->members[j] = ABSENT;
        }
        write_object(client);
    }
    load->workers = workers_start(scenario, CLIENTS, work, load);
}

// Waits until that many further writes were acknowledged by each node.
static void await_writes(struct load *load, unsigned long long more)
{
    for (int i = 0; i < NODES; i++) {
        unsigned long long wanted = atomic_load(&load->writes[i]) + more;
        struct deadline deadline = deadline_in(3 * DEADLINE_MS);
        while (atomic_load(&load->writes[i]) < wanted) {
            if (!deadline_again(&deadline)) {
                scenario_fail("node %d acknowledges nothing", i);
            }
        }
    }
}

static long long applied_on(struct pg *pg, struct node *node)
{
    const char *hello = rpc(node, "hello", "[\"test\"]");
    const char *name = json_at(node->scenario, hello, "node");
    return pg_int(pg, "SELECT applied_seq FROM pgnear_node WHERE node::text = '%.36s'", name + 1);
}

// What the standby will begin with. Nothing more comes.
static void note_kept(struct load *load, struct pg *standby)
{
    for (int i = 0; i < NODES; i++) {
        load->kept_seq[i] = applied_on(standby, load->nodes[i]);
    }
    for (int i = 0; i < COMMON_KEYS; i++) {
        load->kept_common[i] =
            pg_value(standby, "SELECT value #>> '{}' FROM kv_store WHERE key = 'common:%d'", i);
    }
}

// ---- The end

static void check_own(struct load *load, struct client *client)
{
    for (int i = 0; i < NUMBERS; i++) {
        assert_pg_value(
            load->pg, client->numbers[i] == ABSENT ? NULL : number_text(client, client->numbers[i]),
            "SELECT value FROM kv_store WHERE key = 'own:%d:n%d'", client->index, i);
    }
    const char *object = pg_value(
        load->pg, "SELECT value FROM kv_store WHERE key = 'own:%d:object0'", client->index);
    assert_json(object == NULL ? "null" : object, object_text(client));
    for (int i = 0; i < 2; i++) {
        assert_pg_value(load->pg, client->pair == ABSENT ? NULL : number_text(client, client->pair),
                        "SELECT value FROM kv_store WHERE key = 'own:%d:p%d'", client->index, i);
    }
}

// One of the writes that the standby did not have, or where there is none, what it had.
static void check_common(struct load *load, int key)
{
    const char *held =
        pg_value(load->pg, "SELECT value #>> '{}' FROM kv_store WHERE key = 'common:%d'", key);
    int candidates = 0;
    bool is_found = false;
    for (int i = 0; i < CLIENTS; i++) {
        const struct client *client = &load->clients[i];
        for (int j = 0; j < client->common_count; j++) {
            const struct common_write *write = &client->common[j];
            if (write->key == key && write->seq > load->kept_seq[i % NODES]) {
                candidates++;
                is_found =
                    is_found || (held != NULL &&
                                 strcmp(held, scenario_text(load->scenario, "%d-%d", i, j)) == 0);
            }
        }
    }
    const char *kept = load->kept_common[key];
    if (candidates == 0) {
        is_found = held == NULL || kept == NULL ? held == kept : strcmp(held, kept) == 0;
    }
    if (!is_found) {
        scenario_fail("common:%d holds %s, which is none of %d lost writes", key,
                      held == NULL ? "nothing" : held, candidates);
    }
}

static void check_counters(struct load *load)
{
    for (int counter = 0; counter < COUNTERS; counter++) {
        long long sum = 0;
        for (int i = 0; i < CLIENTS; i++) {
            sum += load->clients[i].counted[counter];
        }
        assert_pg_value(load->pg, scenario_text(load->scenario, "%lld", sum),
                        "SELECT value FROM kv_store WHERE key = 'count:%d'", counter);
    }
}

// Every key through the node is what PostgreSQL holds.
static void check_node(struct load *load, struct node *node)
{
    assert_rpc(node, "sync", "[{\"timeout_ms\": 30000}]", "true");
    const char *rows =
        pg_value(load->pg, "SELECT jsonb_agg(jsonb_build_array(key, value) ORDER BY key)"
                           " FROM kv_store");
    for (int i = 0;; i++) {
        const char *key = json_at(load->scenario, rows, scenario_text(load->scenario, "%d.0", i));
        if (key == NULL) {
            break;
        }
        const char *value = json_at(load->scenario, rows, scenario_text(load->scenario, "%d.1", i));
        assert_rpc(node, "get", scenario_text(load->scenario, "[%s]", key),
                   scenario_text(load->scenario, "[%s, \"*\"]", value));
    }
}

static void stop_and_check(struct load *load, struct pg *pg)
{
    load->pg = pg;
    workers_stop(load->workers);
    workers_join(load->workers);
    for (int i = 0; i < NODES; i++) {
        node_await_state(load->nodes[i], "live");
        assert_rpc(load->nodes[i], "flush", "[{\"timeout_ms\": 30000}]", "{\"seq\": \"*\"}");
        assert_rpc(load->nodes[i], "dead_letters", "[]", "[]");
    }
    for (int i = 0; i < CLIENTS; i++) {
        check_own(load, &load->clients[i]);
    }
    check_counters(load);
    for (int i = 0; i < COMMON_KEYS; i++) {
        check_common(load, i);
    }
    for (int i = 0; i < NODES; i++) {
        check_node(load, load->nodes[i]);
    }
}

// ---- The scenarios

static struct load *start(struct scenario *scenario, struct pg **primary, struct pg **standby)
{
    *primary = pg_start(scenario, &(struct pg_options){.name = "a"});
    *standby = pg_start(scenario, &(struct pg_options){.name = "b", .standby_of = *primary});
    struct load *load = scenario_alloc(scenario, sizeof *load);
    *load = (struct load){0};
    const char *config = scenario_text(scenario, "postgres.url = \"%s\"\nlog.level = \"info\"\n",
                                       pg_pair_url((*primary)->directory, *standby));
    static const char *const NAMES[NODES] = {"n0", "n1"};
    for (int i = 0; i < NODES; i++) {
        load->nodes[i] =
            node_start(scenario, NULL, &(struct node_options){.name = NAMES[i], .config = config});
    }
    start_load(scenario, load);
    await_writes(load, WARM_WRITES);
    pg_cut_stream(*standby);
    note_kept(load, *standby);
    await_writes(load, LOST_WRITES);
    return load;
}

static void a_failover_under_load_heals(struct scenario *scenario)
{
    struct pg *primary, *standby;
    struct load *load = start(scenario, &primary, &standby);
    pg_kill(primary);
    pg_promote(standby);
    await_writes(load, LATER_WRITES);
    stop_and_check(load, standby);
    for (int i = 0; i < NODES; i++) {
        assert_int_equal(node_stat_int(load->nodes[i], "outbox.rewinds"), 1);
        assert_true(node_stat_int(load->nodes[i], "outbox.reapplied") > 0);
        assert_int_equal(node_stat_int(load->nodes[i], "outbox.rewinds_short"), 0);
        assert_true(node_log_has(load->nodes[i], "event=\"rewind\""));
    }
}

int main(void)
{
    random_seed();
    const struct CMUnitTest tests[] = {
        SCENARIO(a_failover_under_load_heals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
