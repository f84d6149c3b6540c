// The statements of a batch (pg/batch_sql.c, pg/batch_unit.c) as the model server carries them out.
// What pgnear_advance does is taken from the text that pgnear installs: without its RAISE a row
// that is not as expected goes unnoticed here as it would there.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "pg/schema_sql.h"
#include "simulation/world/machine.h"
#include "simulation/world/results.h"
#include "simulation/world/sql.h"
#include "simulation/world/statements.h"

enum { BATCH_KEYS_MAX = 64 };

static bool advance_raises, advance_compares, advance_names_origin;

static bool text_has(const char *text, const char *words)
{
    return strstr(text, words) != NULL;
}

void sql_start(void)
{
    for (int i = 0; i < SCHEMA_FUNCTIONS_COUNT; i++) {
        const char *text = SCHEMA_FUNCTIONS[i].create;
        if (text_has(SCHEMA_FUNCTIONS[i].signature, "@advance@")) {
            advance_raises = text_has(text, "IF NOT FOUND") && text_has(text, "RAISE EXCEPTION");
            advance_compares = text_has(text, "row.applied_seq = pgnear_advance.applied_from");
            advance_names_origin = text_has(text, "set_config('pgnear.origin'");
        }
    }
}

enum outcome batch_begin(struct session *session, const struct sent_query *query)
{
    (void)query;
    session->txn.open = true;
    return answer_with(session, result_create_done());
}

enum outcome batch_commit(struct session *session, const struct sent_query *query)
{
    (void)query;
    session_commit(session);
    return answer_with(session, result_create_done());
}

enum outcome batch_advance(struct session *session, const struct sent_query *query)
{
    int place = server_node_place(query->params[0]);
    enum outcome outcome = place == NOBODY ? OUTCOME_DONE : wait_for(session, KEYS_COUNT + place);
    if (outcome != OUTCOME_DONE) {
        return outcome;
    }
    struct node_row row = place == NOBODY ? (struct node_row){0} : server.node_rows[place];
    uint64_t from_seq = (uint64_t)param_number(query->params[2]);
    uint64_t to_seq = (uint64_t)param_number(query->params[3]);
    bool found = place != NOBODY &&
                 slice_equal(slice_of_string(row.incarnation), query->params[1]) &&
                 (row.applied_seq == from_seq || !advance_compares);
    if (!found && advance_raises) {
        session_fail(session, "PN001", "the node is not there");
        return OUTCOME_FAILED;
    }
    if (found) {
        row.applied_seq = to_seq;
        strcpy(row.results, "[]");
        session->txn.node_row = row;
        session->txn.node_changed = place;
    }
    session->txn.origin = advance_names_origin ? place : NOBODY;
    session->txn.batch.from_seq = from_seq;
    session->txn.batch.to_seq = to_seq;
    return answer_with(session, result_create_done());
}

// Takes the locks of the keys in the order given, going on where it had to wait.
static enum outcome lock_keys(struct session *session, const int *keys, size_t count,
                              bool existing_only)
{
    while (session->progress < count) {
        int key = keys[session->progress];
        if (!existing_only || session_row(session, key).present || server.lockers[key] != NULL) {
            enum outcome outcome = wait_for(session, key);
            if (outcome != OUTCOME_DONE) {
                return outcome;
            }
        }
        session->progress++;
    }
    return OUTCOME_DONE;
}

static size_t read_keys(struct slice param, int keys[BATCH_KEYS_MAX])
{
    struct slice names[BATCH_KEYS_MAX];
    size_t count = array_read(param, names, BATCH_KEYS_MAX);
    for (size_t i = 0; i < count; i++) {
        keys[i] = key_number(names[i]);
    }
    return count;
}

enum outcome batch_lock(struct session *session, const struct sent_query *query)
{
    int keys[BATCH_KEYS_MAX];
    size_t count = read_keys(query->params[0], keys);
    enum outcome outcome = lock_keys(session, keys, count, true);
    if (outcome != OUTCOME_DONE) {
        return outcome;
    }
    PGresult *result = result_create(1);
    result_int8(result, 0, 0, (int64_t)count);
    return answer_with(session, result);
}

