// Many clients, slow ones and those that may not: limits, back-pressure, rights (SPEC sections 2
// and 3).

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "system/harness/deadline.h"
#include "system/harness/node.h"
#include "system/harness/process.h"
#include "system/harness/random.h"

static struct node *start(struct scenario *scenario, const char *config)
{
    return node_start(scenario, pg_start(scenario, NULL), &(struct node_options){.config = config});
}

// Lets this process and the daemon it starts have so many descriptors, or as many as it may.
static int raise_descriptors(int wanted)
{
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_max < (rlim_t)wanted && geteuid() == 0) {
        limit.rlim_max = (rlim_t)wanted;
    }
    limit.rlim_cur = limit.rlim_max < (rlim_t)wanted ? limit.rlim_max : (rlim_t)wanted;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0) {
        getrlimit(RLIMIT_NOFILE, &limit);
    }
    return (int)limit.rlim_cur;
}

static void ten_thousand_idle_clients_harm_nobody(struct scenario *scenario)
{
    enum { CLIENTS = 10000, SPARE = 200, REQUESTS = 2000 };
    int count = raise_descriptors(CLIENTS + SPARE) - SPARE;
    if (count < CLIENTS) {
        fprintf(stderr, "only %d clients: the limit of descriptors cannot be raised\n", count);
    }
    struct node *node = start(
        scenario, scenario_text(scenario, "server.max_connections = %d\n", CLIENTS + SPARE / 2));
    struct rpc **clients = scenario_alloc(scenario, (size_t)count * sizeof(struct rpc *));
    for (int i = 0; i < count; i++) {
        clients[i] = node_open(node);
        if (i % 3 == 1) { // half a request
            rpc_send_bytes(clients[i], "\x94\x00\x01\xa3get", 5);
        } else if (i % 3 == 2) {
            rpc_send(clients[i], "ping", "[]");
        }
    }
    node_await_stat_min(node, "server.connections", count + 1);
    for (int i = 0; i < REQUESTS; i++) {
        const char *params = scenario_text(scenario, "[\"k%d\", %d]", i, i);
        assert_rpc(node, "set", params, "{\"seq\": \"*\"}");
        assert_rpc(node, "get", scenario_text(scenario, "[\"k%d\"]", i),
                   scenario_text(scenario, "[%d, \"*\"]", i));
    }
    for (int i = 0; i < count; i++) {
        if (i % 3 == 2) {
            assert_json(rpc_receive(clients[i], NULL), "\"pong\"");
        }
        rpc_close(clients[i]);
    }
    node_await_stat(node, "server.connections", "1");
}

static void clients_beyond_the_limit_are_turned_away(struct scenario *scenario)
{
    enum { LIMIT = 8 };
    struct node *node = start(scenario, "server.max_connections = 8\n");
    struct rpc *clients[LIMIT];
    for (int i = 1; i < LIMIT; i++) {
        clients[i] = node_open(node);
        assert_json(rpc_call(clients[i], "ping", "[]"), "\"pong\"");
    }
    for (int i = 0; i < 20; i++) {
        struct rpc *refused = node_open(node);
        rpc_expect_closed(refused);
        rpc_close(refused);
    }
    if (node_stat_int(node, "server.refused") < 20) {
        scenario_fail("stats do not count who was turned away");
    }
    rpc_close(clients[1]);
    node_await_stat(node, "server.connections", "7");
    struct rpc *welcome = node_open(node);
    assert_json(rpc_call(welcome, "ping", "[]"), "\"pong\"");
}

static int64_t resident_mib(const struct node *node)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/status", (int)node->process->pid);
    FILE *file = fopen(path, "re");
    char line[256];
    long long anonymous_kib = 0;
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        if (sscanf(line, "RssAnon: %lld kB", &anonymous_kib) == 1) {
            break;
        }
    }
    if (file != NULL) {
        fclose(file);
    }
    return anonymous_kib / 1024;
}

// Sends requests until the peer takes no more for a while; how many were sent whole.
static int send_until_full(struct rpc *client, struct slice request, int count_max)
{
    enum { PATIENCE_MS = 500 };
    int sent = 0;
    size_t offset = 0;
    while (sent < count_max) {
        struct pollfd poller = {.fd = rpc_fd(client), .events = POLLOUT};
        if (poll(&poller, 1, PATIENCE_MS) == 0) {
            break;
        }
        ssize_t len = send(rpc_fd(client), request.at + offset, request.len - offset,
                           MSG_DONTWAIT | MSG_NOSIGNAL);
        if (len < 0 && errno != EAGAIN) {
            break; // closed: that is an answer too
        }
        offset += len > 0 ? (size_t)len : 0;
        if (offset == request.len) {
            offset = 0;
            sent++;
        }
    }
    return sent;
}

