// bench_notify: how long after a COMMIT somebody else's cache knows.
//
//   bench_notify listen URL KEYS COUNT INTERVAL-US CHANNEL    a bare LISTEN has the notification
//   bench_notify watch URL KEYS COUNT INTERVAL-US SOCKET      the node's cache has the change: its
//                                    watchers are told after the cache's commit, so what the
//                                    socket adds is counted against pgnear
//
// An UPDATE of one row in a transaction; the clock starts right before the COMMIT is sent, and
// COUNT such commits follow each other at INTERVAL-US at least. The listener is a thread that
// blocks, as a real one would.
#include <libpq-fe.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <pgnear.h>

#include "load/hdr.h"
#include "load/keys.h"

enum { PATIENCE_MS = 10000 };

struct listener {
    const char *where; // channel or socket
    PGconn *conn;
    pgnear *node;
    char expected[KEY_TEXT_BYTES + 1];
    _Atomic uint64_t committing_ns; // 0: nothing is expected
    uint64_t heard_ns;
    pthread_mutex_t mutex;
    pthread_cond_t heard;
    bool is_heard;
};

static _Noreturn void give_up(const char *what)
{
    fprintf(stderr, "bench_notify: %s\n", what);
    exit(1);
}

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

static void run_sql(PGconn *conn, const char *sql)
{
    PGresult *result = PQexec(conn, sql);
    if (PQresultStatus(result) != PGRES_COMMAND_OK) {
        give_up(PQerrorMessage(conn));
    }
    PQclear(result);
}

static PGconn *open_connection(const char *url)
{
    PGconn *conn = PQconnectdb(url);
    if (PQstatus(conn) != CONNECTION_OK) {
        give_up(PQerrorMessage(conn));
    }
    return conn;
}

static void note_heard(struct listener *listener)
{
    uint64_t at_ns = now_ns();
    pthread_mutex_lock(&listener->mutex);
    listener->heard_ns = at_ns;
    listener->is_heard = true;
    pthread_cond_signal(&listener->heard);
    pthread_mutex_unlock(&listener->mutex);
}

static bool is_expected(const struct listener *listener, const char *text, size_t len)
{
    return atomic_load(&listener->committing_ns) != 0 &&
           memmem(text, len, listener->expected, KEY_TEXT_BYTES) != NULL;
}

static void hear_postgres(struct listener *listener)
{
    struct pollfd wait = {.fd = PQsocket(listener->conn), .events = POLLIN};
    poll(&wait, 1, -1);
    PQconsumeInput(listener->conn);
    PGnotify *notify;
    while ((notify = PQnotifies(listener->conn)) != NULL) {
        if (is_expected(listener, notify->extra, strlen(notify->extra))) {
            note_heard(listener);
        }
        PQfreemem(notify);
    }
}

static void hear_node(struct listener *listener)
{
    pgnear_event event;
    pgnear_error error;
    if (pgnear_next_event(listener->node, -1, &event, &error) != PGNEAR_OK) {
        give_up(error.message);
    }
    if (event.kind == PGNEAR_EVENT_RESYNC || is_expected(listener, event.key.at, event.key.len)) {
        note_heard(listener);
    }
}

static void *listen_on(void *context)
{
    struct listener *listener = context;
    for (;;) {
        if (listener->conn != NULL) {
            hear_postgres(listener);
        } else {
            hear_node(listener);
        }
    }
    return NULL;
}

static void open_listener(struct listener *listener, const char *mode, const char *url)
{
    char sql[256];
    pgnear_error error;
    pthread_t thread;
    pthread_mutex_init(&listener->mutex, NULL);
    pthread_cond_init(&listener->heard, NULL);
    if (strcmp(mode, "listen") == 0) {
        listener->conn = open_connection(url);
        snprintf(sql, sizeof sql, "LISTEN \"%s\"", listener->where);
        run_sql(listener->conn, sql);
    } else if (pgnear_open(listener->where, NULL, &listener->node, &error) != PGNEAR_OK ||
               pgnear_watch(listener->node, pgnear_text(""), NULL, &error) != PGNEAR_OK) {
        give_up(error.message);
    }
    if (pthread_create(&thread, NULL, listen_on, listener) != 0) {
        give_up("pthread_create");
    }
}

// One commit. The latency, from before the COMMIT to the listener's knowing.
static uint64_t commit_one(struct listener *listener, PGconn *conn, uint64_t number)
{
    char sql[256];
    struct timespec until;
    key_format(number, listener->expected);
    run_sql(conn, "BEGIN");
    snprintf(sql, sizeof sql, "UPDATE kv_store SET value = value WHERE key = '%s'",
             listener->expected);
    run_sql(conn, sql);
    listener->is_heard = false;
    uint64_t began_ns = now_ns();
    atomic_store(&listener->committing_ns, began_ns);
    run_sql(conn, "COMMIT");
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += PATIENCE_MS / 1000;
    pthread_mutex_lock(&listener->mutex);
    while (!listener->is_heard) {
        if (pthread_cond_timedwait(&listener->heard, &listener->mutex, &until) != 0) {
            give_up("a change was never heard of");
        }
    }
    uint64_t heard_ns = listener->heard_ns;
    pthread_mutex_unlock(&listener->mutex);
    atomic_store(&listener->committing_ns, 0);
    return heard_ns - began_ns;
}

int main(int argc, char **argv)
{
    static struct listener listener;
    static struct hdr latency;
    if (argc != 7) {
        give_up("usage: bench_notify listen|watch URL KEYS COUNT INTERVAL-US CHANNEL|SOCKET");
    }
    struct key_chooser keys;
    uint64_t count = strtoull(argv[4], NULL, 10);
    unsigned interval_us = (unsigned)strtoul(argv[5], NULL, 10);
    listener.where = argv[6];
    keys_init(&keys, DISTRIBUTION_UNIFORM, strtoull(argv[3], NULL, 10), 0, 1);
    open_listener(&listener, argv[1], argv[2]);
    PGconn *conn = open_connection(argv[2]);
    for (uint64_t i = 0; i < count; i++) {
        hdr_record(&latency, commit_one(&listener, conn, keys_next(&keys)));
        usleep(interval_us);
    }
    printf("{\"operations\": %llu, \"misses\": 0, \"hits\": 0, \"per_second\": 0, "
           "\"latency_ns\": ",
           (unsigned long long)count);
    hdr_print(&latency, stdout);
    printf("}\n");
    return 0;
}
