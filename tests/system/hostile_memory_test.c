// The memory limit is reached in the middle of work. The daemon refuses or ends with a message, and
// the next one finds all that was acknowledged, in memory as well, and applies it exactly once.

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "system/harness/deadline.h"
#include "system/harness/load.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { SANITIZED = 1 };
#else
enum { SANITIZED = 0 };
#endif

enum { ANY_KIND = 0, SIGNALLED = 128, MIB = 1 << 20 };

static int64_t address_space_bytes(const struct node *node)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/statm", (int)node->process->pid);
    FILE *file = fopen(path, "re");
    long long pages = 0;
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%lld", &pages), 1); // NOLINT(cert-err34-c): the kernel's
    fclose(file);
    return (int64_t)pages * 4096;
}

// From now on it gets hardly anything more.
static void limit_memory(const struct node *node, int64_t more_bytes)
{
    struct rlimit limit;
    assert_int_equal(prlimit(node->process->pid, RLIMIT_AS, NULL, &limit), 0);
    limit.rlim_cur = (rlim_t)(address_space_bytes(node) + more_bytes);
    assert_int_equal(prlimit(node->process->pid, RLIMIT_AS, &limit, NULL), 0);
}

// Clients that each send half of a large request, which has to be kept until the rest comes.
static void send_halves(struct node *node, const char *value)
{
    enum { CLIENTS = 64 };
    struct buffer request = {0};
    json_text_to_msgpack(
        scenario_text(node->scenario, "[0, 1, \"set\", [\"half\", \"%s\"]]", value), &request);
    struct slice whole = buffer_slice(&request);
    for (int i = 0; i < CLIENTS && process_is_running(node->process); i++) {
        struct rpc *client = rpc_try_open(node->scenario, node->socket_path);
        if (client != NULL) {
            rpc_try_send_bytes(client, whole.at, whole.len - 1);
        }
    }
    buffer_deinit(&request);
}

static void the_end_of_memory_loses_nothing(struct scenario *scenario)
{
    enum { VALUE_BYTES = 900 * 1024 };
    struct pg *pg = pg_start(scenario, NULL);
    struct node *node = node_start(scenario, pg, NULL);
    char *value = scenario_alloc(scenario, VALUE_BYTES + 1);
    memset(value, 'x', VALUE_BYTES);
    struct load *load = load_start(scenario, pg, node);
    for (int round = 0; round < 2; round++) {
        load_await_acks(load, ANY_KIND, 500);
        const char *key = scenario_text(scenario, "memory%d", round);
        assert_rpc(node, "set", scenario_text(scenario, "[\"%s\", 1, {\"ack\": \"memory\"}]", key),
                   "{\"seq\": \"*\"}");
        limit_memory(node, 8 * MIB);
        send_halves(node, value);
        int status = node_await_exit(node);
        if (status == 0 || (status > SIGNALLED && status != SIGNALLED + SIGABRT)) {
            scenario_fail("without memory the daemon ends with %d", status);
        }
        // The last allocation was ours, or LMDB's.
        if (!node_log_has(node, "out of memory: ") &&
            !node_log_has(node, "event=\"cache failed\"") &&
            !node_log_has(node, "event=\"outbox failed\"")) {
            scenario_fail("it does not say that there is no memory");
        }
        node_start_again(node);
        assert_rpc(node, "flush", "[{\"timeout_ms\": 30000}]", "{\"seq\": \"*\"}");
        assert_pg_value(pg, "1", "SELECT value FROM kv_store WHERE key = '%s'", key);
    }
    load_stop_and_check(load);
}

// Where there is not even room for the map, the start says so.
static void no_room_for_the_map_stops_the_start(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct node *node = node_create(scenario, pg, NULL);
    struct rlimit before;
    assert_int_equal(getrlimit(RLIMIT_AS, &before), 0);
    struct rlimit low = {.rlim_cur = 60 * MIB, .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_AS, &low), 0);
    node_spawn(node);
    assert_int_equal(setrlimit(RLIMIT_AS, &before), 0);
    assert_int_equal(node_await_exit(node), 1);
    assert_true(node_log_has(node, "event=\"start failed\""));
    assert_true(node_log_has(node, "Cannot allocate memory"));
    node_start_again(node);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCENARIO(the_end_of_memory_loses_nothing),
        SCENARIO(no_room_for_the_map_stops_the_start),
    };
    if (SANITIZED) {
        fprintf(stderr, "skipped: a sanitizer's shadow does not fit a limited address space\n");
        return 0;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
