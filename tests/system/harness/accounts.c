// The clients: three writers and a reader for each node, and one that writes by SQL.
#include "system/harness/accounts.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/mpack.h"
#include "system/harness/compare.h"
#include "system/harness/deadline.h"
#include "system/harness/direct.h"
#include "system/harness/random.h"

enum {
    WRITERS_A_NODE = 3,
    WRITERS_MAX = WRITERS_A_NODE * ACCOUNTS_NODES_MAX,
    OWN_KEYS = 4,
    SUMS = 3,
    MIXED_KEYS = 6,
    ALIEN_KEYS = 6,
    FILLERS = 400,
    FILLER_BYTES = 100 << 10, // more than the cache holds, all together
};

// Where the keys k:1, k:2, ... of each kind begin.
enum {
    OWN_FIRST = 1,
    PAIR_FIRST = OWN_FIRST + WRITERS_MAX * OWN_KEYS,
    SUM_FIRST = PAIR_FIRST + WRITERS_MAX * 2,
    DOC = SUM_FIRST + SUMS,
    MIXED_FIRST = DOC + 1,
    ALIEN_FIRST = MIXED_FIRST + MIXED_KEYS,
    KEYS_END = ALIEN_FIRST + ALIEN_KEYS,
};

enum { ABSENT = -1, THINK_US_MAX = 16000, ANSWER_MS_MAX = 60000 };

struct writer {
    struct accounts *accounts;
    struct node *node;
    int index;
    struct random random;
    struct rpc *rpc; // NULL: not connected
    pgnear *direct;  // NULL: not open
    uint64_t writes; // for the ids
    // What was acknowledged last; of the writer's thread, and of the main thread in a pause:
    int64_t own[OWN_KEYS]; // ABSENT: deleted, or never set
    int64_t pair;          // 0: never set
    int64_t doc;
    int64_t sums[SUMS];
};

struct accounts {
    struct scenario *scenario;
    struct pg *pg;
    struct node *nodes[ACCOUNTS_NODES_MAX];
    int nodes_count;
    int writers_count;
    struct writer writers[WRITERS_MAX];
    int64_t alien; // of the thread that writes by SQL
    struct workers *workers;
    int clients_count;
    atomic_int resting;
    atomic_bool pauses;
    atomic_ullong answers[WRITERS_MAX]; // to each writer
};

// ---- Asking until there is an answer

static const char *error_code(struct writer *writer, const char *answer)
{
    return strncmp(answer, "{\"error\"", strlen("{\"error\"")) != 0
               ? NULL
               : json_at(writer->accounts->scenario, answer, "error.code");
}

// Errors at which a write with an id, and a read, may be repeated.
static bool may_repeat(const char *code)
{
    static const char *const CODES[] = {"\"OVERLOADED\"", "\"UNAVAILABLE\"", "\"TIMEOUT\"",
                                        "\"OUTCOME_UNKNOWN\"", "\"INTERNAL\""};
    for (size_t i = 0; i < sizeof CODES / sizeof CODES[0]; i++) {
        if (strcmp(code, CODES[i]) == 0) {
            return true;
        }
    }
    return false;
}

static void disconnect(struct writer *writer)
{
    if (writer->rpc != NULL) {
        rpc_close(writer->rpc);
        writer->rpc = NULL;
    }
}

// NULL where the connection breaks. An answer that is long in coming is a hang: every request has
// a deadline of its own.
static const char *ask_once(struct writer *writer, const char *method, const char *params)
{
    if (writer->rpc == NULL) {
        writer->rpc = rpc_try_open(writer->accounts->scenario, writer->node->socket_path);
    }
    if (writer->rpc == NULL) {
        return NULL;
    }
    int64_t before_us = clock_boot_us();
    const char *answer = rpc_try_call(writer->rpc, method, params);
    if (answer == NULL) {
        disconnect(writer);
        if (clock_boot_us() - before_us >= (int64_t)DEADLINE_MS * CLOCK_US_PER_MS) {
            scenario_fail("%s %s: no answer for %d ms", method, params, DEADLINE_MS);
        }
    }
    return answer;
}

// NULL where the writer is to stop.
static const char *ask(struct writer *writer, const char *method, const char *params)
{
    const char *last = "no connection";
    struct deadline deadline = deadline_in(ANSWER_MS_MAX);
    while (!worker_is_stopping()) {
        const char *answer = ask_once(writer, method, params);
        const char *code = answer == NULL ? NULL : error_code(writer, answer);
        if (answer != NULL && code == NULL) {
            atomic_fetch_add(&writer->accounts->answers[writer->index], 1);
            return answer;
        }
        last = answer != NULL ? answer : last;
        if (code != NULL && !may_repeat(code)) {
            scenario_fail("%s %s: %s", method, params, answer);
        }
        if (!deadline_again(&deadline)) {
            scenario_fail("%s %s is never answered: %s", method, params, last);
        }
    }
    return NULL;
}

