// Direct reads of libpgnear: what is answered without the daemon, and what is not.

#include <pgnear.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "system/harness/deadline.h"
#include "system/harness/direct.h"

// ---- no system call

enum { QUIET_READS = 20000 };

// In a child.
static _Noreturn void read_quietly(const struct node *node)
{
    pgnear *handle = direct_open(node);
    pgnear_item item;
    bool good = direct_get_int(handle, "present") == 1 &&
                pgnear_get(handle, pgnear_text("absent"), NULL, &item, NULL) == PGNEAR_OK &&
                pgnear_lend(handle, pgnear_text("present"), NULL, &item, NULL) == PGNEAR_OK;
    direct_forbid_system_calls();
    for (int i = 0; i < QUIET_READS && good; i++) {
        good = pgnear_get(handle, pgnear_text("present"), NULL, &item, NULL) == PGNEAR_OK &&
               item.present && item.value.len == 1;
        good = good && pgnear_get(handle, pgnear_text("absent"), NULL, &item, NULL) == PGNEAR_OK &&
               !item.present;
        good = good && pgnear_lend(handle, pgnear_text("present"), NULL, &item, NULL) == PGNEAR_OK;
        pgnear_release(handle);
        good = good && pgnear_get_path(handle, pgnear_text("present"), "$.x", NULL, &item, NULL) ==
                           PGNEAR_OK;
    }
    syscall(SYS_exit_group, good ? 0 : 1);
    abort();
}

