// bench_postgres: what an application would do without pgnear, as fast as libpq lets it.
//
//   bench_postgres select URL KEYS VALUE-BYTES SECONDS SEED [FIRST]   prepared SELECT, one after
//                        another; with FIRST not at random but from that key on
//   bench_postgres upsert URL KEYS VALUE-BYTES SECONDS SEED CONNECTIONS   prepared upserts of one
//                        row, one in flight on each connection
//   bench_postgres ranges URL KEYS VALUE-BYTES SECONDS SEED CONNECTIONS   prepared SELECTs of 50
//                        rows in order of keys, one in flight on each connection
//   bench_postgres unnest URL KEYS VALUE-BYTES SECONDS SEED ROWS FIRST    upserts of ROWS rows
//                        by unnest of binary arrays, KEYS rows in all from FIRST on
//   bench_postgres copy URL        COPY of the table, in binary, to nowhere
#include <libpq-fe.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/buffer.h"
#include "base/check.h"
#include "base/memory.h"
#include "load/hdr.h"
#include "load/keys.h"

enum { CONNECTIONS_MAX = 128, OID_TEXT = 25, OID_JSONB = 3802 };
enum { JSONB_VERSION = 1 };

static const char SELECT[] = "SELECT value, version FROM kv_store WHERE key = $1";
static const char UPSERT[] = "INSERT INTO kv_store (key, value) VALUES ($1, $2) "
                             "ON CONFLICT (key) DO UPDATE SET value = EXCLUDED.value";
static const char RANGE[] = "SELECT key, value, version FROM kv_store WHERE key > $1 "
                            "ORDER BY key LIMIT 50";
static const char UNNEST[] = "INSERT INTO kv_store (key, value) "
                             "SELECT * FROM unnest($1::text[], $2::jsonb[]) "
                             "ON CONFLICT (key) DO UPDATE SET value = EXCLUDED.value";

struct job {
    const char *url;
    struct key_chooser keys;
    size_t value_bytes;
    double seconds;
    const char *statement; // UPSERT or RANGE, where many connections have one in flight each
    uint64_t operations;
    uint64_t misses;
    double spent_s;
    struct hdr latency;
};

static _Noreturn void give_up(const char *what)
{
    fprintf(stderr, "bench_postgres: %s\n", what);
    exit(1);
}

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

static void expect(PGconn *conn, PGresult *result, ExecStatusType wanted)
{
    if (PQresultStatus(result) != wanted) {
        give_up(PQerrorMessage(conn));
    }
}

static PGconn *open_connection(const char *url, const char *prepared)
{
    PGconn *conn = PQconnectdb(url);
    if (PQstatus(conn) != CONNECTION_OK) {
        give_up(PQerrorMessage(conn));
    }
    if (prepared != NULL) {
        PGresult *result = PQprepare(conn, "s", prepared, 0, NULL);
        expect(conn, result, PGRES_COMMAND_OK);
        PQclear(result);
    }
    return conn;
}

// The JSON text whose MessagePack is value_format's.
static size_t json_format(uint64_t number, char *out, size_t value_bytes)
{
    size_t text_bytes = value_bytes - (value_bytes - 2 <= UINT8_MAX ? 2 : 3);
    out[0] = '"';
    key_format(number, out + 1);
    memset(out + 1 + KEY_TEXT_BYTES, 'x', text_bytes - KEY_TEXT_BYTES);
    out[1 + text_bytes] = '"';
    out[2 + text_bytes] = '\0';
    return text_bytes + 2;
}

// ---- select

static void run_select(struct job *job)
{
    PGconn *conn = open_connection(job->url, SELECT);
    uint64_t began_ns = now_ns();
    uint64_t ends_ns = began_ns + (uint64_t)(job->seconds * 1e9);
    uint64_t at_ns = began_ns;
    while (at_ns < ends_ns) {
        char key[KEY_TEXT_BYTES + 1] = "";
        key_format(keys_next(&job->keys), key);
        const char *values[] = {key};
        PGresult *result = PQexecPrepared(conn, "s", 1, values, NULL, NULL, 1);
        expect(conn, result, PGRES_TUPLES_OK);
        job->misses += PQntuples(result) != 1;
        PQclear(result);
        uint64_t after_ns = now_ns();
        hdr_record(&job->latency, after_ns - at_ns);
        at_ns = after_ns;
        job->operations++;
    }
    job->spent_s = (double)(at_ns - began_ns) / 1e9;
    PQfinish(conn);
}

