// What direct readers did is told by the daemon that took no part in it: in `stats`, to Prometheus
// and in `top`; whatever becomes of the readers.

#include <fcntl.h>
#include <pgnear.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cachefile/tally.h"
#include "system/harness/cli.h"
#include "system/harness/deadline.h"
#include "system/harness/direct.h"

enum { READS = 500 };

static struct node *start(struct scenario *scenario)
{
    struct node *node = node_start(scenario, pg_start(scenario, NULL), NULL);
    assert_rpc(node, "set", "[\"k\", {\"a\": 1}, {\"ack\": \"postgres\"}]",
               "{\"seq\": \"*\", \"version\": \"*\"}");
    assert_rpc(node, "get", "[\"absent\"]", "null");
    // No direct read before those that are counted.
    return node;
}

static void must_get(pgnear *handle, const char *key)
{
    pgnear_item item;
    pgnear_error error;
    direct_must(pgnear_get(handle, pgnear_text(key), NULL, &item, &error), &error);
}

// Hits and misses: each read is one of them.
static int64_t all_reads(struct node *node)
{
    return node_stat_int(node, "cache.direct_hits") + node_stat_int(node, "cache.direct_misses");
}

// Waits until that many have been counted, and not one more.
static void await_reads(struct node *node, int64_t count)
{
    struct deadline deadline = deadline_in(DEADLINE_MS);
    int64_t found;
    while ((found = all_reads(node)) < count) {
        if (!deadline_again(&deadline)) {
            scenario_fail("%lld reads of %lld are counted", (long long)found, (long long)count);
        }
    }
    assert_int_equal(found, count);
}

static void await_readers(struct node *node, const char *count)
{
    node_await_stat(node, "cache.direct_readers", count);
}

static void read_all_ways(pgnear *handle)
{
    const pgnear_bytes keys[] = {pgnear_text("k"), pgnear_text("absent"), pgnear_text("k")};
    const pgnear_item *items;
    pgnear_item item;
    pgnear_error error;
    uint8_t room[64];
    direct_must(pgnear_mget(handle, keys, 3, NULL, &items, &error), &error);
    direct_must(pgnear_lend(handle, keys[0], NULL, &item, &error), &error);
    pgnear_release(handle);
    direct_must(pgnear_get_into(handle, keys[0], NULL, room, sizeof room, &item, &error), &error);
    direct_must(pgnear_get_path(handle, keys[0], "$.a", NULL, &item, &error), &error);
}

static void every_read_is_counted_once(struct scenario *scenario)
{
    struct node *node = start(scenario);
    await_readers(node, "0");
    pgnear *handle = direct_open(node);
    for (int i = 0; i < READS; i++) {
        must_get(handle, i % 2 == 0 ? "k" : "absent");
    }
    await_reads(node, READS);
    await_readers(node, "1");
    read_all_ways(handle);
    await_reads(node, READS + 6);
    // Some come before the write has settled; what is not held is asked for.
    int64_t misses = node_stat_int(node, "cache.direct_misses");
    assert_true(node_stat_int(node, "cache.direct_hits") > READS / 2);
    must_get(handle, "not held");
    await_reads(node, READS + 7);
    assert_true(node_stat_int(node, "cache.direct_misses") > misses);
    // What asks PostgreSQL by its options looks at no cache.
    pgnear_get_options fresh = PGNEAR_GET_OPTIONS_INIT;
    fresh.fresh = true;
    pgnear_item item;
    assert_int_equal(pgnear_get(handle, pgnear_text("k"), &fresh, &item, NULL), PGNEAR_OK);
    must_get(handle, "k");
    await_reads(node, READS + 8);
    pgnear_close(handle);
    await_readers(node, "0");
    await_reads(node, READS + 8);
}

static void the_hot_tier_s_are_told_apart(struct scenario *scenario)
{
    struct node *node = start(scenario);
    pgnear *handle = direct_open(node);
    struct deadline deadline = deadline_in(DEADLINE_MS);
    while (node_stat_int(node, "cache.direct_hot_hits") == 0) {
        must_get(handle, "k");
        assert_true(deadline_again(&deadline));
    }
    // An mget finds it there as well; a lend is of LMDB.
    int64_t hits = node_stat_int(node, "cache.direct_hits");
    int64_t hot = node_stat_int(node, "cache.direct_hot_hits");
    const pgnear_bytes key = pgnear_text("k");
    const pgnear_item *items;
    assert_int_equal(pgnear_mget(handle, &key, 1, NULL, &items, NULL), PGNEAR_OK);
    must_get(handle, "k");
    pgnear_item lent;
    assert_int_equal(pgnear_lend(handle, key, NULL, &lent, NULL), PGNEAR_OK);
    pgnear_release(handle);
    node_await_stat_min(node, "cache.direct_hits", hits + 3);
    assert_int_equal(node_stat_int(node, "cache.direct_hot_hits"), hot + 2);
    struct cli cli = CLI(node, "stats", "--prometheus");
    const char *line = strstr(cli.out, "# TYPE pgnear_cache_direct_hits_total counter\n");
    assert_non_null(line);
    assert_non_null(strstr(cli.out, "# TYPE pgnear_cache_direct_readers gauge\n"
                                    "pgnear_cache_direct_readers 1\n"));
    assert_non_null(strstr(CLI(node, "top", "--count", "1").out, "readers 1 "));
    pgnear_close(handle);
}

