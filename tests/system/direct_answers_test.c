// Direct reads answer as the socket does, from LMDB and from the hot tier: counters that only grow
// are read both ways while they are written through the node and by psql, evicted, invalidated and
// swept, and while the daemon is killed and stands still. Each reader keeps the history of what it
// was told.
//
//   own:<n>      written through the node: no read, by whatever way and handle, is older than what
//                was acknowledged, or answered to anybody, before it began
//   foreign:<n>  written by psql: no handle goes back behind what it was told itself, and no read
//                after a sync is older than what was committed before the sync

#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "system/harness/deadline.h"
#include "system/harness/direct.h"
#include "system/harness/random.h"

enum { OWN_KEYS = 24, FOREIGN_KEYS = 24, WRITERS = 2, READERS = 3, FILLERS = 400 };
enum { FILLER_BYTES = 60 << 10, DISTURBANCES = 14, READS_A_DISTURBANCE = 4000 };
enum { READS_A_FILLER = 12, DISTURBANCE_MS = 5000 };
enum { WORKERS = WRITERS + READERS + 2 };

struct history {
    struct scenario *scenario;
    struct pg *pg;
    struct node *node;
    uint64_t seed;
    atomic_llong acked[OWN_KEYS]; // or answered to a reader
    atomic_llong committed[FOREIGN_KEYS];
    atomic_ullong reads;
    atomic_ullong denied; // reads that an outage left without an answer
};

static void raise_to(atomic_llong *place, long long value)
{
    long long before = atomic_load(place);
    while (before < value && !atomic_compare_exchange_weak(place, &before, value)) {
    }
}

static void name_key(char *name, size_t bytes, bool own, int number)
{
    snprintf(name, bytes, "%s:%d", own ? "own" : "foreign", number);
}

// What an outage explains; anything else is a fault.
static bool is_outage(pgnear_code code)
{
    return code == PGNEAR_UNREACHABLE || code == PGNEAR_UNAVAILABLE || code == PGNEAR_TIMEOUT ||
           code == PGNEAR_OUTCOME_UNKNOWN || code == PGNEAR_OVERLOADED;
}

static pgnear *open_patiently(const struct node *node, bool socket_only)
{
    pgnear_options options = PGNEAR_OPTIONS_INIT;
    options.socket_only = socket_only;
    options.timeout_ms = 2000;
    pgnear *handle = NULL;
    struct deadline deadline = deadline_in(DEADLINE_MS);
    while (pgnear_open(node->socket_path, &options, &handle, NULL) != PGNEAR_OK) {
        if (worker_is_stopping() || !deadline_again(&deadline)) {
            return NULL;
        }
    }
    return handle;
}

// ---- who writes

static bool try_set(pgnear *handle, const char *key, long long value, pgnear_ack ack)
{
    uint8_t packed[9] = {0xcf};
    for (int i = 0; i < 8; i++) {
        packed[8 - i] = (uint8_t)(value >> (8 * i));
    }
    pgnear_write_options options = PGNEAR_WRITE_OPTIONS_INIT;
    options.ack = ack;
    pgnear_error error;
    pgnear_code code = pgnear_set(handle, pgnear_text(key), (pgnear_bytes){packed, sizeof packed},
                                  &options, NULL, &error);
    if (code != PGNEAR_OK && !is_outage(code)) {
        scenario_fail("set %s: %s", key, error.message);
    }
    return code == PGNEAR_OK;
}

// Its keys are nobody else's, so that a set can be repeated until it is acknowledged.
static void write_own(struct history *history, int index)
{
    static const pgnear_ack ACKS[] = {PGNEAR_ACK_MEMORY, PGNEAR_ACK_JOURNAL, PGNEAR_ACK_POSTGRES};
    struct random random = random_of(history->seed, (uint64_t)index);
    pgnear *handle = open_patiently(history->node, true);
    long long value = 0;
    while (handle != NULL && !worker_is_stopping()) {
        int key = (int)random_below(&random, OWN_KEYS / WRITERS) * WRITERS + index;
        char name[32];
        name_key(name, sizeof name, true, key);
        value++;
        pgnear_ack ack = ACKS[random_below(&random, 20) == 0 ? 2 : value % 2];
        while (!worker_is_stopping()) {
            if (try_set(handle, name, value, ack)) {
                raise_to(&history->acked[key], value);
                break;
            }
        }
    }
    pgnear_close(handle);
}

static void write_foreign(struct history *history)
{
    struct random random = random_of(history->seed, 100);
    PGconn *conn = pg_connect(history->pg);
    for (long long value = 1; !worker_is_stopping(); value++) {
        int key = (int)random_below(&random, FOREIGN_KEYS);
        char sql[200];
        snprintf(sql, sizeof sql,
                 "INSERT INTO kv_store (key, value) VALUES ('foreign:%d', '%lld') "
                 "ON CONFLICT (key) DO UPDATE SET value = EXCLUDED.value",
                 key, value);
        PGresult *result = PQexec(conn, sql);
        if (PQresultStatus(result) != PGRES_COMMAND_OK) {
            scenario_fail("%s", PQerrorMessage(conn));
        }
        PQclear(result);
        raise_to(&history->committed[key], value);
    }
    PQfinish(conn);
}