// ---- upsert, ranges

static void send_one(struct job *job, PGconn *conn, char *json, uint64_t *sent_ns)
{
    char key[KEY_TEXT_BYTES + 1] = "";
    uint64_t number = keys_next(&job->keys);
    key_format(number, key);
    json_format(number, json, job->value_bytes);
    const char *values[] = {key, json};
    bool is_range = job->statement == RANGE;
    *sent_ns = now_ns();
    if (PQsendQueryPrepared(conn, "s", is_range ? 1 : 2, values, NULL, NULL, is_range) != 1) {
        give_up(PQerrorMessage(conn));
    }
}

// True where the statement in flight is done.
static bool take_one(const struct job *job, PGconn *conn)
{
    if (PQconsumeInput(conn) != 1) {
        give_up(PQerrorMessage(conn));
    }
    bool done = false;
    while (PQisBusy(conn) == 0) {
        PGresult *result = PQgetResult(conn);
        if (result == NULL) {
            return done;
        }
        expect(conn, result, job->statement == RANGE ? PGRES_TUPLES_OK : PGRES_COMMAND_OK);
        done = true;
        PQclear(result);
    }
    return false;
}

static void run_on_many(struct job *job, unsigned count)
{
    if (count == 0 || count > CONNECTIONS_MAX) {
        give_up("number of connections");
    }
    PGconn *conns[CONNECTIONS_MAX];
    struct pollfd polls[CONNECTIONS_MAX];
    uint64_t sent_ns[CONNECTIONS_MAX];
    char *json = memory_zeroed(1, job->value_bytes + 16);
    for (unsigned i = 0; i < count; i++) {
        conns[i] = open_connection(job->url, job->statement);
        polls[i] = (struct pollfd){.fd = PQsocket(conns[i]), .events = POLLIN};
    }
    uint64_t began_ns = now_ns();
    uint64_t ends_ns = began_ns + (uint64_t)(job->seconds * 1e9);
    unsigned busy = count;
    for (unsigned i = 0; i < count; i++) {
        send_one(job, conns[i], json, &sent_ns[i]);
    }
    while (busy > 0) {
        poll(polls, count, -1);
        for (unsigned i = 0; i < count; i++) {
            if ((polls[i].revents & POLLIN) == 0 || !take_one(job, conns[i])) {
                continue;
            }
            uint64_t at_ns = now_ns();
            hdr_record(&job->latency, at_ns - sent_ns[i]);
            job->operations++;
            if (at_ns < ends_ns) {
                send_one(job, conns[i], json, &sent_ns[i]);
            } else {
                busy--;
            }
        }
    }
    job->spent_s = (double)(now_ns() - began_ns) / 1e9;
    for (unsigned i = 0; i < count; i++) {
        PQfinish(conns[i]);
    }
    free(json);
}

// ---- unnest

static void put_int(struct buffer *out, uint32_t number)
{
    uint8_t bytes[] = {(uint8_t)(number >> 24), (uint8_t)(number >> 16), (uint8_t)(number >> 8),
                       (uint8_t)number};
    buffer_append(out, bytes, sizeof bytes);
}

// The head of a binary array of one dimension (PostgreSQL's array_recv).
static void begin_array(struct buffer *out, uint32_t element_oid, uint32_t count)
{
    buffer_clear(out, SIZE_MAX);
    put_int(out, 1);
    put_int(out, 0);
    put_int(out, element_oid);
    put_int(out, count);
    put_int(out, 1);
}

static void fill_arrays(struct job *job, uint32_t rows, struct buffer *keys, struct buffer *values)
{
    char *json = memory_zeroed(1, job->value_bytes + 16);
    begin_array(keys, OID_TEXT, rows);
    begin_array(values, OID_JSONB, rows);
    for (uint32_t i = 0; i < rows; i++) {
        uint64_t number = keys_next(&job->keys);
        char key[KEY_TEXT_BYTES];
        key_format(number, key);
        put_int(keys, KEY_TEXT_BYTES);
        buffer_append(keys, key, KEY_TEXT_BYTES);
        size_t len = json_format(number, json, job->value_bytes);
        put_int(values, (uint32_t)len + 1);
        buffer_append(values, &(uint8_t){JSONB_VERSION}, 1);
        buffer_append(values, json, len);
    }
    free(json);
}

