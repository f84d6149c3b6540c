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

enum { ALIKE = 64, ROUNDS = 20, ROUND_WRITES = 50, ROUND_LOOKS = 20 };

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

static bool write_number(pgnear *handle, const struct alike *alike, int number, bool is_last)
{
    const uint8_t value[] = {0xcd, (uint8_t)(number >> 8), (uint8_t)number};
    pgnear_pair pairs[ALIKE];
    for (int i = 0; i < ALIKE; i++) {
        pairs[i] = (pgnear_pair){.key = alike->keys[i], .value = {value, sizeof value}};
    }
    pgnear_write_options options = PGNEAR_WRITE_OPTIONS_INIT;
    options.ack = is_last ? PGNEAR_ACK_POSTGRES : PGNEAR_ACK_MEMORY;
    return pgnear_mset(handle, pairs, ALIKE, &options, NULL, NULL) == PGNEAR_OK;
}

// In a child: all of them get the same number, over and over. The last of a round goes to
// PostgreSQL, and the next round begins when the parent says so.
static _Noreturn void write_alike(const struct node *node, const struct alike *alike, int go_on)
{
    pgnear *handle = direct_open(node);
    char byte;
    bool good = true;
    for (int number = 1; number <= ROUNDS * ROUND_WRITES && good; number++) {
        bool is_last = number % ROUND_WRITES == 0;
        good = write_number(handle, alike, number, is_last) &&
               (!is_last || read(go_on, &byte, 1) == 1);
    }
    _exit(good ? 0 : 1);
}

// All of them at once; the number that they have.
static int64_t look_at_alike(pgnear *handle, struct node *node, const struct alike *alike)
{
    const pgnear_item *items;
    assert_int_equal(pgnear_mget(handle, alike->keys, ALIKE, NULL, &items, NULL), PGNEAR_OK);
    bool same = true;
    for (int i = 1; i < ALIKE && same; i++) {
        same = direct_int(&items[i]) == direct_int(&items[0]);
    }
    // Without the feed the node is asked for what is not pending, which is another moment.
    assert_true(same || node_stat_int(node, "postgres.gaps") > 0);
    return direct_int(&items[0]);
}

// While a round of the child is written, and then of what it left, which the hot tier has again.
static int look_for_a_round(pgnear *handle, struct node *node, const struct alike *alike, int round)
{
    struct deadline deadline = deadline_in(DEADLINE_MS);
    int64_t last = (int64_t)round * ROUND_WRITES, number = 0;
    int mgets = 0;
    while (number < last + ROUND_WRITES) {
        int64_t before = number;
        number = look_at_alike(handle, node, alike);
        assert_true(number >= before && number >= last);
        assert_true(deadline_left_ms(&deadline) > 0);
        mgets++;
    }
    for (int i = 0; i < ROUND_LOOKS; i++) {
        assert_int_equal(look_at_alike(handle, node, alike), last + ROUND_WRITES);
    }
    return mgets;
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
        look_at_alike(handle, node, &alike);
        assert_true(deadline_again(&deadline));
    }
    int64_t hot_hits = node_stat_int(node, "cache.direct_hot_hits");
    int go_on[2];
    assert_int_equal(pipe(go_on), 0);
    pid_t child = fork();
    if (child == 0) {
        write_alike(node, &alike, go_on[0]);
    }
    int mgets = 0;
    for (int round = 0; round < ROUNDS; round++) {
        mgets += look_for_a_round(handle, node, &alike, round);
        assert_int_equal(write(go_on[1], "", 1), 1);
    }
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    print_message("%d mgets beside the writes\n", mgets);
    node_await_stat_min(node, "cache.direct_hot_hits", hot_hits + ALIKE * 10);
    close(go_on[0]);
    close(go_on[1]);
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