static void set_filler(pgnear *handle, int number)
{
    static _Thread_local uint8_t value[FILLER_BYTES + 3] = {0xda, FILLER_BYTES >> 8,
                                                            FILLER_BYTES & 0xff};
    char name[32];
    snprintf(name, sizeof name, "filler:%d", number % FILLERS);
    memset(value + 3, 'x', FILLER_BYTES);
    pgnear_set(handle, pgnear_text(name), (pgnear_bytes){value, sizeof value}, NULL, NULL, NULL);
}

// More than the cache holds, so that something has to be evicted.
static void fill_first(struct history *history)
{
    pgnear *handle = open_patiently(history->node, true);
    struct deadline deadline = deadline_in(DEADLINE_MS);
    for (int i = 0; node_stat_int(history->node, "cache.evictions") == 0; i++) {
        set_filler(handle, i);
        if (deadline_left_ms(&deadline) == 0) {
            scenario_fail("nothing is evicted");
        }
    }
    pgnear_close(handle);
}

// On and on, as the reads bear it.
static void fill(struct history *history)
{
    pgnear *handle = open_patiently(history->node, true);
    for (int i = 0; handle != NULL && !worker_is_stopping(); i++) {
        set_filler(handle, i);
        unsigned long long reads = atomic_load(&history->reads) + READS_A_FILLER;
        struct deadline deadline = deadline_in(1000);
        while (atomic_load(&history->reads) < reads && deadline_again(&deadline)) {
        }
    }
    pgnear_close(handle);
}

// ---- who reads

struct reader {
    struct history *history;
    struct random random;
    pgnear *direct;
    pgnear *socket;
    long long told[OWN_KEYS + FOREIGN_KEYS]; // by the direct handle
};

static bool try_get(struct reader *reader, pgnear *handle, const char *key,
                    const pgnear_get_options *options, long long *value)
{
    pgnear_item item;
    pgnear_error error;
    pgnear_code code = pgnear_get(handle, pgnear_text(key), options, &item, &error);
    atomic_fetch_add(&reader->history->reads, 1);
    if (code == PGNEAR_OK) {
        *value = direct_int(&item);
        return true;
    }
    atomic_fetch_add(&reader->history->denied, 1);
    if (!is_outage(code)) {
        scenario_fail("get %s: %s", key, error.message);
    }
    return false;
}

static void expect_at_least(long long value, long long floor, const char *key, const char *why)
{
    if (value < floor) {
        scenario_fail("%s was read as %lld, and %s is %lld", key, value, why, floor);
    }
}

static void read_own(struct reader *reader)
{
    struct history *history = reader->history;
    int key = (int)random_below(&reader->random, OWN_KEYS);
    char name[32];
    name_key(name, sizeof name, true, key);
    bool directly = random_below(&reader->random, 8) != 0;
    long long floor = atomic_load(&history->acked[key]);
    long long value;
    if (try_get(reader, directly ? reader->direct : reader->socket, name, NULL, &value)) {
        // An absent one is -1, and nothing was acknowledged.
        expect_at_least(value, floor > 0 ? floor : -1, name, "what was acknowledged or answered");
        raise_to(&history->acked[key], value);
    }
}

static void read_foreign(struct reader *reader)
{
    int key = (int)random_below(&reader->random, FOREIGN_KEYS);
    char name[32];
    name_key(name, sizeof name, false, key);
    pgnear_get_options options = PGNEAR_GET_OPTIONS_INIT;
    options.fresh = random_below(&reader->random, 16) == 0;
    options.has_max_age = random_below(&reader->random, 16) == 0;
    options.max_age_ms = (int64_t)random_below(&reader->random, 1000);
    long long *told = &reader->told[OWN_KEYS + key];
    long long floor = *told;
    long long committed = atomic_load(&reader->history->committed[key]);
    long long value;
    if (try_get(reader, reader->direct, name, &options, &value)) {
        expect_at_least(value, floor, name, "what this handle was told");
        if (options.fresh) {
            expect_at_least(value, committed > 0 ? committed : -1, name, "what was committed");
        }
        *told = value;
    }
}

static void read_many(struct reader *reader)
{
    char names[OWN_KEYS][32];
    pgnear_bytes keys[OWN_KEYS];
    long long floors[OWN_KEYS];
    for (int i = 0; i < OWN_KEYS; i++) {
        name_key(names[i], sizeof names[i], true, i);
        keys[i] = pgnear_text(names[i]);
        floors[i] = atomic_load(&reader->history->acked[i]);
    }
    const pgnear_item *items;
    if (pgnear_mget(reader->direct, keys, OWN_KEYS, NULL, &items, NULL) != PGNEAR_OK) {
        return;
    }
    for (int i = 0; i < OWN_KEYS; i++) {
        expect_at_least(direct_int(&items[i]), floors[i] > 0 ? floors[i] : -1, names[i],
                        "what was acknowledged or answered, to an mget,");
    }
}

