// Holding the journals of a load against PostgreSQL, during the load and after it.

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "system/harness/deadline.h"
#include "system/harness/load_journal.h"

enum { LEDGER_SAMPLE_EVERY = 16 };

// In the layout "document", where the test makes kv_store a view, the audit is on the companion.
void load_audit(struct load *load)
{
    const char *table =
        pg_value(load->pg, "SELECT coalesce((SELECT t.relid::regclass::text"
                           " FROM pg_partition_tree(to_regclass('pgnear_document')) t"
                           " WHERE t.isleaf), 'kv_store')");
    pg_exec(load->pg,
            "CREATE TABLE load_violation (key text, old jsonb, new jsonb);"
            "CREATE FUNCTION load_audit() RETURNS trigger LANGUAGE plpgsql AS $$"
            "BEGIN"
            "  IF OLD.key LIKE 'ledger:%%'"
            "     OR (OLD.key LIKE 'counter:%%' AND NEW.value <= OLD.value) THEN"
            "    INSERT INTO load_violation VALUES (OLD.key, OLD.value, NEW.value);"
            "  END IF;"
            "  RETURN NULL;"
            "END $$;"
            "CREATE TRIGGER load_audit AFTER UPDATE ON %s"
            "  FOR EACH ROW EXECUTE FUNCTION load_audit()",
            table);
}

// "counter:3:1" or "ledger:3:17".
static void parse_key(const char *key, int *client, int *number)
{
    const char *colon = strchr(key, ':');
    char *end = NULL;
    *client = colon == NULL ? -1 : (int)strtol(colon + 1, &end, 10);
    *number = end == NULL || *end != ':' ? 0 : (int)strtol(end + 1, NULL, 10);
    if (*client < 0 || *client >= LOAD_CLIENTS) {
        scenario_fail("nobody wrote the key %s", key);
    }
}

// NULL where PostgreSQL is away; the sampler connects again.
static PGresult *query(PGconn *conn, const char *sql)
{
    PGresult *result = PQexec(conn, sql);
    if (PQresultStatus(result) == PGRES_TUPLES_OK) {
        return result;
    }
    PQclear(result);
    return NULL;
}

static bool sample_counters(struct load *load, PGconn *conn)
{
    PGresult *rows = query(conn, "SELECT key, value FROM kv_store WHERE key LIKE 'counter:%'");
    for (int i = 0; rows != NULL && i < PQntuples(rows); i++) {
        int client;
        int key;
        parse_key(PQgetvalue(rows, i, 0), &client, &key);
        int64_t value = strtoll(PQgetvalue(rows, i, 1), NULL, 10);
        int64_t *seen = &load->seen[client][key];
        if (value < *seen) {
            scenario_fail("%s went back from %lld to %lld", PQgetvalue(rows, i, 0),
                          (long long)*seen, (long long)value);
        }
        *seen = value;
    }
    load->counter_samples += rows != NULL ? 1 : 0;
    PQclear(rows);
    return rows != NULL;
}

static bool sample_ledger(struct load *load, PGconn *conn)
{
    PGresult *rows = query(conn, "SELECT split_part(key, ':', 2), max(value::text::int), count(*)"
                                 " FROM kv_store WHERE key LIKE 'ledger:%' GROUP BY 1");
    if (rows == NULL) {
        return false;
    }
    struct ledger_sample *sample = scenario_alloc(load->scenario, sizeof *sample);
    for (int i = 0; i < PQntuples(rows); i++) {
        int client = atoi(PQgetvalue(rows, i, 0));
        sample->newest[client] = atoi(PQgetvalue(rows, i, 1));
        sample->count[client] = atoi(PQgetvalue(rows, i, 2));
    }
    sample->next = load->samples;
    load->samples = sample;
    PQclear(rows);
    return true;
}

