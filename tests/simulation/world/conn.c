// Stands in for pg/conn.c: the same interface, with the model server at the other end in place of
// libpq. The states, the pause before another attempt and the order of the callbacks are those that
// pg/conn.h promises.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/memory.h"
#include "pg/retry.h"
#include "simulation/world/machine.h"
#include "simulation/world/node.h"
#include "simulation/world/results.h"
#include "simulation/world/wire.h"

enum { CONNS_MAX = 256, SERVER_VERSION = 150004 };

enum packet_kind {
    PACKET_ACCEPTED,
    PACKET_RESULT,
    PACKET_DONE,
    PACKET_NOTIFY,
    PACKET_CLOSED,
};

struct packet {
    struct packet *next;
    enum packet_kind kind;
    size_t index;
    PGresult *result;
    bool failed;
    struct failure failure;
    struct note note;
};

struct conn {
    struct conn_options options;
    enum conn_state state;
    struct event *timer;
    struct retry retry;
    struct session *session; // NULL: none, or it is gone
    struct packet *inbound;
    bool stuck;
    bool reading;
    bool was_connected;
    struct unit unit;
    bool is_sending; // until the first answer
    int lent_to;     // a guest reads it; -1: the loop does
    bool lends_next;
    char last_error[FAILURE_MESSAGE_BYTES];
};

static struct conn *conns[CONNS_MAX];
static size_t conns_count;

static void lose(struct conn *conn, const struct failure *failure);

// ---- packets

static struct packet *add_packet(struct conn *conn, enum packet_kind kind)
{
    struct packet *packet = memory_zeroed(1, sizeof *packet);
    packet->kind = kind;
    struct packet **tail = &conn->inbound;
    while (*tail != NULL) {
        tail = &(*tail)->next;
    }
    *tail = packet;
    return packet;
}

static void free_packet(struct packet *packet)
{
    PQclear(packet->result);
    free(packet);
}

void wire_accepted(struct conn *conn)
{
    add_packet(conn, PACKET_ACCEPTED);
}

void wire_result(struct conn *conn, size_t index, PGresult *result)
{
    struct packet *packet = add_packet(conn, PACKET_RESULT);
    packet->index = index;
    packet->result = result;
}

void wire_done(struct conn *conn, const struct failure *failure)
{
    struct packet *packet = add_packet(conn, PACKET_DONE);
    packet->failed = failure != NULL;
    if (failure != NULL) {
        packet->failure = *failure;
    }
}

void wire_notify(struct conn *conn, const char *channel, const char *payload)
{
    struct packet *packet = add_packet(conn, PACKET_NOTIFY);
    snprintf(packet->note.channel, sizeof packet->note.channel, "%s", channel);
    snprintf(packet->note.payload, sizeof packet->note.payload, "%s", payload);
}

void wire_closed(struct conn *conn, const char *sqlstate, const char *words)
{
    conn->session = NULL;
    struct packet *packet = add_packet(conn, PACKET_CLOSED);
    failure_note(&packet->failure, ERROR_UNAVAILABLE, "%s", words);
    snprintf(packet->failure.sqlstate, sizeof packet->failure.sqlstate, "%s", sqlstate);
}

void wire_free_unit(struct sent_unit *unit)
{
    for (size_t i = 0; i < unit->count; i++) {
        free(unit->queries[i].sql);
        for (int j = 0; j < unit->queries[i].params_count; j++) {
            free((void *)(uintptr_t)unit->queries[i].params[j].at);
        }
    }
    free(unit->queries);
    free(unit);
}

// ---- connecting

static void arm(struct conn *conn, int64_t delay_us)
{
    struct timeval delay = {
        .tv_sec = delay_us / CLOCK_US_PER_S,
        .tv_usec = delay_us % CLOCK_US_PER_S,
    };
    event_add(conn->timer, &delay);
}