static void a_client_that_never_reads_is_held_back(struct scenario *scenario)
{
    enum { VALUE_BYTES = 100 * 1024, REQUESTS_MAX = 200000, MEMORY_MIB_MAX = 256 };
    struct node *node = start(scenario, NULL);
    char *text = scenario_alloc(scenario, VALUE_BYTES + 1);
    memset(text, 'x', VALUE_BYTES);
    assert_rpc(node, "set", scenario_text(scenario, "[\"large\", \"%s\"]", text),
               "{\"seq\": \"*\"}");
    struct buffer request = {0};
    json_text_to_msgpack("[0, 1, \"get\", [\"large\"]]", &request);
    struct rpc *slow[3];
    int asked = 0; // by the first of them
    int64_t before_mib = resident_mib(node);
    for (size_t i = 0; i < 3; i++) {
        slow[i] = node_open(node);
        int sent = send_until_full(slow[i], buffer_slice(&request), REQUESTS_MAX);
        fprintf(stderr, "held back after %d requests for %d KiB each\n", sent, VALUE_BYTES / 1024);
        if (sent == REQUESTS_MAX) {
            scenario_fail("a client that reads nothing may ask for ever");
        }
        asked = i == 0 ? sent : asked;
    }
    for (int i = 0; i < 1000; i++) {
        assert_rpc(node, "get", "[\"other\"]", "null");
    }
    int64_t grown_mib = resident_mib(node) - before_mib;
    if (grown_mib > MEMORY_MIB_MAX) {
        scenario_fail("three clients that do not read cost %lld MiB", (long long)grown_mib);
    }
    // One begins to read: what it asked for is all there.
    for (int i = 0; i < asked; i++) {
        assert_json(rpc_receive(slow[0], NULL), scenario_text(scenario, "[\"%s\", \"*\"]", text));
    }
    for (size_t i = 0; i < 3; i++) {
        rpc_close(slow[i]);
    }
    node_await_stat(node, "server.connections", "1");
    buffer_deinit(&request);
}

// A slow consumer of events gets a resync for what it missed, and costs nobody anything.
static void a_watcher_that_never_reads_is_told_to_resync(struct scenario *scenario)
{
    struct node *node = start(scenario, NULL);
    struct rpc *watcher = node_open(node);
    assert_json(rpc_call(watcher, "watch", "[\"\"]"), "true");
    int64_t before_mib = resident_mib(node);
    for (int i = 0; i < 60; i++) {
        struct buffer params = {0};
        buffer_printf(&params, "[[");
        for (int k = 0; k < 2000; k++) {
            buffer_printf(&params, "%s[\"a key of some length, to fill buffers %d:%d\", %d]",
                          k == 0 ? "" : ",", i, k, k);
        }
        buffer_printf(&params, "]]");
        assert_rpc(node, "mset",
                   scenario_text(scenario, "%.*s", SLICE_FORMAT(buffer_slice(&params))),
                   "{\"seq\": \"*\"}");
        buffer_deinit(&params);
    }
    assert_rpc(node, "flush", "[{\"timeout_ms\": 30000}]", "{\"seq\": \"*\"}");
    if (resident_mib(node) - before_mib > 256) {
        scenario_fail("a watcher that does not read costs %lld MiB",
                      (long long)(resident_mib(node) - before_mib));
    }
    const char *event;
    int events = 0;
    do {
        event = rpc_receive_event(watcher);
        events++;
    } while (events < 120000 && !json_matches(event, "[\"resync\", []]"));
    fprintf(stderr, "%d events before a resync or the end\n", events);
}

