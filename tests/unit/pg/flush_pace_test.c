// When the flush gives way: only where a thread wants for a processor, as long as writes come, for
// a second at most, and within a quarter of the outbox.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "pg/flush_pace.h"

enum { SECOND_US = 1000000, OUTBOX_BYTES = 4000 };

// Two threads, of which the second has waited for so much of the last 10 ms, in which so many
// writes came.
static void look_at_load(struct flush_pace *pace, int64_t *now_us, int64_t waited_us,
                         uint64_t writes)
{
    int64_t all_us[] = {0, pace->waited_us[1] + waited_us};
    *now_us += FLUSH_PACE_LOOK_US;
    assert_true(flush_pace_is_due(pace, *now_us));
    flush_pace_look(pace, all_us, 2, pace->looked_seq + writes, *now_us);
    assert_false(flush_pace_is_due(pace, *now_us));
}

static void look(struct flush_pace *pace, int64_t *now_us, int64_t waited_us)
{
    look_at_load(pace, now_us, waited_us, 0);
}

static struct flush_pace contended(int64_t *now_us)
{
    struct flush_pace pace = {0};
    *now_us = 50 * (int64_t)SECOND_US;
    look(&pace, now_us, 0);
    look(&pace, now_us, FLUSH_PACE_LOOK_US / 2);
    return pace;
}

static struct flush_backlog backlog_of(uint64_t applied_seq, uint64_t last_seq)
{
    return (struct flush_backlog){
        .applied_seq = applied_seq,
        .journaled_seq = last_seq,
        .last_seq = last_seq,
        .accepted_bytes = (int64_t)last_seq,
        .outbox_bytes = OUTBOX_BYTES,
    };
}

static void only_where_threads_wait(void **state)
{
    (void)state;
    struct flush_pace pace = {0};
    struct flush_backlog backlog = backlog_of(0, 10);
    int64_t now_us = 50 * (int64_t)SECOND_US;
    look(&pace, &now_us, 40 * (int64_t)SECOND_US); // the first look knows no beginning
    assert_false(flush_pace_yields(&pace, &backlog, now_us));
    look(&pace, &now_us, FLUSH_PACE_LOOK_US / 20);
    assert_false(flush_pace_yields(&pace, &backlog, now_us));
    look(&pace, &now_us, FLUSH_PACE_LOOK_US / 5);
    assert_true(flush_pace_yields(&pace, &backlog, now_us));
    look(&pace, &now_us, 0); // may be in the midst of waiting
    assert_true(flush_pace_yields(&pace, &backlog, now_us));
    for (int i = 0; i < 5; i++) {
        look(&pace, &now_us, 0);
    }
    assert_false(flush_pace_yields(&pace, &backlog, now_us));
}

// That nobody waits any more is due to the flush that stands still.
static void as_long_as_writes_come(void **state)
{
    (void)state;
    int64_t now_us;
    struct flush_pace pace = contended(&now_us);
    struct flush_backlog backlog = backlog_of(0, 10);
    int64_t began_us = now_us;
    while (flush_pace_yields(&pace, &backlog, now_us)) {
        look_at_load(&pace, &now_us, 0, 10);
    }
    assert_int_equal(now_us - began_us, SECOND_US / 4);
    look_at_load(&pace, &now_us, FLUSH_PACE_LOOK_US / 2, 10);
    for (int i = 0; i < 10; i++) {
        assert_true(flush_pace_yields(&pace, &backlog, now_us));
        look_at_load(&pace, &now_us, 0, 10);
    }
    look_at_load(&pace, &now_us, 0, 9);
    assert_false(flush_pace_yields(&pace, &backlog, now_us));
}

// What a thread waits at the end of a pause is no part of the pause, so that it is not known yet
// whether one does: a burst waits for the next look, a few writes do not.
static void for_a_look_after_a_pause(void **state)
{
    (void)state;
    int64_t now_us;
    struct flush_pace pace = contended(&now_us);
    flush_pace_rest(&pace);
    now_us += SECOND_US;
    look_at_load(&pace, &now_us, FLUSH_PACE_LOOK_US, 1000);
    struct flush_backlog few = backlog_of(901, 1000);
    assert_false(flush_pace_yields(&pace, &few, now_us));
    struct flush_backlog burst = backlog_of(900, 1000);
    assert_true(flush_pace_yields(&pace, &burst, now_us));
    look_at_load(&pace, &now_us, 0, 1000);
    assert_false(flush_pace_yields(&pace, &burst, now_us));
    // A long batch is no pause.
    now_us += SECOND_US;
    look(&pace, &now_us, SECOND_US / 2);
    struct flush_backlog next = backlog_of(1000, 1001);
    assert_true(flush_pace_yields(&pace, &next, now_us));
}