static void a_hit_makes_no_system_call(struct scenario *scenario)
{
    struct node *node = node_start(scenario, pg_start(scenario, NULL), NULL);
    assert_rpc(node, "set", "[\"present\", 1, {\"ack\": \"postgres\"}]",
               "{\"seq\": \"*\", \"version\": \"*\"}");
    assert_rpc(node, "get", "[\"absent\"]", "null");
    direct_await_hit(node, "present");
    direct_await_hit(node, "absent");
    pid_t child = fork();
    if (child == 0) {
        read_quietly(node);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

// ---- the promises

static void an_acknowledged_write_is_seen(struct scenario *scenario)
{
    struct node *node = node_start(scenario, pg_start(scenario, NULL), NULL);
    pgnear *writing = direct_open(node);
    pgnear *reading = direct_open(node);
    static const pgnear_ack ACKS[] = {PGNEAR_ACK_MEMORY, PGNEAR_ACK_JOURNAL, PGNEAR_ACK_POSTGRES};
    for (int i = 0; i < 300; i++) {
        direct_set_int(writing, "k", i, ACKS[i % 3]);
        assert_int_equal(direct_get_int(reading, "k"), i);
        assert_int_equal(direct_get_int(writing, "k"), i);
    }
    pgnear_close(writing);
    pgnear_close(reading);
}

static void foreign_changes_arrive(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct node *node = node_start(scenario, pg, NULL);
    pgnear *handle = direct_open(node);
    direct_set_int(handle, "k", 0, PGNEAR_ACK_POSTGRES);
    for (int i = 1; i <= 50; i++) {
        pg_exec(pg, "UPDATE kv_store SET value = '%d'", i);
        assert_int_equal(pgnear_sync(handle, NULL, NULL), PGNEAR_OK);
        assert_int_equal(direct_get_int(handle, "k"), i);
    }
    pg_exec(pg, "DELETE FROM kv_store");
    assert_int_equal(pgnear_sync(handle, NULL, NULL), PGNEAR_OK);
    assert_int_equal(direct_get_int(handle, "k"), -1);
    pgnear_close(handle);
}

static void what_options_ask_for_is_asked_of_the_node(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct node *node = node_start(scenario, pg, NULL);
    pgnear *handle = direct_open(node);
    pgnear_error error;
    pgnear_item item;
    direct_set_int(handle, "k", 1, PGNEAR_ACK_POSTGRES);
    direct_await_hit(node, "k");
    // A change that no notification announces: only PostgreSQL knows of it.
    pg_exec(pg, "ALTER TABLE kv_store DISABLE TRIGGER ALL");
    pg_exec(pg, "UPDATE kv_store SET value = '2', version = version + 1000000");
    direct_must(pgnear_get(handle, pgnear_text("k"), NULL, &item, &error), &error);
    assert_int_equal(direct_int(&item), 1);
    pgnear_get_options options = PGNEAR_GET_OPTIONS_INIT;
    options.has_min_version = true;
    options.min_version = item.version;
    direct_must(pgnear_get(handle, pgnear_text("k"), &options, &item, &error), &error);
    assert_int_equal(direct_int(&item), 1);
    options.min_version = item.version + 1;
    direct_must(pgnear_get(handle, pgnear_text("k"), &options, &item, &error), &error);
    assert_int_equal(direct_int(&item), 2);
    // The handle does not go back behind what it was told.
    assert_int_equal(direct_get_int(handle, "k"), 2);
    pgnear *other = direct_open(node);
    options = (pgnear_get_options)PGNEAR_GET_OPTIONS_INIT;
    options.fresh = true;
    direct_must(pgnear_get(other, pgnear_text("k"), &options, &item, &error), &error);
    assert_int_equal(direct_int(&item), 2);
    // Nor does one that has not read directly yet: the cache learns of it after the handle.
    for (int i = 3; i < 20; i++) {
        pgnear *young = direct_open(node);
        pg_exec(pg, "UPDATE kv_store SET value = '%d', version = version + 1000000", i);
        direct_must(pgnear_get(young, pgnear_text("k"), &options, &item, &error), &error);
        assert_int_equal(direct_int(&item), i);
        assert_int_equal(direct_get_int(young, "k"), i);
        pgnear_close(young);
    }
    options = (pgnear_get_options)PGNEAR_GET_OPTIONS_INIT;
    options.has_max_age = true;
    direct_must(pgnear_get(other, pgnear_text("k"), &options, &item, &error), &error);
    assert_int_equal(direct_int(&item), 19);
    pgnear_close(handle);
    pgnear_close(other);
}

// Though the map would have the answer.
static void what_the_node_refuses_is_refused(struct scenario *scenario)
{
    struct node *node = node_start(scenario, pg_start(scenario, NULL), NULL);
    static const int64_t AGES[] = {INT64_MAX, -1};
    pgnear_bytes key = pgnear_text("k");
    for (int is_socket = 0; is_socket < 2; is_socket++) {
        pgnear_options of_handle = PGNEAR_OPTIONS_INIT;
        of_handle.socket_only = is_socket == 1;
        pgnear *handle;
        pgnear_error error;
        pgnear_item item;
        const pgnear_item *items;
        direct_must(pgnear_open(node->socket_path, &of_handle, &handle, &error), &error);
        direct_set_int(handle, "k", 1, PGNEAR_ACK_POSTGRES);
        direct_await_hit(node, "k");
        pgnear_get_options options = PGNEAR_GET_OPTIONS_INIT;
        options.timeout_ms = -1;
        assert_int_equal(pgnear_get(handle, key, &options, &item, NULL), PGNEAR_BAD_REQUEST);
        assert_int_equal(pgnear_lend(handle, key, &options, &item, NULL), PGNEAR_BAD_REQUEST);
        assert_int_equal(pgnear_mget(handle, &key, 1, &options, &items, NULL), PGNEAR_BAD_REQUEST);
        options.timeout_ms = 0;
        options.has_max_age = true;
        for (size_t i = 0; i < 2; i++) {
            options.max_age_ms = AGES[i];
            assert_int_equal(pgnear_get(handle, key, &options, &item, NULL),
                             i == 0 ? PGNEAR_OK : PGNEAR_BAD_REQUEST);
        }
        pgnear_close(handle);
    }
}

static void an_expired_key_is_absent(struct scenario *scenario)
{
    struct node *node = node_start(scenario, pg_start(scenario, NULL), NULL);
    pgnear *handle = direct_open(node);
    pgnear_write_options options = PGNEAR_WRITE_OPTIONS_INIT;
    options.has_ttl = true;
    options.ttl_ms = 700;
    options.ack = PGNEAR_ACK_POSTGRES;
    pgnear_error error;
    direct_must(
        pgnear_set(handle, pgnear_text("k"), (pgnear_bytes){"\x07", 1}, &options, NULL, &error),
        &error);
    struct deadline deadline = deadline_in(DEADLINE_MS);
    while (direct_get_int(handle, "k") == 7) {
        assert_true(deadline_again(&deadline));
    }
    int64_t left_ms;
    direct_must(pgnear_ttl(handle, pgnear_text("k"), NULL, &left_ms, &error), &error);
    assert_int_equal(left_ms, -1);
    assert_int_equal(direct_get_int(handle, "k"), -1);
    pgnear_close(handle);
}

static void values_are_copied_lent_and_taken_apart(struct scenario *scenario)
{
    struct node *node = node_start(scenario, pg_start(scenario, NULL), NULL);
    pgnear *handle = direct_open(node);
    pgnear_error error;
    pgnear_item lent;
    pgnear_item item;
    char room[64];
    pgnear_bytes key = pgnear_text("k");
    // First as it comes over the socket, then as it lies in the cache.
    for (int way = 0; way < 2; way++) {
        assert_rpc(node, "set", "[\"k\", {\"a\": [1, \"two\"]}, {\"ack\": \"postgres\"}]",
                   "{\"seq\": \"*\", \"version\": \"*\"}");
        if (way == 0) {
            assert_rpc(node, "invalidate", "[\"k\"]", "\"*\"");
        } else {
            direct_await_hit(node, "k");
        }
        direct_must(pgnear_lend(handle, key, NULL, &lent, &error), &error);
        direct_must(pgnear_get_path(handle, key, "$.a[1]", NULL, &item, &error), &error);
        assert_int_equal(item.value.len, 4);
        assert_memory_equal(item.value.at, "\xa3two", 4);
        direct_must(pgnear_get_path(handle, key, "$.b", NULL, &item, &error), &error);
        assert_false(item.present);
        assert_int_equal(pgnear_get_path(handle, key, "a", NULL, &item, &error),
                         PGNEAR_BAD_REQUEST);
        direct_must(pgnear_get_into(handle, key, NULL, room, sizeof room, &item, &error), &error);
        assert_ptr_equal(item.value.at, room);
        assert_int_equal(pgnear_get_into(handle, key, NULL, room, 3, &item, &error),
                         PGNEAR_TOO_LARGE);
        assert_int_equal(item.value.len, lent.value.len);
        // What is lent stays, whatever becomes of the key.
        assert_rpc(node, "set", "[\"k\", [0, 0, 0, 0], {\"ack\": \"postgres\"}]",
                   "{\"seq\": \"*\", \"version\": \"*\"}");
        direct_must(pgnear_get(handle, key, NULL, &item, &error), &error);
        assert_int_equal(item.value.len, 5);
        assert_memory_equal(lent.value.at, room, lent.value.len);
        direct_must(pgnear_lend(handle, pgnear_text("absent"), NULL, &item, &error), &error);
        assert_false(item.present);
        pgnear_release(handle);
    }
    pgnear_close(handle);
}

// ---- the daemon's fate

static void a_frozen_daemons_cache_serves_until_max_stale(struct scenario *scenario)
{
    struct node *node = node_start(scenario, pg_start(scenario, NULL),
                                   &(struct node_options){.config = "cache.max_stale = \"3s\"\n"});
    pgnear *handle = direct_open(node);
    direct_set_int(handle, "k", 1, PGNEAR_ACK_POSTGRES);
    direct_await_hit(node, "k");
    assert_int_equal(direct_get_int(handle, "k"), 1);
    process_signal(node->process, SIGSTOP);
    assert_int_equal(direct_get_int(handle, "k"), 1);
    pgnear_get_options options = PGNEAR_GET_OPTIONS_INIT;
    options.timeout_ms = 1;
    struct deadline deadline = deadline_in(DEADLINE_MS);
    pgnear_item item;
    while (pgnear_get(handle, pgnear_text("k"), &options, &item, NULL) == PGNEAR_OK) {
        assert_int_equal(direct_int(&item), 1);
        assert_true(deadline_again(&deadline));
    }
    assert_true(DEADLINE_MS - deadline_left_ms(&deadline) < 6000);
    process_signal(node->process, SIGCONT);
    while (pgnear_get(handle, pgnear_text("k"), NULL, &item, NULL) != PGNEAR_OK) {
        assert_true(deadline_again(&deadline));
    }
    pgnear_close(handle);
}

static void a_dead_daemons_cache_serves_until_max_stale(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct node *node =
        node_start(scenario, pg, &(struct node_options){.config = "cache.max_stale = \"3s\"\n"});
    pgnear *handle = direct_open(node);
    direct_set_int(handle, "k", 1, PGNEAR_ACK_POSTGRES);
    direct_await_hit(node, "k");
    assert_int_equal(direct_get_int(handle, "k"), 1);
    node_kill(node);
    assert_int_equal(direct_get_int(handle, "k"), 1);
    pgnear_error error;
    pgnear_item item;
    assert_int_equal(pgnear_get(handle, pgnear_text("not held"), NULL, &item, &error),
                     PGNEAR_UNREACHABLE);
    pgnear_get_options fresh = PGNEAR_GET_OPTIONS_INIT;
    fresh.fresh = true;
    assert_int_equal(pgnear_get(handle, pgnear_text("k"), &fresh, &item, &error),
                     PGNEAR_UNREACHABLE);
    struct deadline deadline = deadline_in(DEADLINE_MS);
    while (pgnear_get(handle, pgnear_text("k"), NULL, &item, &error) == PGNEAR_OK) {
        assert_true(deadline_again(&deadline));
    }
    assert_int_equal(error.code, PGNEAR_UNREACHABLE);
    pg_exec(pg, "UPDATE kv_store SET value = '2'");
    node_start_again(node);
    struct deadline swept = deadline_in(DEADLINE_MS);
    while (direct_get_int(handle, "k") != 2) {
        assert_true(deadline_again(&swept));
    }
    pgnear_close(handle);
}

static void remove_cache(struct scenario *scenario, const struct node *node)
{
    const char *const arguments[] = {"rm", "-rf", node->cache_dir, NULL};
    process_run(scenario, arguments, NULL);
}

static void a_cache_made_anew_is_read(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct node *node = node_start(scenario, pg, NULL);
    pgnear *handle = direct_open(node);
    pgnear *other = direct_open(node);
    direct_set_int(handle, "k", 0, PGNEAR_ACK_POSTGRES);
    for (int i = 1; i <= 4; i++) {
        assert_int_equal(direct_get_int(other, "k"), i - 1);
        node_kill(node);
        if (i % 2 == 0) {
            remove_cache(scenario, node);
        } else {
            unlink(scenario_text(scenario, "%s/cache.mdb", node->cache_dir));
        }
        node_start_again(node);
        // Through one handle, while the other has seen nothing but the old files.
        direct_set_int(handle, "k", i, PGNEAR_ACK_MEMORY);
        assert_int_equal(direct_get_int(other, "k"), i);
    }
    direct_await_hit(node, "k");
    direct_assert_hit(node, other, "k");
    pgnear_close(handle);
    pgnear_close(other);
}

static void a_cache_of_another_size_is_read(struct scenario *scenario)
{
    static const char *const SIZES[] = {"32MiB", "128MiB", "24MiB"};
    struct pg *pg = pg_start(scenario, NULL);
    struct node_options options = {.config =
                                       "cache.size = \"20MiB\"\nwrites.outbox_size = \"8MiB\"\n"};
    struct node *node = node_start(scenario, pg, &options);
    pgnear *handle = direct_open(node);
    pgnear *idle = direct_open(node);
    direct_set_int(handle, "k", -1, PGNEAR_ACK_POSTGRES);
    direct_await_hit(node, "k");
    assert_int_equal(direct_get_int(idle, "k"), -1);
    for (int i = 0; i < 3; i++) {
        options.config = scenario_text(
            scenario, "cache.size = \"%s\"\nwrites.outbox_size = \"8MiB\"\n", SIZES[i]);
        node_configure(node, pg, &options);
        assert_int_equal(node_stop(node), 0);
        node_start_again(node);
        direct_set_int(handle, "k", i, PGNEAR_ACK_POSTGRES);
        assert_int_equal(direct_get_int(handle, "k"), i);
        direct_await_hit(node, "k");
        direct_assert_hit(node, handle, "k");
    }
    pgnear_close(handle);
    pgnear_close(idle);
}

static void socket_only_asks_the_node(struct scenario *scenario)
{
    struct node *node = node_start(scenario, pg_start(scenario, NULL), NULL);
    pgnear_options options = PGNEAR_OPTIONS_INIT;
    options.socket_only = true;
    pgnear *handle;
    pgnear_error error;
    direct_must(pgnear_open(node->socket_path, &options, &handle, &error), &error);
    direct_set_int(handle, "k", 1, PGNEAR_ACK_POSTGRES);
    int64_t before = node_stat_int(node, "server.requests");
    for (int i = 0; i < 100; i++) {
        assert_int_equal(direct_get_int(handle, "k"), 1);
    }
    assert_true(node_stat_int(node, "server.requests") >= before + 100);
    pgnear_close(handle);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCENARIO(a_hit_makes_no_system_call),
        SCENARIO(an_acknowledged_write_is_seen),
        SCENARIO(foreign_changes_arrive),
        SCENARIO(what_options_ask_for_is_asked_of_the_node),
        SCENARIO(what_the_node_refuses_is_refused),
        SCENARIO(an_expired_key_is_absent),
        SCENARIO(values_are_copied_lent_and_taken_apart),
        SCENARIO(a_frozen_daemons_cache_serves_until_max_stale),
        SCENARIO(a_dead_daemons_cache_serves_until_max_stale),
        SCENARIO(a_cache_made_anew_is_read),
        SCENARIO(a_cache_of_another_size_is_read),
        SCENARIO(socket_only_asks_the_node),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