// ---- what becomes of readers

// A child that reads, says so, and stands there.
static pid_t start_reader(const struct node *node)
{
    int said[2];
    assert_int_equal(pipe(said), 0);
    pid_t child = fork();
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        pgnear *handle = direct_open(node);
        for (int i = 0; i < READS; i++) {
            must_get(handle, "k");
        }
        if (write(said[1], "!", 1) == 1) {
            pause();
        }
        _exit(1);
    }
    char byte;
    assert_int_equal(read(said[0], &byte, 1), 1);
    close(said[0]);
    close(said[1]);
    return child;
}

static void a_killed_reader_is_counted_and_forgotten(struct scenario *scenario)
{
    struct node *node = start(scenario);
    pid_t first = start_reader(node);
    pid_t second = start_reader(node);
    await_readers(node, "2");
    await_reads(node, 2 * READS);
    pid_t third = start_reader(node);
    // At once, so perhaps before anybody has looked.
    pid_t children[] = {first, second, third};
    for (size_t i = 0; i < 3; i++) {
        kill(children[i], SIGKILL);
        assert_int_equal(waitpid(children[i], NULL, 0), children[i]);
    }
    await_reads(node, 3 * READS);
    await_readers(node, "0");
    await_reads(node, 3 * READS);
}

static void a_child_counts_for_itself(struct scenario *scenario)
{
    struct node *node = start(scenario);
    pgnear *handle = direct_open(node);
    must_get(handle, "k");
    pid_t child = fork();
    if (child == 0) {
        pgnear_item item;
        bool good = pgnear_get(handle, pgnear_text("k"), NULL, &item, NULL) == PGNEAR_FORKED;
        pgnear *own = direct_open(node);
        for (int i = 0; i < READS; i++) {
            must_get(own, "k");
        }
        pgnear_close(handle);
        pgnear_close(own);
        _exit(good ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    for (int i = 0; i < READS; i++) {
        must_get(handle, "k");
    }
    await_reads(node, 1 + 2 * READS);
    await_readers(node, "1");
    pgnear_close(handle);
}

// The table as a reader has it.
static void map_tally(const struct node *node, struct tally *tally)
{
    int fd = open(node->cache_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(tally_map(tally, fd));
    close(fd);
}

static void more_readers_than_rows_read_all_the_same(struct scenario *scenario)
{
    struct node *node = start(scenario);
    struct tally tally;
    map_tally(node, &tally);
    struct tally_row *row = NULL;
    for (struct tally_row *next; (next = tally_claim(&tally)) != NULL;) {
        row = next;
    }
    await_readers(node, "1024");
    pgnear *uncounted = direct_open(node);
    direct_assert_hit(node, uncounted, "k");
    tally_release(row);
    pgnear *counted = direct_open(node);
    for (int i = 0; i < READS; i++) {
        must_get(uncounted, "k");
        must_get(counted, "k");
    }
    await_reads(node, READS);
    pgnear_close(uncounted);
    pgnear_close(counted);
    await_readers(node, "1023");
    tally_unmap(&tally);
}

static void a_hostile_reader_spoils_the_figures_only(struct scenario *scenario)
{
    struct node *node = start(scenario);
    struct tally tally;
    map_tally(node, &tally);
    for (size_t i = 0; i < TALLY_ROWS; i++) {
        memset((void *)&tally.rows[i], 0x7f, sizeof tally.rows[i]);
    }
    // Nobody owns those rows, and nothing of it can have been read; a reader takes one over.
    pgnear *handle = direct_open(node);
    struct deadline deadline = deadline_in(DEADLINE_MS);
    while (all_reads(node) < READS) {
        must_get(handle, "k");
        assert_true(deadline_again(&deadline));
    }
    assert_true(all_reads(node) < INT32_MAX);
    await_readers(node, "1");
    pgnear_close(handle);
    await_readers(node, "0");
    tally_unmap(&tally);
    int64_t reads = all_reads(node);
    assert_int_equal(truncate(scenario_text(scenario, "%s/tally", node->cache_dir), 7), 0);
    handle = direct_open(node);
    direct_assert_hit(node, handle, "k");
    assert_int_equal(all_reads(node), reads);
    assert_int_equal(node_stop(node), 0);
    node_start_again(node);
    must_get(handle, "k");
    pgnear_close(handle);
    // The file is made anew at the start.
    handle = direct_open(node);
    must_get(handle, "k");
    node_await_stat_min(node, "cache.direct_readers", 1);
    pgnear_close(handle);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCENARIO(every_read_is_counted_once),
        SCENARIO(the_hot_tier_s_are_told_apart),
        SCENARIO(a_killed_reader_is_counted_and_forgotten),
        SCENARIO(a_child_counts_for_itself),
        SCENARIO(more_readers_than_rows_read_all_the_same),
        SCENARIO(a_hostile_reader_spoils_the_figures_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