static void connect_now(struct conn *conn)
{
    conn->state = CONN_CONNECTING;
    conn->session = server_accept(conn);
    if (conn->session != NULL) {
        wire_accepted(conn);
        arm(conn, conn->options.connect_timeout_us);
        return;
    }
    struct failure failure = {0};
    failure_note(&failure, ERROR_UNAVAILABLE, "connection refused");
    lose(conn, &failure);
}

static void on_timer(evutil_socket_t fd, short events, void *context)
{
    (void)fd;
    (void)events;
    struct conn *conn = context;
    if (conn->state == CONN_WAITING) {
        connect_now(conn);
        return;
    }
    CHECK_VALUES(conn->state == CONN_CONNECTING, "%d", (int)conn->state);
    struct failure failure = {0};
    failure_note(&failure, ERROR_UNAVAILABLE, "no answer in time");
    lose(conn, &failure);
}

static void unit_done(struct conn *conn, enum unit_outcome outcome, const struct failure *failure)
{
    struct unit unit = conn->unit;
    conn->unit = (struct unit){0};
    unit.on_done(unit.context, outcome, failure);
}

static void drop(struct conn *conn, const struct failure *failure, enum conn_state next)
{
    event_del(conn->timer);
    if (conn->session != NULL) {
        // The end of what was sent may not have left this machine.
        session_orphan(conn->session, machine_chance(300) ? machine_below(6) : 0);
        conn->session = NULL;
    }
    while (conn->inbound != NULL) {
        struct packet *packet = conn->inbound;
        conn->inbound = packet->next;
        free_packet(packet);
    }
    conn->stuck = false;
    conn->reading = true;
    conn->is_sending = false;
    conn->lent_to = -1;
    conn->lends_next = false;
    conn->state = next;
    if (conn->unit.on_done != NULL) {
        unit_done(conn, UNIT_LOST, failure);
    }
}

static void lose(struct conn *conn, const struct failure *failure)
{
    struct failure reason = *failure;
    if (conn->was_connected && machine_chance(500)) {
        retry_reset(&conn->retry); // it had lived long enough
    }
    snprintf(conn->last_error, sizeof conn->last_error, "%s", reason.message);
    conn->was_connected = false;
    drop(conn, &reason, CONN_WAITING);
    if (conn->state == CONN_WAITING && !event_pending(conn->timer, EV_TIMEOUT, NULL)) {
        arm(conn, retry_next_us(&conn->retry));
        conn->options.on_lost(conn->options.context, &reason);
    }
}

// ---- taking

// libpq hands out the results of what it has read before the notifications among them.
static struct packet *next_packet(struct conn *conn)
{
    struct packet **at = &conn->inbound;
    if ((*at)->kind == PACKET_NOTIFY && machine_chance(500)) {
        struct packet **ahead = at;
        while (*ahead != NULL && (*ahead)->kind == PACKET_NOTIFY) {
            ahead = &(*ahead)->next;
        }
        if (*ahead != NULL && (*ahead)->kind != PACKET_CLOSED) {
            at = ahead;
        }
    }
    struct packet *packet = *at;
    *at = packet->next;
    return packet;
}

static void take_accepted(struct conn *conn)
{
    event_del(conn->timer);
    conn->state = CONN_IDLE;
    conn->was_connected = true;
    conn->last_error[0] = '\0';
    conn->options.on_connected(conn->options.context);
}

static void take_done(struct conn *conn, const struct packet *packet)
{
    conn->state = CONN_IDLE;
    unit_done(conn, packet->failed ? UNIT_REFUSED : UNIT_OK,
              packet->failed ? &packet->failure : NULL);
}

// What libpq hands out of a COPY ends where it likes.
static void take_copied(struct conn *conn, const PGresult *result)
{
    struct unit unit = conn->unit;
    struct buffer bytes = {0};
    result_copy(result, &bytes);
    struct slice all = buffer_slice(&bytes);
    size_t first = all.len / 2;
    unit.on_copied(unit.context, slice_of(all.at, first));
    unit.on_copied(unit.context, slice_of(all.at + first, all.len - first));
    buffer_deinit(&bytes);
}

