// PostgreSQL over TLS, where what has come is not what the socket still has: libpq takes a record
// of up to 16 KiB off the socket, and may leave a part of it with OpenSSL. Nobody is woken for
// that. The server loops ask by themselves meanwhile (pg/guest.h). Skipped where a program is
// missing.
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "system/harness/deadline.h"
#include "system/harness/node.h"
#include "system/harness/workers.h"

#define OPENSSL   "/usr/bin/openssl"
#define PGBOUNCER "/usr/sbin/pgbouncer"

enum { KEYS = 64, STEP_BYTES = 700, LOOPS = 3, CLIENTS = 6, ROUNDS = 4, WRITE_BYTES = 60000 };

struct certificate {
    const char *path;
    const char *key_path;
};

static struct certificate make_certificate(struct scenario *scenario)
{
    if (access(OPENSSL, X_OK) != 0) {
        skip();
    }
    struct certificate certificate = {
        .path = scenario_path(scenario, "certificate"),
        .key_path = scenario_path(scenario, "key"),
    };
    process_run(scenario,
                (const char *[]){OPENSSL, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days",
                                 "2", "-subj", "/CN=pgnear", "-out", certificate.path, "-keyout",
                                 certificate.key_path, NULL},
                NULL);
    uid_t uid;
    gid_t gid;
    process_user(&uid, &gid);
    assert_int_equal(chown(certificate.path, uid, gid), 0);
    assert_int_equal(chown(certificate.key_path, uid, gid), 0);
    assert_int_equal(chmod(certificate.key_path, 0600), 0);
    return certificate;
}

static struct pg *start_server(struct scenario *scenario, const struct certificate *certificate)
{
    const char *const settings[] = {
        "ssl=on",
        scenario_text(scenario, "ssl_cert_file=%s", certificate->path),
        scenario_text(scenario, "ssl_key_file=%s", certificate->key_path),
        NULL,
    };
    return pg_start(scenario, &(struct pg_options){.tcp = true, .settings = settings});
}

// Its records are as large as TLS has them, where those of PostgreSQL before 17 are of 8 KiB.
static const char *start_pooler(struct scenario *scenario, const struct pg *pg,
                                const struct certificate *certificate)
{
    if (access(PGBOUNCER, X_OK) != 0) {
        skip();
    }
    const char *path = scenario_path(scenario, "pgbouncer.ini");
    int port = pg_free_port();
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    fprintf(file,
            "[databases]\npostgres = host=%s port=%d dbname=postgres user=postgres\n"
            "[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = %d\nunix_socket_dir =\n"
            "auth_type = any\npool_mode = session\npkt_buf = 65536\n"
            "ignore_startup_parameters = extra_float_digits,options\n"
            "client_tls_sslmode = require\nclient_tls_cert_file = %s\nclient_tls_key_file = %s\n",
            pg->directory, pg->port, port, certificate->path, certificate->key_path);
    assert_int_equal(fclose(file), 0);
    process_start(process_create(scenario, "pgbouncer"),
                  (const char *const[]){PGBOUNCER, path, NULL},
                  &(struct process_options){.unprivileged = true});
    const char *url = scenario_text(
        scenario, "postgresql://postgres@127.0.0.1:%d/postgres?sslmode=require", port);
    struct deadline deadline = deadline_in(DEADLINE_MS);
    while (PQping(url) != PQPING_OK) {
        if (!deadline_again(&deadline)) {
            scenario_fail("pgbouncer does not start");
        }
    }
    return url;
}

static struct node *start_node(struct scenario *scenario, struct pg *pg, const char *url)
{
    const char *config = scenario_text(scenario,
                                       "postgres.url = \"%s\"\nserver.threads = %d\n"
                                       "cache.audit_rate = 0\ncache.preload = true\n",
                                       url, LOOPS);
    struct node *node = node_start(scenario, NULL, &(struct node_options){.config = config});
    pg_exec(pg,
            "INSERT INTO kv_store (key, value)"
            " SELECT 'k' || lpad(i::text, 2, '0'), to_jsonb(repeat('x', i * %d))"
            " FROM generate_series(0, %d) i",
            STEP_BYTES, KEYS - 1);
    assert_rpc(node, "sync", "[]", "true");
    return node;
}

