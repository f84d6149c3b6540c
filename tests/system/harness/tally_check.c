// Holding the accounts against PostgreSQL and the node.

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "system/harness/tally_journal.h"

// A violation is a row, not an error, which would change what is watched.
void tally_audit(struct tally *tally)
{
    pg_exec(
        tally->pg,
        "CREATE TABLE account_set (key text, writer int, number bigint, PRIMARY KEY (key, writer, "
        "number));"
        "CREATE TABLE account_violation (key text, old jsonb, new jsonb);"
        "CREATE FUNCTION account_audit() RETURNS trigger LANGUAGE plpgsql AS $$"
        "DECLARE"
        "  is_wrong boolean;"
        "BEGIN"
        "  IF NEW.key LIKE 'hot:%%' THEN"
        "    is_wrong := TG_OP = 'UPDATE' AND NEW.value <= OLD.value;"
        "  ELSE"
        "    is_wrong := EXISTS (SELECT FROM account_set WHERE key = NEW.key"
        "                        AND writer = (NEW.value->>0)::int"
        "                        AND number >= (NEW.value->>1)::bigint);"
        "    INSERT INTO account_set"
        "      VALUES (NEW.key, (NEW.value->>0)::int, (NEW.value->>1)::bigint)"
        "      ON CONFLICT DO NOTHING;"
        "  END IF;"
        "  IF is_wrong THEN"
        "    INSERT INTO account_violation"
        "      VALUES (NEW.key, CASE WHEN TG_OP = 'UPDATE' THEN OLD.value END, NEW.value);"
        "  END IF;"
        "  RETURN NULL;"
        "END $$;"
        "CREATE TRIGGER account_audit AFTER INSERT OR UPDATE ON kv_store"
        "  FOR EACH ROW EXECUTE FUNCTION account_audit()");
}

// A number of the counter over all writers.
static long long sum(struct tally *tally, int counter, bool acked)
{
    long long total = 0;
    for (int i = 0; i < TALLY_WRITERS; i++) {
        const struct account *account = &tally->writers[i].counters[counter];
        total += acked ? atomic_load(&account->acked) : atomic_load(&account->sent);
    }
    return total;
}

static void check_counters(struct tally *tally)
{
    for (int i = 0; i < TALLY_COUNTERS; i++) {
        long long value = pg_int(
            tally->pg,
            "SELECT coalesce((SELECT value::text FROM kv_store WHERE key = 'hot:%d'), '0')", i);
        if (value < sum(tally, i, true) || value > sum(tally, i, false)) {
            scenario_fail("PostgreSQL holds hot:%d = %lld; %lld were answered and %lld sent", i,
                          value, sum(tally, i, true), sum(tally, i, false));
        }
    }
}

// What PostgreSQL has applied of one writer's sets to one key.
struct applied {
    long long newest;
    long long count;
};

static void read_applied(struct tally *tally, struct applied applied[TALLY_WRITERS][TALLY_SETS])
{
    PGconn *conn = pg_connect(tally->pg);
    PGresult *rows =
        PQexec(conn, "SELECT CASE WHEN key LIKE 'own:%' THEN '-1' ELSE split_part(key, ':', 2) END,"
                     " writer, max(number), count(*) FROM account_set GROUP BY 1, 2");
    if (PQresultStatus(rows) != PGRES_TUPLES_OK) {
        scenario_fail("cannot read what was applied: %s", PQerrorMessage(conn));
    }
    for (int i = 0; i < PQntuples(rows); i++) {
        int slot = atoi(PQgetvalue(rows, i, 0));
        int writer = atoi(PQgetvalue(rows, i, 1));
        if (slot >= TALLY_SLOTS || writer < 0 || writer >= TALLY_WRITERS) {
            scenario_fail("nobody wrote slot:%d of writer %d", slot, writer);
        }
        applied[writer][slot < 0 ? TALLY_SLOTS : slot] =
            (struct applied){.newest = strtoll(PQgetvalue(rows, i, 2), NULL, 10),
                             .count = strtoll(PQgetvalue(rows, i, 3), NULL, 10)};
    }
    PQclear(rows);
    PQfinish(conn);
}