static void take_sent(struct conn *conn)
{
    if (conn->is_sending) {
        conn->is_sending = false;
        conn->unit.on_sent(conn->unit.context);
    }
}

static void take(struct conn *conn)
{
    struct packet *packet = next_packet(conn);
    if (packet->kind == PACKET_RESULT || packet->kind == PACKET_DONE) {
        take_sent(conn);
    }
    switch (packet->kind) {
    case PACKET_ACCEPTED:
        take_accepted(conn);
        break;
    case PACKET_RESULT:
        if (conn->unit.on_copied != NULL) {
            take_copied(conn, packet->result);
        } else if (conn->unit.on_result != NULL) {
            conn->unit.on_result(conn->unit.context, packet->index, packet->result);
        }
        break;
    case PACKET_DONE:
        take_done(conn, packet);
        break;
    case PACKET_NOTIFY:
        if (conn->options.on_notify != NULL) {
            conn->options.on_notify(conn->options.context, packet->note.channel,
                                    slice_of_string(packet->note.payload));
        }
        break;
    case PACKET_CLOSED:
        lose(conn, &packet->failure);
        break;
    }
    free_packet(packet);
}

static bool has_answer(const struct conn *conn)
{
    return wire_has_packet(conn) &&
           (conn->inbound->kind == PACKET_RESULT || conn->inbound->kind == PACKET_DONE);
}

void wire_take(struct conn *conn)
{
    if (conn->lent_to >= 0) {
        node_takes_lent(conn->lent_to);
    } else {
        take(conn);
    }
}

bool wire_has_packet(const struct conn *conn)
{
    return conn->inbound != NULL && !conn->stuck &&
           (conn->reading || conn->unit.on_done != NULL || conn->inbound->kind == PACKET_CLOSED);
}

// ---- faults

void wire_cut(struct conn *conn)
{
    struct failure failure = {0};
    failure_note(&failure, ERROR_UNAVAILABLE, "the connection broke");
    lose(conn, &failure);
}

void wire_kill(struct conn *conn)
{
    session_kill(conn->session, "57P01", "terminating connection due to administrator command");
}

void wire_stick(struct conn *conn)
{
    conn->stuck = true;
}

bool wire_is_stuck(const struct conn *conn)
{
    return conn->stuck;
}

// ---- what the scheduler sees

size_t wire_conns(struct conn ***out)
{
    *out = conns;
    return conns_count;
}

bool wire_is_connected(const struct conn *conn)
{
    return conn->session != NULL && conn->state != CONN_CONNECTING;
}

const char *wire_name(const struct conn *conn)
{
    return conn->options.name;
}

struct event_base *wire_base(const struct conn *conn)
{
    return conn->options.base;
}

// ---- pg/conn.h

struct conn *conn_create(const struct conn_options *options)
{
    struct conn *conn = memory_zeroed(1, sizeof *conn);
    conn->options = *options;
    conn->reading = true;
    conn->lent_to = -1;
    conn->timer = event_new(options->base, -1, EV_TIMEOUT, on_timer, conn);
    size_t place = 0;
    while (place < conns_count && conns[place] != NULL) {
        place++;
    }
    CHECK(place < CONNS_MAX);
    conns_count = place == conns_count ? conns_count + 1 : conns_count;
    conns[place] = conn;
    return conn;
}

void conn_destroy(struct conn *conn)
{
    conn_close(conn);
    for (size_t i = 0; i < conns_count; i++) {
        conns[i] = conns[i] == conn ? NULL : conns[i];
    }
    event_free(conn->timer);
    free(conn);
}

void conn_open(struct conn *conn)
{
    if (conn->state == CONN_CLOSED || conn->state == CONN_WAITING) {
        conn->state = CONN_WAITING;
        arm(conn, 0);
    }
}

void conn_close(struct conn *conn)
{
    struct failure failure = {0};
    failure_note(&failure, ERROR_UNAVAILABLE, "the connection was closed");
    conn->was_connected = false;
    drop(conn, &failure, CONN_CLOSED);
}