static void assert_value(const char *answer, int key)
{
    size_t len = strspn(answer + 2, "x");
    if (strncmp(answer, "[\"", 2) != 0 || len != (size_t)key * STEP_BYTES) {
        scenario_fail("k%02d is answered %.100s", key, answer);
    }
}

static void get_each(struct node *node, struct rpc *client)
{
    for (int key = 0; key < KEYS; key++) {
        assert_value(rpc_call(client, "get", scenario_text(node->scenario, "[\"k%02d\"]", key)),
                     key);
    }
}

// Several keys at once, from each place on: the answer ends somewhere else in a record each time.
static void mget_each(struct rpc *client, int count)
{
    for (int first = 0; first + count <= KEYS; first++) {
        char params[KEYS * 8];
        size_t len = (size_t)snprintf(params, sizeof params, "[[");
        size_t bytes = 0;
        for (int key = first; key < first + count; key++) {
            len += (size_t)snprintf(params + len, sizeof params - len, "%s\"k%02d\"",
                                    key > first ? "," : "", key);
            bytes += (size_t)key * STEP_BYTES;
        }
        snprintf(params + len, sizeof params - len, "], {\"max_age_ms\": 0}]");
        const char *answer = rpc_call(client, "mget", params);
        if (strncmp(answer, "[[", 2) != 0 || strlen(answer) < bytes) {
            scenario_fail("%s is answered %.100s", params, answer);
        }
    }
}

static void read_on(void *context, int index)
{
    struct node *node = context;
    struct rpc *client = node_open(node);
    for (int round = 0; round < ROUNDS; round++) {
        rpc_call(client, "invalidate", "[]");
        get_each(node, client);
        mget_each(client, 2 + index);
    }
    rpc_close(client);
}

// More than the socket takes at once, in one batch.
static void write_each(struct node *node, struct pg *pg)
{
    struct scenario *scenario = node->scenario;
    char value[WRITE_BYTES + 1];
    memset(value, 'y', WRITE_BYTES);
    value[WRITE_BYTES] = '\0';
    uint32_t msgids[KEYS];
    for (int key = 0; key < KEYS; key++) {
        msgids[key] = rpc_send(node_rpc(node), "set",
                               scenario_text(scenario, "[\"w%02d\", \"%s\"]", key, value));
    }
    for (int key = 0; key < KEYS; key++) {
        assert_json(rpc_await(node_rpc(node), msgids[key]), "{\"seq\": \"*\"}");
    }
    assert_rpc(node, "flush", "[]", "\"*\"");
    assert_pg_value(pg, scenario_text(scenario, "%d", KEYS),
                    "SELECT count(*) FROM kv_store WHERE value = to_jsonb(repeat('y', %d))",
                    WRITE_BYTES);
}

static void preload_all(struct node *node)
{
    assert_int_equal(node_stop(node), 0);
    node_start_again(node);
    node_await_stat_min(node, "cache.preloaded", (int64_t)KEYS * 2);
}

static void read_all(struct node *node)
{
    rpc(node, "invalidate", "[]");
    get_each(node, node_rpc(node));
    mget_each(node_rpc(node), 3);
    workers_run(node->scenario, CLIENTS, read_on, node);
    assert_true(node_stat_int(node, "postgres.loop_fetches") > 0);
    assert_true(strlen(rpc(node, "scan", "[{\"limit\": 1000}]")) > KEYS * STEP_BYTES);
}

static void every_size_is_read_over_tls(struct scenario *scenario)
{
    struct certificate certificate = make_certificate(scenario);
    struct pg *pg = start_server(scenario, &certificate);
    struct node *node =
        start_node(scenario, pg, scenario_text(scenario, "%s?sslmode=require", pg_tcp_url(pg)));
    read_all(node);
    write_each(node, pg);
    preload_all(node);
    assert_pg_value(pg, "0",
                    "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)"
                    " WHERE application_name = 'pgnear' AND NOT ssl");
}

static void every_size_is_read_in_large_records(struct scenario *scenario)
{
    struct certificate certificate = make_certificate(scenario);
    struct pg *pg = pg_start(scenario, NULL);
    struct node *node = start_node(scenario, pg, start_pooler(scenario, pg, &certificate));
    read_all(node);
    write_each(node, pg);
    preload_all(node);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCENARIO(every_size_is_read_over_tls),
        SCENARIO(every_size_is_read_in_large_records),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