void load_sample(void *context, int index)
{
    (void)index;
    struct load *load = context;
    PGconn *conn = NULL;
    for (int round = 0; !worker_is_stopping(); round++) {
        if (conn == NULL) {
            conn = PQconnectdb(load->pg->url);
        }
        if (PQstatus(conn) != CONNECTION_OK || !sample_counters(load, conn) ||
            (round % LEDGER_SAMPLE_EVERY == 0 && !sample_ledger(load, conn))) {
            PQfinish(conn);
            conn = NULL;
        }
        struct deadline pause = deadline_in(DEADLINE_MS);
        deadline_again(&pause);
        deadline_again(&pause);
    }
    PQfinish(conn);
}

static void check_counters(struct load *load)
{
    for (int i = 0; i < LOAD_CLIENTS; i++) {
        const struct load_client *client = &load->clients[i];
        for (int key = 0; key < LOAD_COUNTERS_A_CLIENT; key++) {
            if (client->kind != LOAD_COUNTER || client->sent[key] == 0) {
                continue;
            }
            const char *text = pg_value(
                load->pg, "SELECT value FROM kv_store WHERE key = 'counter:%d:%d'", i, key);
            int64_t value = text == NULL ? 0 : strtoll(text, NULL, 10);
            if (value < client->acked[key] || value > client->sent[key]) {
                scenario_fail("counter:%d:%d is %lld; %lld was acknowledged, %lld sent", i, key,
                              (long long)value, (long long)client->acked[key],
                              (long long)client->sent[key]);
            }
            if (text != NULL) {
                assert_rpc(load->node, "get",
                           scenario_text(load->scenario, "[\"counter:%d:%d\"]", i, key),
                           scenario_text(load->scenario, "[%lld, \"*\"]", (long long)value));
            }
        }
    }
}

// Which ledger writes PostgreSQL holds: [client][n], each as often as it was read.
struct presence {
    uint8_t *of[LOAD_CLIENTS];
};

static void read_ledger(struct load *load, struct presence *presence)
{
    PGconn *conn = pg_connect(load->pg);
    PGresult *rows = query(conn, "SELECT key, value FROM kv_store WHERE key LIKE 'ledger:%'");
    if (rows == NULL) {
        scenario_fail("cannot read the ledger: %s", PQerrorMessage(conn));
    }
    for (int i = 0; i < PQntuples(rows); i++) {
        int client;
        int number;
        parse_key(PQgetvalue(rows, i, 0), &client, &number);
        if (number < 1 || number > load->clients[client].ledger_count ||
            atoi(PQgetvalue(rows, i, 1)) != number) {
            scenario_fail("nobody wrote %s = %s", PQgetvalue(rows, i, 0), PQgetvalue(rows, i, 1));
        }
        presence->of[client][number]++;
    }
    PQclear(rows);
    PQfinish(conn);
}

// Each acknowledged write is there, each refused one is not, and seq follows the order of sending.
static void check_ledger(const struct load_client *client, const uint8_t *present)
{
    int64_t last_seq = 0;
    for (int number = 1; number <= client->ledger_count; number++) {
        const struct ledger_write *write = &client->ledger[number - 1];
        if (write->outcome != LEDGER_UNANSWERED &&
            present[number] != (write->outcome == LEDGER_ACKED ? 1 : 0)) {
            scenario_fail("ledger:%d:%d was %s and is there %d times", client->index, number,
                          write->outcome == LEDGER_ACKED ? "acknowledged" : "refused",
                          present[number]);
        }
        if (write->outcome == LEDGER_ACKED) {
            if (write->seq <= last_seq) {
                scenario_fail("ledger:%d:%d has seq %lld after %lld", client->index, number,
                              (long long)write->seq, (long long)last_seq);
            }
            last_seq = write->seq;
        }
    }
}

// The seq of the newest acknowledged write that the sample holds, of all clients.
static int64_t newest_seq(const struct load *load, const struct ledger_sample *sample)
{
    int64_t newest = 0;
    for (int i = 0; i < LOAD_CLIENTS; i++) {
        const struct load_client *client = &load->clients[i];
        if (client->kind == LOAD_LEDGER && sample->newest[i] > 0 &&
            client->ledger[sample->newest[i] - 1].seq > newest) {
            newest = client->ledger[sample->newest[i] - 1].seq;
        }
    }
    return newest;
}

