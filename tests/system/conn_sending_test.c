// What a connection says of a unit that the server does not take at once.
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"
#include "pg/conn.h"
#include "system/harness/deadline.h"
#include "system/harness/pg.h"

enum { BATCH_BYTES = 300 << 10, MUCH_BYTES = 8 << 20 };

struct rig {
    struct event_base *base;
    struct conn *conn;
    struct event *deadline;
    struct pg *pg;
    size_t bytes;       // of the unit
    int sent_bytes_max; // of the connection
    bool was_sending;   // when conn_send returned, with a backend that stands still
    size_t sent_count;
    bool is_done;
};

static void on_sent(void *context)
{
    struct rig *rig = context;
    assert_false(rig->is_done || conn_is_sending(rig->conn));
    rig->sent_count++;
}

static void on_done(void *context, enum unit_outcome outcome, const struct failure *failure)
{
    (void)failure;
    struct rig *rig = context;
    assert_int_equal(outcome, UNIT_OK);
    rig->is_done = true;
    event_base_loopbreak(rig->base);
}

static void on_connected(void *context)
{
    struct rig *rig = context;
    char *text = memory_zeroed(1, rig->bytes + 1);
    memset(text, 'x', rig->bytes);
    struct query query = {
        .sql = "SELECT length($1::text)",
        .values = (const char *const[]){text},
        .params_count = 1,
    };
    struct unit unit = {.context = rig, .on_sent = on_sent, .on_done = on_done};
    int backend = conn_backend_pid(rig->conn);
    pg_hold(rig->pg, backend);
    conn_send_one(rig->conn, &query, &unit);
    rig->was_sending = conn_is_sending(rig->conn);
    pg_release(rig->pg, backend);
    free(text);
}

static void on_lost(void *context, const struct failure *failure)
{
    (void)context;
    fail_msg("lost: %s", failure->message);
}

static void on_deadline(evutil_socket_t fd, short events, void *context)
{
    (void)fd;
    (void)events;
    event_base_loopbreak(((struct rig *)context)->base);
}

static void run(struct rig *rig)
{
    rig->base = event_base_new();
    rig->conn = conn_create(&(struct conn_options){
        .base = rig->base,
        .name = "test",
        .conninfo = rig->pg->url,
        .connect_timeout_us = 3 * CLOCK_US_PER_S,
        .sent_bytes_max = rig->sent_bytes_max,
        .context = rig,
        .on_connected = on_connected,
        .on_lost = on_lost,
    });
    rig->deadline = evtimer_new(rig->base, on_deadline, rig);
    evtimer_add(rig->deadline, &(struct timeval){.tv_sec = DEADLINE_MS / 1000});
    conn_open(rig->conn);
    event_base_dispatch(rig->base);
    assert_true(rig->is_done);
    conn_destroy(rig->conn);
    event_free(rig->deadline);
    event_base_free(rig->base);
}

static void the_end_of_a_large_units_sending_is_told_once(struct scenario *scenario)
{
    struct rig rig = {.pg = pg_start(scenario, NULL), .bytes = MUCH_BYTES};
    run(&rig);
    assert_true(rig.was_sending);
    assert_int_equal(rig.sent_count, 1);
}

static void a_batch_is_sent_without_the_servers_doing(struct scenario *scenario)
{
    struct rig rig = {
        .pg = pg_start(scenario, NULL),
        .bytes = BATCH_BYTES,
        .sent_bytes_max = 512 << 10,
    };
    run(&rig);
    assert_false(rig.was_sending);
    assert_int_equal(rig.sent_count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCENARIO(the_end_of_a_large_units_sending_is_told_once),
        SCENARIO(a_batch_is_sent_without_the_servers_doing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
