// The state of the model and how transactions change it. A commit is one step: its rows are
// visible, its notifications are queued and its locks are free at once, as PostgreSQL's lock on
// the queue of notifications has it.
#include "simulation/world/server.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/memory.h"
#include "simulation/world/machine.h"
#include "simulation/world/wire.h"

enum { COMMITS_MAX = 1 << 16, SEQUENCE_LOGS_AHEAD = 32 };

// What it takes to undo a commit.
struct commit {
    int64_t at_us;
    int64_t sequence; // after it
    bool asynchronous;
    bool changed[KEYS_COUNT];
    struct row before[KEYS_COUNT];
    struct state state_before[KEYS_COUNT];
    int node; // NOBODY
    struct node_row *node_row;
    struct batch_commit batch;
};

struct server server;
static struct commit commits[COMMITS_MAX];
static size_t commits_count;

void server_start(void)
{
    server.up = true;
    server.first_number = clock_real_us(); // as CREATE SEQUENCE has it
    server.sequence = server.first_number;
    server.started_us = machine.now_us;
    server.timeline = 1;
    server.system = 1;
}

void server_system(char text[SYSTEM_IDENTIFIER_BYTES])
{
    snprintf(text, SYSTEM_IDENTIFIER_BYTES, "%lld", 7000000000000000000LL + server.system);
}

int64_t server_draw(void)
{
    return ++server.sequence;
}

static void free_locks(struct session *session)
{
    for (int i = 0; i < KEYS_COUNT + NODES_MAX; i++) {
        if (server.lockers[i] == session) {
            server.lockers[i] = NULL;
        }
    }
    session->waits_for_key = NOBODY;
}

static void clear_txn(struct session *session)
{
    free_locks(session);
    session->txn = (struct txn){.origin = NOBODY, .node_changed = NOBODY};
    session->notes_count = 0;
    session->progress = 0;
    session->drawn = 0;
}

// ---- sessions

static void begin_session(struct session *session, struct conn *client)
{
    session->used = true;
    session->client = client;
    session->is_program = false;
    session->listens = false;
    session->own_channel[0] = '\0';
    session->query = 0;
    clear_txn(session);
}

static struct session *free_session(struct conn *client)
{
    for (int i = 0; i < SESSIONS_MAX; i++) {
        if (!server.sessions[i].used) {
            server.sessions[i].number = i;
            begin_session(&server.sessions[i], client);
            return &server.sessions[i];
        }
    }
    CHECK(false);
    return NULL;
}

struct session *server_accept(struct conn *client)
{
    return server.up ? free_session(client) : NULL;
}

struct session *server_program(void)
{
    struct session *session = free_session(NULL);
    session->is_program = true;
    return session;
}

static void free_unit(struct session *session)
{
    struct sent_unit *unit = session->unit;
    session->unit = NULL;
    if (unit != NULL) {
        wire_free_unit(unit);
    }
}

static void end_session(struct session *session)
{
    session_rollback(session);
    free_unit(session);
    session->used = false;
}

void session_orphan(struct session *session, size_t queries_lost)
{
    session->client = NULL;
    session->listens = false;
    session->own_channel[0] = '\0';
    if (session->unit == NULL) {
        end_session(session);
    } else {
        size_t lost = queries_lost < session->unit->arrived ? queries_lost : session->unit->arrived;
        session->unit->arrived -= lost;
    }
}

void session_kill(struct session *session, const char *sqlstate, const char *words)
{
    if (session->client != NULL) {
        wire_closed(session->client, sqlstate, words);
    }
    end_session(session);
}

// ---- locks

// Whether waiting for `key` closes a circle.
static bool is_deadlock(const struct session *session, int key)
{
    const struct session *owner = server.lockers[key];
    for (int hops = 0; owner != NULL && hops < SESSIONS_MAX; hops++) {
        if (owner == session) {
            return true;
        }
        owner = owner->waits_for_key == NOBODY ? NULL : server.lockers[owner->waits_for_key];
    }
    return false;
}

enum lock session_lock(struct session *session, int key_or_row)
{
    struct session **locker = &server.lockers[key_or_row];
    if (*locker == NULL || *locker == session) {
        *locker = session;
        session->waits_for_key = NOBODY;
        return LOCK_TAKEN;
    }
    session->waits_for_key = key_or_row;
    if (is_deadlock(session, key_or_row)) {
        session_fail(session, "40P01", "deadlock detected");
        return LOCK_FAILED;
    }
    return LOCK_WAITS;
}