// The options of a set, an mset or a delete: one of the levels, and perhaps an id of its own.
// Without one it may be done twice, which does not show; and with one it would be journaled
// whatever the level.
static const char *write_options(struct writer *writer, char text[96])
{
    static const char *const LEVELS[] = {"memory",  "memory",  "journal",
                                         "journal", "journal", "postgres"};
    unsigned long long number = ++writer->writes;
    const char *level = LEVELS[random_below(&writer->random, sizeof LEVELS / sizeof LEVELS[0])];
    bool has_id = *level != 'm' && random_below(&writer->random, 2) == 0;
    if (has_id) {
        snprintf(text, 96, "{\"id\":\"%d-%llu\",\"ack\":\"%s\"}", writer->index, number, level);
    } else {
        snprintf(text, 96, "{\"ack\":\"%s\"}", level);
    }
    return text;
}

static const char *id_only(struct writer *writer, char text[96])
{
    snprintf(text, 96, "{\"id\":\"%d-%llu\"}", writer->index, (unsigned long long)++writer->writes);
    return text;
}

// ---- What the writers do

static int own_key(const struct writer *writer, int i)
{
    return OWN_FIRST + writer->index * OWN_KEYS + i;
}

static void read_own(struct writer *writer, int i)
{
    char params[64];
    char expected[64];
    snprintf(params, sizeof params, "[\"k:%d\"]", own_key(writer, i));
    snprintf(expected, sizeof expected, "[%lld,\"*\"]", (long long)writer->own[i]);
    const char *answer = ask(writer, "get", params);
    if (answer != NULL && !json_matches(answer, writer->own[i] == ABSENT ? "null" : expected)) {
        scenario_fail("k:%d through %s is %s; acknowledged last was %lld", own_key(writer, i),
                      writer->node->name, answer, (long long)writer->own[i]);
    }
}

// The same by libpgnear, where the node answers at all.
static void read_own_directly(struct writer *writer, int i)
{
    pgnear_error error;
    if (writer->direct == NULL &&
        pgnear_open(writer->node->socket_path, NULL, &writer->direct, &error) != PGNEAR_OK) {
        writer->direct = NULL;
        return;
    }
    char key[32];
    snprintf(key, sizeof key, "k:%d", own_key(writer, i));
    pgnear_item item;
    pgnear_code code = pgnear_get(writer->direct, pgnear_text(key), NULL, &item, &error);
    if (code == PGNEAR_OK && direct_int(&item) != writer->own[i]) {
        scenario_fail("%s by libpgnear through %s is %lld; acknowledged last was %lld", key,
                      writer->node->name, (long long)direct_int(&item), (long long)writer->own[i]);
    }
}

static void set_own(struct writer *writer)
{
    int i = (int)random_below(&writer->random, OWN_KEYS);
    bool deletes = writer->own[i] != ABSENT && random_below(&writer->random, 8) == 0;
    char options[96];
    char params[192];
    write_options(writer, options);
    int64_t value = (int64_t)writer->writes;
    if (deletes) {
        snprintf(params, sizeof params, "[\"k:%d\",%s]", own_key(writer, i), options);
    } else {
        snprintf(params, sizeof params, "[\"k:%d\",%lld,%s]", own_key(writer, i), (long long)value,
                 options);
    }
    if (ask(writer, deletes ? "delete" : "set", params) == NULL) {
        return;
    }
    writer->own[i] = deletes ? ABSENT : value;
    if (random_below(&writer->random, 2) == 0) {
        read_own_directly(writer, i);
    }
    read_own(writer, i);
}

static void set_pair(struct writer *writer)
{
    int key = PAIR_FIRST + writer->index * 2;
    char options[96];
    char params[224];
    write_options(writer, options);
    long long value = (long long)writer->writes;
    snprintf(params, sizeof params, "[[[\"k:%d\",%lld],[\"k:%d\",%lld]],%s]", key, value, key + 1,
             value, options);
    if (ask(writer, "mset", params) != NULL) {
        writer->pair = value;
    }
}