// Where sets are not coalesced each of them is there; where they are, no more than were sent.
static void check_sets(struct tally *tally)
{
    struct applied applied[TALLY_WRITERS][TALLY_SETS] = {0};
    read_applied(tally, applied);
    for (int i = 0; i < TALLY_WRITERS; i++) {
        for (int set = 0; set < TALLY_SETS; set++) {
            const struct account *account = &tally->writers[i].sets[set];
            const struct applied *there = &applied[i][set];
            bool whole = !tally->versioned || there->count == there->newest;
            bool late = tally->versioned && tally->ack == PGNEAR_ACK_POSTGRES &&
                        there->newest < atomic_load(&account->acked);
            if (!whole || late || there->newest > atomic_load(&account->sent)) {
                scenario_fail("PostgreSQL has applied %lld sets of writer %d to %s up to number "
                              "%lld; %lld were answered and %lld sent",
                              there->count, i, tally_set_key(&tally->writers[i], set),
                              there->newest, atomic_load(&account->acked),
                              atomic_load(&account->sent));
            }
        }
    }
}

void tally_check_bounds(struct tally *tally)
{
    assert_pg_value(tally->pg, NULL,
                    "SELECT concat_ws(' ', key, ':', old, '->', new) FROM account_violation");
    check_counters(tally);
    check_sets(tally);
}

static void assert_both(struct tally *tally, const char *key, const char *value)
{
    assert_pg_value(tally->pg, value, "SELECT value FROM kv_store WHERE key = '%s'", key);
    assert_rpc(tally->node, "get", scenario_text(tally->scenario, "[\"%s\"]", key),
               value == NULL ? "null" : scenario_text(tally->scenario, "[%s, \"*\"]", value));
}

// The set of the greatest seq wins. NULL: there was none.
static const char *slot_value(struct tally *tally, int slot)
{
    const struct writer *last = NULL;
    for (int i = 0; i < TALLY_WRITERS; i++) {
        const struct writer *writer = &tally->writers[i];
        if (atomic_load(&writer->sets[slot].seq) >
            (last == NULL ? 0 : atomic_load(&last->sets[slot].seq))) {
            last = writer;
        }
    }
    return last == NULL ? NULL
                        : scenario_text(tally->scenario, "[%d, %lld]", last->index,
                                        atomic_load(&last->sets[slot].acked));
}

static void report(struct tally *tally)
{
    long long incrs = 0;
    unsigned long long repeats = 0;
    for (int i = 0; i < TALLY_COUNTERS; i++) {
        incrs += sum(tally, i, true);
    }
    for (int i = 0; i < TALLY_WRITERS; i++) {
        repeats += atomic_load(&tally->writers[i].repeats);
    }
    fprintf(stderr, "answered: %lld incrs, %lld sets; %llu calls repeated; applied sets: %s\n",
            incrs, (long long)atomic_load(&tally->acks) - incrs, repeats,
            pg_value(tally->pg, "SELECT count(*) FROM account_set"));
}

void tally_check_end(struct tally *tally)
{
    report(tally);
    for (int i = 0; i < TALLY_COUNTERS; i++) {
        assert_both(tally, scenario_text(tally->scenario, "hot:%d", i),
                    scenario_text(tally->scenario, "%lld", sum(tally, i, true)));
    }
    for (int slot = 0; slot < TALLY_SLOTS; slot++) {
        assert_both(tally, scenario_text(tally->scenario, "slot:%d", slot),
                    slot_value(tally, slot));
    }
    for (int i = 0; i < TALLY_WRITERS; i++) {
        const struct writer *writer = &tally->writers[i];
        long long acked = atomic_load(&writer->sets[TALLY_SLOTS].acked);
        assert_both(tally, scenario_text(tally->scenario, "own:%d", i),
                    acked == 0 ? NULL : scenario_text(tally->scenario, "[%d, %lld]", i, acked));
    }
    if (tally->versioned) {
        assert_pg_value(
            tally->pg,
            scenario_text(tally->scenario, "%llu", (unsigned long long)atomic_load(&tally->acks)),
            "SELECT count(*) FROM kv_store_history");
    }
}