// ---- statements

struct row session_row(const struct session *session, int key)
{
    return session->txn.changed[key] ? session->txn.rows[key] : server.rows[key];
}

void session_put(struct session *session, int key, int64_t token, int64_t version)
{
    CHECK(server.lockers[key] == session);
    session->txn.changed[key] = true;
    session->txn.rows[key] = (struct row){.present = true, .token = token, .version = version};
}

void session_delete(struct session *session, int key)
{
    CHECK(server.lockers[key] == session);
    session->txn.changed[key] = true;
    session->txn.rows[key] = (struct row){0};
}

void session_add_change(struct session *session, struct batch_change change)
{
    struct batch_commit *batch = &session->txn.batch;
    CHECK(batch->changes_count < CHANGES_MAX);
    // What has made nothing of the key has seen the state of now: others may change it before the
    // commit, since a row that is not there is not locked.
    if (!change.effect && !session->txn.changed[change.key]) {
        change.order = server.rows[change.key].order;
    }
    session->txn.changes[batch->changes_count++] = change;
}

void session_note(struct session *session, const char *channel, const char *payload)
{
    for (size_t i = 0; i < session->notes_count; i++) {
        bool same = strcmp(session->notes[i].channel, channel) == 0 &&
                    strcmp(session->notes[i].payload, payload) == 0;
        if (same) {
            return; // PostgreSQL sends the same words of one transaction once
        }
    }
    CHECK(session->notes_count < NOTES_MAX);
    struct note *note = &session->notes[session->notes_count++];
    snprintf(note->channel, sizeof note->channel, "%s", channel);
    snprintf(note->payload, sizeof note->payload, "%s", payload);
}

static const char *origin_of(const struct session *session)
{
    return session->txn.origin == NOBODY ? "" : server.node_rows[session->txn.origin].node;
}

void session_announce(struct session *session, const int *keys, size_t count, bool deleted)
{
    char payload[PAYLOAD_BYTES];
    int used = snprintf(payload, sizeof payload, "[\"%s\",[", origin_of(session));
    for (size_t i = 0; i < count; i++) {
        int64_t version = deleted ? server_draw() : session->txn.rows[keys[i]].version;
        used += snprintf(payload + used, sizeof payload - (size_t)used, "%s[\"k%d\",%lld%s]",
                         i == 0 ? "" : ",", keys[i], (long long)version, deleted ? ",1" : "");
    }
    snprintf(payload + used, sizeof payload - (size_t)used, "]]");
    if (count > 0) {
        session_note(session, "", payload);
    }
}

void session_fail(struct session *session, const char *sqlstate, const char *words)
{
    failure_note(&session->failure, ERROR_REJECTED, "%s", words);
    snprintf(session->failure.sqlstate, sizeof session->failure.sqlstate, "%s", sqlstate);
}

// ---- the end of a transaction

void session_rollback(struct session *session)
{
    clear_txn(session);
}

// The channel of the table is written "" here, and is whatever the session listens to.
static void deliver(const struct note *note)
{
    for (int i = 0; i < SESSIONS_MAX; i++) {
        struct session *session = &server.sessions[i];
        if (!session->used || session->client == NULL) {
            continue;
        }
        bool own = note->channel[0] != '\0' && strcmp(note->channel, session->own_channel) == 0;
        if (own || (session->listens && note->channel[0] == '\0')) {
            wire_notify(session->client, note->channel, note->payload);
        }
    }
}

static uint64_t commit_row(struct commit *commit, int key, const struct row *after)
{
    commit->changed[key] = true;
    commit->before[key] = server.rows[key];
    commit->state_before[key] = ledger_state(key);
    server.rows[key] = *after;
    if (!after->present && !commit->before[key].present) {
        return server.rows[key].order = commit->before[key].order;
    }
    return server.rows[key].order =
               ledger_changed(key, after->present, after->token, after->version);
}

static void commit_batch(struct session *session, struct commit *commit)
{
    struct txn *txn = &session->txn;
    for (size_t i = 0; i < txn->batch.changes_count; i++) {
        if (txn->changes[i].effect || txn->changed[txn->changes[i].key]) {
            txn->changes[i].order = server.rows[txn->changes[i].key].order;
        }
    }
    txn->batch.node = txn->origin;
    txn->batch.changes = txn->changes;
    ledger_batch(&txn->batch);
    commit->batch = txn->batch;
    commit->batch.changes = NULL;
    commit->batch.changes_count = 0;
}