static void increment(struct writer *writer)
{
    int sum = (int)random_below(&writer->random, SUMS);
    int64_t by = 1 + (int64_t)random_below(&writer->random, 9);
    char options[96];
    char params[192];
    snprintf(params, sizeof params, "[\"k:%d\",%lld,%s]", SUM_FIRST + sum, (long long)by,
             id_only(writer, options));
    if (ask(writer, "incr", params) != NULL) {
        writer->sums[sum] += by;
    }
}

static void merge(struct writer *writer)
{
    char options[96];
    char params[192];
    id_only(writer, options);
    long long value = (long long)writer->writes;
    snprintf(params, sizeof params, "[\"k:%d\",{\"w%d\":%lld},%s]", DOC, writer->index, value,
             options);
    if (ask(writer, "merge", params) != NULL) {
        writer->doc = value;
    }
}

static void set_mixed(struct writer *writer)
{
    int key = MIXED_FIRST + (int)random_below(&writer->random, MIXED_KEYS);
    bool deletes = random_below(&writer->random, 4) == 0;
    char options[96];
    char params[192];
    write_options(writer, options);
    if (deletes) {
        snprintf(params, sizeof params, "[\"k:%d\",%s]", key, options);
    } else {
        snprintf(params, sizeof params, "[\"k:%d\",[%d,%llu],%s]", key, writer->index,
                 (unsigned long long)writer->writes, options);
    }
    ask(writer, deletes ? "delete" : "set", params);
}

static void write_once(struct writer *writer)
{
    switch (random_below(&writer->random, 8)) {
    case 0:
        increment(writer);
        break;
    case 1:
        merge(writer);
        break;
    case 2:
        set_pair(writer);
        break;
    case 3:
        set_mixed(writer);
        break;
    default:
        set_own(writer);
        break;
    }
}

// ---- The threads

static void think(struct random *random)
{
    struct timespec pause = {.tv_nsec = (long)random_below(random, THINK_US_MAX) * 1000};
    nanosleep(&pause, NULL);
}

// Rests while it is to; false where it is to stop.
static bool goes_on(struct accounts *accounts, struct random *random)
{
    think(random);
    if (atomic_load(&accounts->pauses)) {
        atomic_fetch_add(&accounts->resting, 1);
        while (atomic_load(&accounts->pauses) && !worker_is_stopping()) {
            think(random);
        }
        atomic_fetch_sub(&accounts->resting, 1);
    }
    return !worker_is_stopping();
}

static void run_writer(struct writer *writer)
{
    while (goes_on(writer->accounts, &writer->random)) {
        write_once(writer);
    }
    disconnect(writer);
    pgnear_close(writer->direct);
}

// The row is [number, "xxx..."].
static void check_filler(const struct node *node, const pgnear_item *item, int number)
{
    struct mpack_cursor cursor = mpack_cursor_of(slice_of(item->value.at, item->value.len));
    uint32_t count;
    int64_t found;
    if (!item->present || !mpack_read_array(&cursor, &count) || !mpack_read_int(&cursor, &found) ||
        found != number) {
        scenario_fail("filler:%d through %s is not what it was", number, node->name);
    }
}

// Reads by libpgnear, so that both ways to the cache have their share.
static void run_reader(struct accounts *accounts, const struct node *node, struct random *random)
{
    pgnear *handle = NULL;
    pgnear_error error;
    while (goes_on(accounts, random)) {
        if (handle == NULL && pgnear_open(node->socket_path, NULL, &handle, &error) != PGNEAR_OK) {
            handle = NULL;
            continue;
        }
        think(random);
        think(random);
        int number = (int)random_below(random, FILLERS);
        char key[32];
        snprintf(key, sizeof key, "filler:%d", number);
        pgnear_item item;
        if (pgnear_get(handle, pgnear_text(key), NULL, &item, &error) == PGNEAR_OK) {
            check_filler(node, &item, number);
        }
        snprintf(key, sizeof key, "k:%d", ALIEN_FIRST + number % ALIEN_KEYS);
        pgnear_get(handle, pgnear_text(key), NULL, &item, &error);
    }
    pgnear_close(handle);
}

static void must_execute(PGconn *conn, const char *sql)
{
    PGresult *result = PQexec(conn, sql);
    ExecStatusType status = PQresultStatus(result);
    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK) {
        scenario_fail("%s: %s", sql, PQerrorMessage(conn));
    }
    if (status == PGRES_TUPLES_OK && PQntuples(result) > 0) {
        scenario_fail("%s: there is %s", sql, PQgetvalue(result, 0, 0));
    }
    PQclear(result);
}