// A moment's ledger is a prefix: of one client, since all that is there at last up to its newest
// write was there then; and of all together, in the order of seq.
static void check_sample(const struct load *load, const struct ledger_sample *sample,
                         const struct presence *presence)
{
    int64_t newest = newest_seq(load, sample);
    for (int i = 0; i < LOAD_CLIENTS; i++) {
        const struct load_client *client = &load->clients[i];
        int there = 0;
        for (int number = 1; client->kind == LOAD_LEDGER && number <= client->ledger_count;
             number++) {
            const struct ledger_write *write = &client->ledger[number - 1];
            bool held = number <= sample->newest[i];
            there += held ? presence->of[i][number] : 0;
            if (!held && write->outcome == LEDGER_ACKED && write->seq < newest) {
                scenario_fail("PostgreSQL held seq %lld but not %lld, ledger:%d:%d",
                              (long long)newest, (long long)write->seq, i, number);
            }
        }
        if (client->kind == LOAD_LEDGER && there != sample->count[i]) {
            scenario_fail("PostgreSQL held ledger:%d:%d and %d writes up to it, later %d", i,
                          sample->newest[i], sample->count[i], there);
        }
    }
}

static void check_ledgers(struct load *load)
{
    struct presence presence;
    for (int i = 0; i < LOAD_CLIENTS; i++) {
        presence.of[i] = scenario_alloc(load->scenario, (size_t)load->clients[i].ledger_count + 1);
    }
    read_ledger(load, &presence);
    for (int i = 0; i < LOAD_CLIENTS; i++) {
        check_ledger(&load->clients[i], presence.of[i]);
    }
    for (struct ledger_sample *sample = load->samples; sample != NULL; sample = sample->next) {
        check_sample(load, sample, &presence);
    }
}

static void check_totals(struct load *load)
{
    int64_t with_id = 0;
    int64_t acked = 0;
    int64_t unanswered = 0;
    for (int i = 0; i < LOAD_CLIENTS; i++) {
        const struct load_client *client = &load->clients[i];
        with_id += client->kind == LOAD_INCR_ID ? client->incr_acked : 0;
        acked += client->kind == LOAD_INCR_PLAIN ? client->incr_acked : 0;
        unanswered += client->incr_unanswered;
    }
    assert_pg_value(load->pg, scenario_text(load->scenario, "%lld", (long long)with_id),
                    "SELECT value FROM kv_store WHERE key = 'total:id'");
    int64_t plain = pg_int(load->pg, "SELECT value FROM kv_store WHERE key = 'total:plain'");
    if (plain < acked || plain > acked + unanswered) {
        scenario_fail("total:plain is %lld; %lld were acknowledged, %lld unanswered",
                      (long long)plain, (long long)acked, (long long)unanswered);
    }
    fprintf(stderr, "incr: %lld with id, %lld without and %lld unanswered\n", (long long)with_id,
            (long long)acked, (long long)unanswered);
}

static void report(struct load *load)
{
    int samples = 0;
    for (struct ledger_sample *sample = load->samples; sample != NULL; sample = sample->next) {
        samples++;
    }
    fprintf(stderr, "acknowledged: %llu counter sets, %llu ledger sets; samples: %d and %d\n",
            (unsigned long long)atomic_load(&load->acks[LOAD_COUNTER]),
            (unsigned long long)atomic_load(&load->acks[LOAD_LEDGER]), load->counter_samples,
            samples);
    if (load->counter_samples == 0 || samples == 0) {
        scenario_fail("PostgreSQL was never sampled");
    }
}

void load_check(struct load *load)
{
    report(load);
    assert_pg_value(load->pg, NULL,
                    "SELECT key || ': ' || old::text || ' -> ' || new::text FROM load_violation");
    check_counters(load);
    check_ledgers(load);
    check_totals(load);
}