void session_commit(struct session *session)
{
    struct txn *txn = &session->txn;
    CHECK(commits_count < COMMITS_MAX);
    struct commit *commit = &commits[commits_count];
    *commit = (struct commit){.at_us = machine.now_us, .node = NOBODY};
    bool wrote = txn->node_changed != NOBODY;
    for (int key = 0; key < KEYS_COUNT; key++) {
        if (txn->changed[key]) {
            commit_row(commit, key, &txn->rows[key]);
            wrote = true;
        }
    }
    if (txn->node_changed != NOBODY) {
        struct node_row *row = &server.node_rows[txn->node_changed];
        commit->node = txn->node_changed;
        commit->node_row = memory_zeroed(1, sizeof *row);
        *commit->node_row = *row;
        *row = txn->node_row;
    }
    if (txn->origin != NOBODY) {
        commit_batch(session, commit);
    }
    for (size_t i = 0; txn->origin == NOBODY && i < txn->batch.changes_count; i++) {
        txn->changes[i].order = server.rows[txn->changes[i].key].order;
        ledger_unguarded(&txn->changes[i]);
    }
    session->listens |= txn->listens;
    if (txn->listens_own) {
        memcpy(session->own_channel, session->wants_channel, sizeof session->own_channel);
    }
    for (size_t i = 0; i < session->notes_count; i++) {
        deliver(&session->notes[i]);
    }
    commit->sequence = server.sequence;
    commit->asynchronous = txn->asynchronous;
    commits_count += wrote;
    clear_txn(session);
}

// ---- nodes

int server_node_place(struct slice node)
{
    for (int i = 0; i < NODES_MAX; i++) {
        if (slice_equal(slice_of_string(server.node_rows[i].node), node)) {
            return i;
        }
    }
    return NOBODY;
}

int server_new_node_place(struct slice node)
{
    for (int i = 0; i < NODES_MAX; i++) {
        if (slice_equal(slice_of_string(server.nodes[i]), node)) {
            return i;
        }
    }
    return NOBODY;
}

void server_expect_node(int number, const char *node)
{
    snprintf(server.nodes[number], sizeof server.nodes[number], "%s", node);
}

// ---- faults

static void undo(struct commit *commit)
{
    for (int key = 0; key < KEYS_COUNT; key++) {
        if (commit->changed[key]) {
            server.rows[key] = commit->before[key];
            ledger_lost(key, &commit->state_before[key]);
        }
    }
    if (commit->node != NOBODY) {
        server.node_rows[commit->node] = *commit->node_row;
    }
    if (commit->batch.to_seq != 0) {
        ledger_batch_lost(&commit->batch);
    }
}

size_t server_lose(size_t count_max, int64_t age_us, bool asynchronous_only)
{
    size_t count = 0;
    while (count < count_max && commits_count > 0) {
        struct commit *commit = &commits[commits_count - 1];
        if (commit->at_us < machine.now_us - age_us ||
            (asynchronous_only && !commit->asynchronous)) {
            break;
        }
        undo(commit);
        free(commit->node_row);
        commits_count--;
        count++;
    }
    if (count > 0) {
        int64_t kept =
            commits_count > 0 ? commits[commits_count - 1].sequence : server.first_number;
        server.sequence = kept + (machine_chance(500) ? machine_below(SEQUENCE_LOGS_AHEAD) : 0);
    }
    return count;
}

void server_restart(bool promoted, const char *sqlstate)
{
    for (int i = 0; i < SESSIONS_MAX; i++) {
        if (server.sessions[i].used && !server.sessions[i].is_program) {
            session_kill(&server.sessions[i], sqlstate, "the server ended the connection");
        }
    }
    server.started_us = machine.now_us;
    server.timeline += promoted;
}

void server_migrate(void)
{
    server_restart(false, "");
    server.system++;
    server.timeline = 1;
    for (; commits_count > 0; commits_count--) {
        free(commits[commits_count - 1].node_row);
    }
    server.first_number = server.sequence;
    memset(server.node_rows, 0, sizeof server.node_rows);
}