// An application that knows nothing of the nodes. Sees as well that no pair is ever torn.
static void run_sql(struct accounts *accounts, struct random *random)
{
    PGconn *conn = pg_connect(accounts->pg);
    char torn[256];
    snprintf(torn, sizeof torn,
             "SELECT key FROM kv_store a WHERE key = ANY (SELECT 'k:' || i FROM"
             " generate_series(%d, %d, 2) i) AND value IS DISTINCT FROM"
             " (SELECT value FROM kv_store b WHERE b.key = 'k:' || 1 + substr(a.key, 3)::int)",
             PAIR_FIRST, SUM_FIRST - 1);
    while (goes_on(accounts, random)) {
        char sql[256];
        int64_t value = accounts->alien + 1;
        bool deletes = random_below(random, 8) == 0;
        int key = random_below(random, 3) == 0
                      ? MIXED_FIRST + (int)random_below(random, MIXED_KEYS)
                      : ALIEN_FIRST + (int)random_below(random, ALIEN_KEYS);
        if (deletes) {
            snprintf(sql, sizeof sql, "DELETE FROM kv_store WHERE key = 'k:%d'", key);
        } else {
            snprintf(sql, sizeof sql,
                     "INSERT INTO kv_store (key, value) VALUES ('k:%d', '%lld')"
                     " ON CONFLICT (key) DO UPDATE SET value = EXCLUDED.value",
                     key, (long long)value);
        }
        must_execute(conn, sql);
        accounts->alien = value;
        must_execute(conn, torn);
    }
    PQfinish(conn);
}

static void run_client(void *context, int index)
{
    struct accounts *accounts = context;
    struct random random = random_of(random_seed(), (uint64_t)index + WRITERS_MAX);
    if (index < accounts->writers_count) {
        run_writer(&accounts->writers[index]);
    } else if (index < accounts->writers_count + accounts->nodes_count) {
        run_reader(accounts, accounts->nodes[index - accounts->writers_count], &random);
    } else {
        run_sql(accounts, &random);
    }
}

// ---- Start

// Half of an outbox is for the ids of ten minutes.
const char *accounts_config(bool is_long)
{
    return is_long ? "cache.size = \"32MiB\"\nwrites.outbox_size = \"24MiB\"\n"
                     "writes.retain = \"200ms\"\nlog.level = \"info\"\n"
                   : "cache.size = \"12MiB\"\nwrites.outbox_size = \"8MiB\"\n"
                     "writes.retain = \"200ms\"\nlog.level = \"info\"\n";
}

// Sees every write that comes behind a later one: a client numbers its values upwards.
static void make_tables(struct accounts *accounts)
{
    pg_exec(accounts->pg,
            "CREATE TABLE violation (key text, old jsonb, new jsonb);"
            "CREATE FUNCTION violation() RETURNS trigger LANGUAGE plpgsql AS $$"
            "BEGIN"
            "  IF substr(NEW.key, 3)::int < %d AND NEW.value < OLD.value THEN"
            "    INSERT INTO violation VALUES (NEW.key, OLD.value, NEW.value);"
            "  END IF;"
            "  RETURN NULL;"
            "END $$;"
            "CREATE TRIGGER violation AFTER UPDATE ON kv_store FOR EACH ROW"
            "  WHEN (NEW.key LIKE 'k:%%') EXECUTE FUNCTION violation();"
            "INSERT INTO kv_store (key, value) SELECT 'filler:' || i,"
            "  jsonb_build_array(i, repeat('x', %d)) FROM generate_series(0, %d) i",
            SUM_FIRST, FILLER_BYTES, FILLERS - 1);
}

struct accounts *accounts_start(struct scenario *scenario, struct pg *pg, struct node *const *nodes,
                                int nodes_count)
{
    struct accounts *accounts = scenario_alloc(scenario, sizeof *accounts);
    *accounts = (struct accounts){.scenario = scenario, .pg = pg, .nodes_count = nodes_count};
    for (int i = 0; i < nodes_count; i++) {
        accounts->nodes[i] = nodes[i];
        for (int j = 0; j < WRITERS_A_NODE; j++) {
            int index = accounts->writers_count++;
            accounts->writers[index] = (struct writer){
                .accounts = accounts,
                .node = nodes[i],
                .index = index,
                .random = random_of(random_seed(), (uint64_t)index),
                .own = {ABSENT, ABSENT, ABSENT, ABSENT},
            };
        }
    }
    make_tables(accounts);
    accounts->clients_count = accounts->writers_count + nodes_count + 1;
    accounts->workers = workers_start(scenario, accounts->clients_count, run_client, accounts);
    return accounts;
}