static int64_t token_of_jsonb(struct slice jsonb)
{
    return value_token(slice_of(jsonb.at + 1, jsonb.len - 1)); // behind the format's byte
}

static void tell_key(PGresult *result, int row, int key)
{
    char name[8];
    snprintf(name, sizeof name, "k%d", key);
    result_text(result, row, 0, name);
}

// An INSERT draws for all its rows, and only then finds that it must wait.
static void draw_first(struct session *session, size_t count)
{
    if (session->drawn == 0) {
        session->drawn = server_draw();
        for (size_t i = 1; i < count; i++) {
            server_draw();
        }
    }
}

// Where the row is there DO UPDATE draws again, if it says so.
static int64_t put_row(struct session *session, const char *sql, int key, int64_t token,
                       int64_t version)
{
    if (session_row(session, key).present && text_has(sql, ", version = nextval(")) {
        version = server_draw();
    }
    session_put(session, key, token, version);
    return version;
}

enum outcome batch_put(struct session *session, const struct sent_query *query)
{
    int keys[BATCH_KEYS_MAX];
    struct slice values[BATCH_KEYS_MAX];
    size_t count = read_keys(query->params[0], keys);
    array_read(query->params[1], values, BATCH_KEYS_MAX);
    draw_first(session, count);
    enum outcome outcome = lock_keys(session, keys, count, false);
    if (outcome != OUTCOME_DONE) {
        return outcome;
    }
    PGresult *result = result_create(3);
    for (size_t i = 0; i < count; i++) {
        int64_t token = token_of_jsonb(values[i]);
        int64_t version = put_row(session, query->sql, keys[i], token, session->drawn + (int64_t)i);
        tell_key(result, (int)i, keys[i]);
        result_int8(result, (int)i, 1, version);
        result_bool(result, (int)i, 2, false);
        session_add_change(
            session,
            (struct batch_change){.key = keys[i], .op = WRITE_SET, .token = token, .effect = true});
    }
    session_announce(session, keys, count, false);
    return answer_with(session, result);
}

enum outcome batch_delete(struct session *session, const struct sent_query *query)
{
    int keys[BATCH_KEYS_MAX] = {0}, deleted[BATCH_KEYS_MAX];
    size_t count = read_keys(query->params[0], keys), deleted_count = 0;
    enum outcome outcome = lock_keys(session, keys, count, true);
    if (outcome != OUTCOME_DONE) {
        return outcome;
    }
    for (size_t i = 0; i < count; i++) {
        // A row that came while others were waited for is not in the statement's snapshot.
        bool present = session_row(session, keys[i]).present && server.lockers[keys[i]] == session;
        if (present) {
            session_delete(session, keys[i]);
            deleted[deleted_count++] = keys[i];
        }
        session_add_change(
            session, (struct batch_change){.key = keys[i], .op = WRITE_DELETE, .effect = present});
    }
    session_announce(session, deleted, deleted_count, true);
    return answer_with(session, result_create_done());
}

enum outcome batch_triggers(struct session *session, const struct sent_query *query)
{
    (void)query;
    PGresult *result = result_create(1);
    result_bool(result, 0, 0, false);
    return answer_with(session, result);
}

// ---- writes whose result is wanted

struct done {
    bool applied;
    bool deleted;
    bool has_version;
    int64_t version;
    bool has_value;
    int64_t value;
};