static void only_allowed_users_may_connect(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    const char *own = scenario_text(scenario, "server.allow_uids = [%d]\n", (int)geteuid());
    const char *others = scenario_text(scenario, "server.allow_uids = [%d]\nserver.threads = 2\n",
                                       (int)geteuid() + 1);
    struct node_options options = {.config = own};
    struct node *node = node_start(scenario, pg, &options);
    assert_rpc(node, "ping", "[]", "\"pong\"");

    options.config = others;
    node_configure(node, pg, &options);
    process_signal(node->process, SIGHUP);
    struct deadline deadline = deadline_in(DEADLINE_MS);
    for (;;) {
        struct rpc *client = node_open(node);
        const char *answer = rpc_try_call(client, "ping", "[]");
        rpc_close(client);
        if (answer == NULL || strstr(answer, "DENIED") != NULL) {
            break;
        }
        if (!deadline_again(&deadline)) {
            scenario_fail("a user that is not allowed is answered %s", answer);
        }
    }
    node_await_log(node, "settings wait for a restart");
    assert_true(node_log_has(node, "keys=\"server.threads\""));
    // A file with a mistake changes nothing.
    options.config = scenario_text(scenario, "%sserver.no_such_key = 1\n", own);
    node_configure(node, pg, &options);
    process_signal(node->process, SIGHUP);
    node_await_log(node, "no_such_key");
    struct rpc *client = node_open(node);
    const char *answer = rpc_try_call(client, "ping", "[]");
    if (answer != NULL && strstr(answer, "DENIED") == NULL) {
        scenario_fail("an invalid file was taken over: %s", answer);
    }
    rpc_close(client);

    options.config = own;
    node_configure(node, pg, &options);
    process_signal(node->process, SIGHUP);
    deadline = deadline_in(DEADLINE_MS);
    for (;;) {
        client = node_open(node);
        answer = rpc_try_call(client, "ping", "[]");
        rpc_close(client);
        if (answer != NULL && json_matches(answer, "\"pong\"")) {
            break;
        }
        if (!deadline_again(&deadline)) {
            scenario_fail("SIGHUP does not let the user in again");
        }
    }
}

static void the_read_only_socket_denies_writes(struct scenario *scenario)
{
    static const char *const WRITES[][2] = {
        {"set", "[\"k\", 2]"},   {"mset", "[[[\"k\", 2]]]"}, {"delete", "[\"k\"]"},
        {"incr", "[\"k\", 1]"},  {"merge", "[\"k\", {}]"},   {"touch", "[\"k\", 1000]"},
        {"delete", "[[\"k\"]]"},
    };
    const char *path = scenario_path(scenario, "read-only.sock");
    struct node *node =
        start(scenario, scenario_text(scenario, "server.read_only_socket = \"%s\"\n", path));
    assert_rpc(node, "set", "[\"k\", 1]", "{\"seq\": \"*\"}");
    struct rpc *reader = rpc_open(scenario, path);
    assert_json(json_at(scenario, rpc_call(reader, "hello", "[\"reader\"]"), "read_only"), "true");
    for (size_t i = 0; i < sizeof WRITES / sizeof WRITES[0]; i++) {
        const char *answer = rpc_call(reader, WRITES[i][0], WRITES[i][1]);
        const char *code = json_at(scenario, answer, "error.code");
        if (code == NULL || !json_matches(code, "\"DENIED\"")) {
            scenario_fail("%s through the read-only socket: %s", WRITES[i][0], answer);
        }
    }
    assert_json(rpc_call(reader, "get", "[\"k\"]"), "[1, \"*\"]");
    assert_json(rpc_call(reader, "sync", "[]"), "true");
    assert_json(rpc_call(reader, "watch", "[\"k\"]"), "true");
    assert_rpc(node, "set", "[\"k\", 3]", "{\"seq\": \"*\"}");
    assert_json(rpc_receive_event(reader), "[\"changed\", [\"k\", \"*\", \"set\"]]");
}

static void an_idle_client_is_disconnected_where_asked(struct scenario *scenario)
{
    struct node *node = start(scenario, "server.idle_timeout = \"300ms\"\n");
    struct rpc *idle = node_open(node);
    assert_json(rpc_call(idle, "ping", "[]"), "\"pong\"");
    rpc_expect_closed(idle);
    struct rpc *watcher = node_open(node);
    assert_json(rpc_call(watcher, "ping", "[]"), "\"pong\"");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCENARIO(clients_beyond_the_limit_are_turned_away),
        SCENARIO(a_client_that_never_reads_is_held_back),
        SCENARIO(a_watcher_that_never_reads_is_told_to_resync),
        SCENARIO(only_allowed_users_may_connect),
        SCENARIO(the_read_only_socket_denies_writes),
        SCENARIO(an_idle_client_is_disconnected_where_asked),
        SCENARIO(ten_thousand_idle_clients_harm_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