void conn_fail(struct conn *conn, const char *reason)
{
    bool is_open = conn->state != CONN_CLOSED && conn->state != CONN_WAITING;
    if (is_open) {
        struct failure failure = {0};
        failure_note(&failure, ERROR_UNAVAILABLE, "%s", reason);
        lose(conn, &failure);
    }
}

void conn_fail_quietly(struct conn *conn, const char *reason)
{
    conn_fail(conn, reason);
}

enum conn_state conn_state(const struct conn *conn)
{
    return conn->state;
}

bool conn_is_idle(const struct conn *conn)
{
    return conn->state == CONN_IDLE;
}

bool conn_is_sending(const struct conn *conn)
{
    return conn->is_sending;
}

int conn_server_version(const struct conn *conn)
{
    (void)conn;
    return SERVER_VERSION;
}

int conn_backend_pid(const struct conn *conn)
{
    return conn->session == NULL ? 0 : conn->session->number + 1;
}

const char *conn_last_error(const struct conn *conn)
{
    return conn->last_error;
}

void conn_set_reading(struct conn *conn, bool reading)
{
    conn->reading = reading;
}

bool conn_lend(struct conn *conn, int epoll)
{
    CHECK(conn->state == CONN_IDLE);
    conn->lent_to = epoll;
    conn->lends_next = true;
    return true;
}

bool conn_is_lent_to(const struct conn *conn, int epoll)
{
    return conn->lent_to == epoll;
}

void conn_take_back(struct conn *conn)
{
    conn->lent_to = -1;
}

// What is not an answer is left to the loop; so is an answer of which only some has come.
void conn_read_lent(struct conn *conn)
{
    while (has_answer(conn)) {
        take(conn);
        if (machine_chance(300)) {
            break;
        }
    }
    if (conn->state == CONN_BUSY || wire_has_packet(conn)) {
        conn_take_back(conn);
    }
}

static struct slice copied(const char *bytes, size_t len)
{
    char *copy = memory_zeroed(len + 1, 1);
    memcpy(copy, bytes, len);
    return slice_of(copy, len);
}

static void copy_query(struct sent_query *sent, const struct query *query)
{
    CHECK(query->params_count <= QUERY_PARAMS_MAX);
    sent->sql = strdup(query->sql);
    sent->is_named = query->name != NULL;
    sent->params_count = query->params_count;
    for (int i = 0; i < query->params_count; i++) {
        bool binary = query->formats != NULL && query->formats[i] == 1;
        size_t len = binary ? (size_t)query->lengths[i] : strlen(query->values[i]);
        sent->params[i] = copied(query->values[i], len);
    }
}

void conn_send(struct conn *conn, const struct unit *unit)
{
    CHECK_VALUES(conn->state == CONN_IDLE, "%s is in state %d", conn->options.name,
                 (int)conn->state);
    conn->state = CONN_BUSY;
    conn->lent_to = conn->lends_next ? conn->lent_to : -1;
    conn->lends_next = false;
    conn->unit = *unit;
    conn->unit.queries = NULL;
    conn->is_sending = unit->on_sent != NULL && machine_chance(300);
    if (conn->session == NULL || conn->stuck) {
        return; // into the void; how it ended is on its way
    }
    struct sent_unit *sent = memory_zeroed(1, sizeof *sent);
    sent->count = unit->queries_count;
    sent->arrived = unit->queries_count;
    sent->queries = memory_zeroed(sent->count, sizeof *sent->queries);
    for (size_t i = 0; i < sent->count; i++) {
        copy_query(&sent->queries[i], &unit->queries[i]);
    }
    CHECK(conn->session->unit == NULL);
    conn->session->unit = sent;
    conn->session->query = 0;
    conn->session->progress = 0;
}

void conn_run_script(struct conn *conn, const char *script, const struct unit *unit)
{
    struct query query = {.sql = script};
    struct unit one = *unit;
    one.queries = &query;
    one.queries_count = 1;
    one.on_result = NULL;
    one.on_copied = NULL;
    conn_send(conn, &one);
}