// One row of a group, by the words that tell the kinds apart.
static struct done do_row(struct session *session, const char *sql, int key, struct slice input,
                          struct slice if_version, int64_t drawn)
{
    struct row row = session_row(session, key);
    struct done done = {0};
    bool conditional = text_has(sql, ", if_version)");
    bool deletes = text_has(sql, "DELETE FROM");
    bool wanted = true;
    if (conditional) {
        wanted = row.present && row.version == array_int8(if_version);
    } else if (text_has(sql, "SET created_at = now()")) {
        wanted = !row.present;
    } else if (deletes) {
        wanted = row.present;
    }
    done.applied = wanted;
    if (wanted && deletes) {
        done.deleted = true;
        done.version = row.version;
        session_delete(session, key);
    } else if (wanted && text_has(sql, "pgnear_incr_value")) {
        done.value = row.token * row.present + value_token(input);
        done.has_value = true;
        done.version = put_row(session, sql, key, done.value, drawn);
    } else if (wanted) {
        done.version = put_row(session, sql, key, token_of_jsonb(input), drawn);
    } else {
        done.version = row.version;
    }
    done.has_version = wanted || row.present;
    return done;
}

static void record(struct session *session, int64_t seq, int key, const struct done *done)
{
    char *results = session->txn.node_row.results;
    size_t len = strlen(results);
    char version[24] = "null", value[24] = "null";
    if (done->has_version) {
        snprintf(version, sizeof version, "%lld", (long long)done->version);
    }
    if (done->has_value) {
        snprintf(value, sizeof value, "%lld", (long long)done->value);
    }
    CHECK(len > 0 && len + 128 < RESULTS_BYTES);
    snprintf(results + len - 1, RESULTS_BYTES - len, "%s[%lld,\"k%d\",%s,%s,%s]]",
             len > 2 ? "," : "", (long long)seq, key, done->applied ? "true" : "false", version,
             value);
}

static void tell_done(PGresult *result, int row, int key, const struct done *done)
{
    tell_key(result, row, key);
    result_bool(result, row, 1, done->applied);
    if (done->has_version) {
        result_int8(result, row, 2, done->version);
    } else {
        result_null(result, row, 2);
    }
    result_bool(result, row, 3, false);
    if (done->has_value) {
        char jsonb[24];
        int len = snprintf(jsonb, sizeof jsonb, "\1%lld", (long long)done->value);
        result_bytes(result, row, 4, jsonb, (size_t)len);
    } else {
        result_null(result, row, 4);
    }
    result_null(result, row, 5);
}

enum outcome batch_returning(struct session *session, const struct sent_query *query)
{
    int keys[BATCH_KEYS_MAX], changed[BATCH_KEYS_MAX];
    struct slice seqs[BATCH_KEYS_MAX], inputs[BATCH_KEYS_MAX], versions[BATCH_KEYS_MAX];
    size_t count = read_keys(query->params[1], keys), changed_count = 0;
    draw_first(session, count);
    enum outcome outcome = lock_keys(session, keys, count, false);
    if (outcome != OUTCOME_DONE) {
        return outcome;
    }
    bool conditional = text_has(query->sql, ", if_version)");
    bool deletes = text_has(query->sql, "DELETE FROM");
    array_read(query->params[2], seqs, BATCH_KEYS_MAX);
    if (query->params_count > 3) {
        array_read(query->params[3], inputs, BATCH_KEYS_MAX);
    }
    if (conditional) {
        array_read(query->params[query->params_count - 1], versions, BATCH_KEYS_MAX);
    }
    PGresult *result = result_create(6);
    for (size_t i = 0; i < count; i++) {
        struct row before = session_row(session, keys[i]);
        struct done done = do_row(session, query->sql, keys[i], inputs[i], versions[i],
                                  session->drawn + (int64_t)i);
        int64_t seq = array_int8(seqs[i]);
        if (done.applied) {
            changed[changed_count++] = keys[i];
        }
        if (session->txn.node_changed != NOBODY) {
            record(session, seq, keys[i], &done);
        }
        tell_done(result, (int)i, keys[i], &done);
        session_add_change(session, (struct batch_change){
                                        .key = keys[i],
                                        .seq = (uint64_t)seq,
                                        .effect = done.applied,
                                        .before_token = before.present ? before.token : 0,
                                        .before_version = before.version,
                                    });
    }
    session_announce(session, changed, changed_count, deletes);
    return answer_with(session, result);
}