static void read_after_sync(struct reader *reader)
{
    int key = (int)random_below(&reader->random, FOREIGN_KEYS);
    char name[32];
    name_key(name, sizeof name, false, key);
    long long committed = atomic_load(&reader->history->committed[key]);
    long long value;
    if (pgnear_sync(reader->direct, NULL, NULL) == PGNEAR_OK &&
        try_get(reader, reader->direct, name, NULL, &value)) {
        expect_at_least(value, committed > 0 ? committed : -1, name,
                        "what was committed before the sync");
        reader->told[OWN_KEYS + key] = value;
    }
}

static void read_all(struct history *history, int index)
{
    struct reader reader = {
        .history = history,
        .random = random_of(history->seed, 200 + (uint64_t)index),
        .direct = open_patiently(history->node, false),
        .socket = open_patiently(history->node, true),
    };
    memset(reader.told, 0xff, sizeof reader.told);
    while (reader.direct != NULL && reader.socket != NULL && !worker_is_stopping()) {
        uint64_t choice = random_below(&reader.random, 1000);
        if (choice == 0) {
            read_after_sync(&reader);
        } else if (choice < 10) {
            read_many(&reader);
        } else if (choice < 500) {
            read_foreign(&reader);
        } else {
            read_own(&reader);
        }
    }
    pgnear_close(reader.direct);
    pgnear_close(reader.socket);
}

static void work(void *context, int index)
{
    if (index < WRITERS) {
        write_own(context, index);
    } else if (index < WRITERS + READERS) {
        read_all(context, index);
    } else if (index == WRITERS + READERS) {
        write_foreign(context);
    } else {
        fill(context);
    }
}

// ---- what happens meanwhile

static void cut_feed(struct history *history)
{
    pg_exec(history->pg, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                         "WHERE query ILIKE 'listen%%' AND pid <> pg_backend_pid()");
}

static void kill_node(struct history *history)
{
    node_kill(history->node);
    node_start_again(history->node);
}

static void freeze_node(struct history *history)
{
    process_signal(history->node->process, SIGSTOP);
    struct deadline frozen = deadline_in(2500);
    while (deadline_again(&frozen)) {
    }
    process_signal(history->node->process, SIGCONT);
}

static void drop_all(struct history *history)
{
    rpc(history->node, "invalidate", "[]");
}

static void await_reads(struct history *history)
{
    unsigned long long until = atomic_load(&history->reads) + READS_A_DISTURBANCE;
    struct deadline deadline = deadline_in(DISTURBANCE_MS);
    while (atomic_load(&history->reads) < until && deadline_again(&deadline)) {
    }
}

// Since the last start of the daemon; figures are up to a second old.
static void expect_both_ways(struct history *history)
{
    node_await_stat_min(history->node, "cache.direct_hot_hits", READS_A_DISTURBANCE / 100);
    int64_t hot = node_stat_int(history->node, "cache.direct_hot_hits");
    node_await_stat_min(history->node, "cache.direct_hits", hot + READS_A_DISTURBANCE / 100);
    node_await_stat_min(history->node, "cache.direct_misses", 1);
    printf("%lld direct hits, %lld of them in the hot tier, %lld misses\n",
           (long long)node_stat_int(history->node, "cache.direct_hits"), (long long)hot,
           (long long)node_stat_int(history->node, "cache.direct_misses"));
}

static void both_ways_answer_the_same(struct scenario *scenario)
{
    static void (*const DISTURBANCE[])(struct history *) = {
        cut_feed, drop_all, kill_node, cut_feed, kill_node, drop_all, freeze_node};
    struct history *history = scenario_alloc(scenario, sizeof *history);
    history->scenario = scenario;
    history->seed = random_seed();
    history->pg = pg_start(scenario, NULL);
    history->node = node_start(
        scenario, history->pg,
        &(struct node_options){.config = "cache.size = \"24MiB\"\nwrites.outbox_size = \"12MiB\"\n"
                                         "log.level = \"info\"\n"});
    fill_first(history);
    struct workers *workers = workers_start(scenario, WORKERS, work, history);
    int disturbances = test_rounds(DISTURBANCES);
    for (int i = 0; i < disturbances; i++) {
        await_reads(history);
        DISTURBANCE[i % 7](history);
    }
    node_await_ready(history->node);
    await_reads(history);
    node_await_stat_min(history->node, "cache.hot_entries", OWN_KEYS);
    await_reads(history);
    int64_t evicted = node_stat_int(history->node, "cache.evictions");
    workers_stop(workers);
    workers_join(workers);
    expect_both_ways(history);
    direct_await_hit(history->node, "own:0");
    printf("%llu reads, %llu without an answer, %lld evictions since the last start\n",
           atomic_load(&history->reads), atomic_load(&history->denied), (long long)evicted);
    assert_true(atomic_load(&history->denied) < atomic_load(&history->reads) / 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {SCENARIO(both_ways_answer_the_same)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