void accounts_await_progress(struct accounts *accounts, int node, uint64_t more)
{
    for (int i = 0; i < WRITERS_A_NODE; i++) {
        int index = node * WRITERS_A_NODE + i;
        uint64_t goal = atomic_load(&accounts->answers[index]) + more;
        struct deadline deadline = deadline_in(ANSWER_MS_MAX);
        while (atomic_load(&accounts->answers[index]) < goal) {
            workers_check(accounts->workers);
            if (!deadline_again(&deadline)) {
                scenario_fail("writer %d has no answers any more", index);
            }
        }
    }
}

// ---- Checks

static void check_value(struct accounts *accounts, int key, int64_t expected, bool is_there)
{
    const char *text =
        is_there ? scenario_text(accounts->scenario, "%lld", (long long)expected) : NULL;
    assert_pg_value(accounts->pg, text, "SELECT value FROM kv_store WHERE key = 'k:%d'", key);
}

// In one statement, since there are many: the rows that are not what they must be.
static void check_writers(struct accounts *accounts)
{
    struct buffer rows = {0};
    for (int i = 0; i < accounts->writers_count; i++) {
        const struct writer *writer = &accounts->writers[i];
        for (int j = 0; j < OWN_KEYS; j++) {
            buffer_printf(&rows, "('k:%d', %lld::bigint),", own_key(writer, j),
                          (long long)writer->own[j]);
        }
        for (int j = 0; j < 2; j++) {
            buffer_printf(&rows, "('k:%d', %lld),", PAIR_FIRST + i * 2 + j,
                          (long long)(writer->pair == 0 ? ABSENT : writer->pair));
        }
    }
    buffer_printf(&rows, "(NULL, 0)");
    buffer_append(&rows, "", 1);
    assert_pg_value(accounts->pg, NULL,
                    "SELECT format('%%s is %%s, acknowledged last was %%s', want.key, have.value,"
                    " want.value) FROM (VALUES %s) AS want (key, value) LEFT JOIN kv_store have"
                    " ON have.key = want.key WHERE want.key IS NOT NULL"
                    " AND coalesce(have.value::bigint, %d) <> want.value",
                    (const char *)buffer_slice(&rows).at, ABSENT);
    buffer_deinit(&rows);
}

static void check_sums(struct accounts *accounts)
{
    for (int sum = 0; sum < SUMS; sum++) {
        int64_t expected = 0;
        for (int i = 0; i < accounts->writers_count; i++) {
            expected += accounts->writers[i].sums[sum];
        }
        check_value(accounts, SUM_FIRST + sum, expected, expected > 0);
    }
}

static void check_doc(struct accounts *accounts)
{
    for (int i = 0; i < accounts->writers_count; i++) {
        int64_t last = accounts->writers[i].doc;
        const char *expected =
            last == 0 ? NULL : scenario_text(accounts->scenario, "%lld", (long long)last);
        assert_pg_value(accounts->pg, expected,
                        "SELECT value->'w%d' FROM kv_store"
                        " WHERE key = 'k:%d'",
                        i, DOC);
    }
}

static void pause_clients(struct accounts *accounts)
{
    atomic_store(&accounts->pauses, true);
    struct deadline deadline = deadline_in(2 * ANSWER_MS_MAX);
    while (atomic_load(&accounts->resting) < accounts->clients_count) {
        workers_check(accounts->workers);
        if (!deadline_again(&deadline)) {
            scenario_fail("%d of %d clients do not come to rest",
                          accounts->clients_count - atomic_load(&accounts->resting),
                          accounts->clients_count);
        }
    }
}

static void check_at_rest(struct accounts *accounts)
{
    for (int i = 0; i < accounts->nodes_count; i++) {
        assert_rpc(accounts->nodes[i], "flush", "[{\"timeout_ms\": 30000}]", "{\"seq\": \"*\"}");
    }
    assert_pg_value(accounts->pg, NULL,
                    "SELECT format('%%s: %%s -> %%s', key, old, new)"
                    " FROM violation");
    check_writers(accounts);
    check_sums(accounts);
    check_doc(accounts);
    assert_synced_nodes_equal_table(accounts->nodes, accounts->nodes_count, accounts->pg,
                                    "k:", KEYS_END - 1);
}

void accounts_check(struct accounts *accounts)
{
    pause_clients(accounts);
    check_at_rest(accounts);
    atomic_store(&accounts->pauses, false);
}

void accounts_stop_and_check(struct accounts *accounts)
{
    pause_clients(accounts);
    check_at_rest(accounts);
    workers_stop(accounts->workers);
    workers_join(accounts->workers);
}