static void for_a_second_at_most(void **state)
{
    (void)state;
    int64_t now_us;
    struct flush_pace pace = contended(&now_us);
    struct flush_backlog backlog = backlog_of(0, 10);
    int64_t began_us = now_us;
    while (flush_pace_yields(&pace, &backlog, now_us)) {
        backlog.journaled_seq++;
        backlog.last_seq++;
        look(&pace, &now_us, FLUSH_PACE_LOOK_US / 2);
    }
    assert_int_equal(now_us - began_us, SECOND_US);
    uint64_t due_seq = backlog.journaled_seq;
    backlog = backlog_of(due_seq - 1, due_seq + 20);
    assert_false(flush_pace_yields(&pace, &backlog, now_us));
    backlog.applied_seq = due_seq;
    assert_true(flush_pace_yields(&pace, &backlog, now_us));
    // What was flushed because somebody waited for it ends the second.
    flush_pace_rest(&pace);
    now_us += 2 * SECOND_US;
    look(&pace, &now_us, 0);
    look(&pace, &now_us, FLUSH_PACE_LOOK_US / 2);
    assert_true(flush_pace_yields(&pace, &backlog, now_us));
}

// Else a write could wait again and again, whenever a batch has passed that it was not in.
static void for_a_second_in_all(void **state)
{
    (void)state;
    int64_t now_us;
    struct flush_pace pace = contended(&now_us);
    struct flush_backlog backlog = backlog_of(0, 10);
    int64_t began_us = now_us;
    while (now_us - began_us < SECOND_US * 6 / 10) {
        assert_true(flush_pace_yields(&pace, &backlog, now_us));
        backlog.journaled_seq = ++backlog.last_seq;
        look(&pace, &now_us, FLUSH_PACE_LOOK_US / 2);
    }
    while (flush_pace_yields(&pace, &backlog, now_us)) {
        look(&pace, &now_us, 0);
    }
    backlog.applied_seq = backlog.last_seq - 1; // but the newest
    look(&pace, &now_us, FLUSH_PACE_LOOK_US / 2);
    while (flush_pace_yields(&pace, &backlog, now_us)) {
        look(&pace, &now_us, FLUSH_PACE_LOOK_US / 2);
    }
    assert_int_equal(now_us - began_us, SECOND_US);
    backlog.applied_seq = backlog.last_seq;
    backlog.journaled_seq = ++backlog.last_seq;
    assert_true(flush_pace_yields(&pace, &backlog, now_us));
}

static void within_a_quarter_of_the_outbox(void **state)
{
    (void)state;
    int64_t now_us;
    struct flush_pace pace = contended(&now_us);
    struct flush_backlog backlog = backlog_of(100, 100);
    assert_true(flush_pace_yields(&pace, &backlog, now_us)); // a mark: 100
    backlog = backlog_of(100, 100 + OUTBOX_BYTES / 4);
    assert_true(flush_pace_yields(&pace, &backlog, now_us)); // the next mark, from 100 on
    backlog = backlog_of(101, 101 + OUTBOX_BYTES / 4);
    assert_false(flush_pace_yields(&pace, &backlog, now_us));
    // Once the next mark is applied, what came before it does not count any more.
    backlog = backlog_of(100 + OUTBOX_BYTES / 4, 101 + OUTBOX_BYTES / 4);
    assert_true(flush_pace_yields(&pace, &backlog, now_us));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_where_threads_wait),
        cmocka_unit_test(as_long_as_writes_come),
        cmocka_unit_test(for_a_look_after_a_pause),
        cmocka_unit_test(for_a_second_at_most),
        cmocka_unit_test(for_a_second_in_all),
        cmocka_unit_test(within_a_quarter_of_the_outbox),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