static void run_unnest(struct job *job, uint32_t rows)
{
    PGconn *conn = open_connection(job->url, UNNEST);
    struct buffer keys = {0};
    struct buffer values = {0};
    uint64_t began_ns = now_ns();
    uint64_t ends_ns = began_ns + (uint64_t)(job->seconds * 1e9);
    uint64_t at_ns = began_ns;
    while (at_ns < ends_ns) {
        fill_arrays(job, rows, &keys, &values);
        const char *arrays[] = {(const char *)buffer_slice(&keys).at,
                                (const char *)buffer_slice(&values).at};
        const int lengths[] = {(int)buffer_len(&keys), (int)buffer_len(&values)};
        const int formats[] = {1, 1};
        PGresult *result = PQexecPrepared(conn, "s", 2, arrays, lengths, formats, 0);
        expect(conn, result, PGRES_COMMAND_OK);
        PQclear(result);
        uint64_t after_ns = now_ns();
        hdr_record(&job->latency, after_ns - at_ns);
        at_ns = after_ns;
        job->operations += rows;
        if (job->operations >= job->keys.count) {
            break;
        }
    }
    job->spent_s = (double)(at_ns - began_ns) / 1e9;
    buffer_deinit(&keys);
    buffer_deinit(&values);
    PQfinish(conn);
}

// ---- copy

static void run_copy(struct job *job)
{
    PGconn *conn = open_connection(job->url, NULL);
    uint64_t began_ns = now_ns();
    PGresult *result = PQexec(conn, "COPY kv_store TO STDOUT (FORMAT binary)");
    expect(conn, result, PGRES_COPY_OUT);
    PQclear(result);
    char *row;
    while (PQgetCopyData(conn, &row, 0) > 0) {
        job->operations++;
        PQfreemem(row);
    }
    job->spent_s = (double)(now_ns() - began_ns) / 1e9;
    PQfinish(conn);
}

// ----

static double number_of(const char *text)
{
    char *end;
    double number = strtod(text, &end);
    if (*text == '\0' || *end != '\0') {
        give_up("a number was expected");
    }
    return number;
}

static void take_arguments(struct job *job, char **argv, double first)
{
    job->value_bytes = (size_t)number_of(argv[4]);
    job->seconds = number_of(argv[5]);
    keys_init(&job->keys, first >= 0 ? DISTRIBUTION_SEQUENTIAL : DISTRIBUTION_UNIFORM,
              (uint64_t)number_of(argv[3]), first >= 0 ? (uint64_t)first : 0,
              (uint64_t)number_of(argv[6]));
}

int main(int argc, char **argv)
{
    static struct job job;
    if (argc < 3) {
        give_up("usage: see bench/postgres.c");
    }
    const char *mode = argv[1];
    job.url = argv[2];
    if (strcmp(mode, "copy") == 0) {
        run_copy(&job);
    } else if (strcmp(mode, "select") == 0 && (argc == 7 || argc == 8)) {
        take_arguments(&job, argv, argc == 8 ? number_of(argv[7]) : -1);
        run_select(&job);
    } else if ((strcmp(mode, "upsert") == 0 || strcmp(mode, "ranges") == 0) && argc == 8) {
        take_arguments(&job, argv, -1);
        job.statement = strcmp(mode, "ranges") == 0 ? RANGE : UPSERT;
        run_on_many(&job, (unsigned)number_of(argv[7]));
    } else if (strcmp(mode, "unnest") == 0 && argc == 9) {
        take_arguments(&job, argv, number_of(argv[8]));
        run_unnest(&job, (uint32_t)number_of(argv[7]));
    } else {
        give_up("usage: see bench/postgres.c");
    }
    printf("{\"operations\": %llu, \"seconds\": %.6f, \"per_second\": %.1f, \"hits\": %llu, "
           "\"misses\": %llu, \"errors\": 0, \"wrong\": 0, \"latency_ns\": ",
           (unsigned long long)job.operations, job.spent_s, (double)job.operations / job.spent_s,
           (unsigned long long)(strcmp(mode, "select") == 0 ? job.operations - job.misses : 0),
           (unsigned long long)job.misses);
    hdr_print(&job.latency, stdout);
    printf("}\n");
    return 0;
}
