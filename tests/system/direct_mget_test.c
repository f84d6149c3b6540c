// mget of libpgnear: what the map answers and what the node does are one answer, of one moment.

#include <pgnear.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "system/harness/deadline.h"
#include "system/harness/direct.h"

static void an_mget_mixes_both_ways(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct node *node = node_start(scenario, pg, NULL);
    pgnear *handle = direct_open(node);
    direct_set_int(handle, "held", 1, PGNEAR_ACK_POSTGRES);
    direct_await_hit(node, "held");
    pg_exec(pg, "INSERT INTO kv_store (key, value) VALUES ('not held', '2')");
    const pgnear_bytes keys[] = {pgnear_text("not held"), pgnear_text("held"),
                                 pgnear_text("absent"), pgnear_text("held")};
    for (int i = 0; i < 3; i++) {
        const pgnear_item *items;
        pgnear_error error;
        direct_must(pgnear_mget(handle, keys, 4, NULL, &items, &error), &error);
        assert_int_equal(direct_int(&items[0]), 2);
        assert_int_equal(direct_int(&items[1]), 1);
        assert_false(items[2].present);
        assert_int_equal(direct_int(&items[3]), 1);
    }
    pgnear_close(handle);
}

enum { MANY_KEYS = 2000, HEARTBEATS = 12 };

// The control page is written in the midst of many of these looks, and each key has another
// version: asked for with the newest of them, all others would be asked of PostgreSQL.
static void an_mget_is_not_given_up_at_a_heartbeat(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct node *node = node_start(scenario, pg, NULL);
    pg_exec(pg, "DO $$ BEGIN FOR i IN 1..2000 LOOP INSERT INTO kv_store (key, value) VALUES "
                "('k' || i, '1'); COMMIT; END LOOP; END $$");
    pgnear *handle = direct_open(node);
    static char names[MANY_KEYS][16];
    static pgnear_bytes keys[MANY_KEYS];
    for (int i = 0; i < MANY_KEYS; i++) {
        snprintf(names[i], sizeof names[i], "k%d", i + 1);
        keys[i] = pgnear_text(names[i]);
    }
    const pgnear_item *items;
    pgnear_error error;
    direct_must(pgnear_mget(handle, keys, MANY_KEYS, NULL, &items, &error), &error);
    for (int i = 0; i < MANY_KEYS; i++) {
        direct_await_hit(node, names[i]);
    }
    int64_t misses = node_stat_int(node, "cache.misses");
    int64_t end_us = clock_boot_us() + HEARTBEATS * (int64_t)500000;
    while (clock_boot_us() < end_us) {
        direct_must(pgnear_mget(handle, keys, MANY_KEYS, NULL, &items, &error), &error);
        assert_int_equal(direct_int(&items[MANY_KEYS - 1]), 1);
    }
    assert_int_equal(node_stat_int(node, "cache.misses"), misses);
    pgnear_close(handle);
}

enum { ALIKE = 64, ALIKE_WRITES = 2000 };

struct alike {
    char names[ALIKE][24];
    pgnear_bytes keys[ALIKE];
};

static void name_alike(struct alike *alike)
{
    for (int i = 0; i < ALIKE; i++) {
        snprintf(alike->names[i], sizeof alike->names[i], "alike%d", i);
        alike->keys[i] = pgnear_text(alike->names[i]);
    }
}

// In a child: all of them get the same number, over and over.
static _Noreturn void write_alike(const struct node *node, const struct alike *alike)
{
    pgnear *handle = direct_open(node);
    bool good = true;
    for (int number = 0; number < ALIKE_WRITES && good; number++) {
        const uint8_t value[] = {0xcd, (uint8_t)(number >> 8), (uint8_t)number};
        pgnear_pair pairs[ALIKE];
        for (int i = 0; i < ALIKE; i++) {
            pairs[i] = (pgnear_pair){.key = alike->keys[i], .value = {value, sizeof value}};
        }
        pgnear_write_options options = PGNEAR_WRITE_OPTIONS_INIT;
        options.ack = PGNEAR_ACK_MEMORY;
        good = pgnear_mset(handle, pairs, ALIKE, &options, NULL, NULL) == PGNEAR_OK;
    }
    _exit(good ? 0 : 1);
}

// Though it is made up of what the hot tier says of each key at another time, and the snapshot.
static void an_mget_is_of_one_moment(struct scenario *scenario)
{
    struct node *node = node_start(scenario, pg_start(scenario, NULL), NULL);
    pgnear *handle = direct_open(node);
    struct alike alike;
    name_alike(&alike);
    for (int i = 0; i < ALIKE; i++) {
        direct_set_int(handle, alike.names[i], 0, PGNEAR_ACK_MEMORY);
        direct_await_hit(node, alike.names[i]);
    }
    struct deadline deadline = deadline_in(DEADLINE_MS);
    while (node_stat_int(node, "cache.hot_entries") < ALIKE) {
        const pgnear_item *items;
        assert_int_equal(pgnear_mget(handle, alike.keys, ALIKE, NULL, &items, NULL), PGNEAR_OK);
        assert_true(deadline_again(&deadline));
    }
    int64_t hot_hits = node_stat_int(node, "cache.direct_hot_hits");
    pid_t child = fork();
    if (child == 0) {
        write_alike(node, &alike);
    }
    int status = -1;
    int mgets = 0;
    int64_t last = 0;
    while (waitpid(child, &status, WNOHANG) == 0) {
        const pgnear_item *items;
        assert_int_equal(pgnear_mget(handle, alike.keys, ALIKE, NULL, &items, NULL), PGNEAR_OK);
        bool same = direct_int(&items[0]) >= last;
        for (int i = 1; i < ALIKE && same; i++) {
            same = direct_int(&items[i]) == direct_int(&items[0]);
        }
        // Without the feed the node is asked for what is not pending, which is another moment.
        assert_true(same || node_stat_int(node, "postgres.gaps") > 0);
        last = direct_int(&items[0]);
        mgets++;
    }
    assert_int_equal(status, 0);
    print_message("%d mgets\n", mgets);
    node_await_stat_min(node, "cache.direct_hot_hits", hot_hits + ALIKE * 10);
    pgnear_close(handle);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCENARIO(an_mget_mixes_both_ways),
        SCENARIO(an_mget_is_not_given_up_at_a_heartbeat),
        SCENARIO(an_mget_is_of_one_moment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
