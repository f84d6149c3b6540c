// The rules of coherence as tables: every state that can be held against every event. A row says
// what is held, what happens, and what is held then.

#include "cache/coherence.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "cachefile/trust.h"

enum { EPOCH = 5, VERSION = 7, SEQ = 20, EXPIRES = 1000 };

// What can be held of a key.
enum held {
    NOTHING,
    CLEAN,          // VERSION, of this epoch
    CLEAN_ABSENT,   // the same, known not to exist
    SUSPECT,        // clean, of an epoch before
    PENDING,        // SEQ
    PENDING_ABSENT, // SEQ, a delete
    TAINTED,        // SEQ, and a foreign notify came
    STACKED,        // SEQ over an earlier pending write
    HELD_COUNT
};

static const char *const HELD_NAMES[HELD_COUNT] = {
    "nothing", "clean",          "clean absent", "suspect",
    "pending", "pending absent", "tainted",      "stacked",
};

#define VALUE                                                                                      \
    {                                                                                              \
        (const uint8_t *)"held", 4                                                                 \
    }

static const struct record RECORDS[HELD_COUNT] = {
    [CLEAN] = {.version = VERSION, .epoch = EPOCH, .expires_at_us = EXPIRES, .value = VALUE},
    [CLEAN_ABSENT] = {.version = VERSION, .epoch = EPOCH, .absent = true},
    [SUSPECT] = {.version = VERSION, .epoch = EPOCH - 1, .value = VALUE},
    [PENDING] = {.pending = true, .pending_seq = SEQ, .expires_at_us = EXPIRES, .value = VALUE},
    [PENDING_ABSENT] = {.pending = true, .pending_seq = SEQ, .absent = true},
    [TAINTED] = {.pending = true, .pending_seq = SEQ, .tainted = true, .value = VALUE},
    [STACKED] = {.pending = true, .pending_seq = SEQ, .stacked = true, .value = VALUE},
};

static const struct record *record_of(enum held held)
{
    return held == NOTHING ? NULL : &RECORDS[held];
}

static const struct feed_state LIVE = {.epoch = EPOCH, .live = true};
static const struct feed_state LOST = {.epoch = EPOCH, .live = false};
static const struct feed_state LATER = {.epoch = EPOCH + 1, .live = true};

static void expect(enum held held, struct decision decision, enum verdict verdict)
{
    if (decision.verdict != verdict) {
        fail_msg("%s: verdict %d, not %d", HELD_NAMES[held], (int)decision.verdict, (int)verdict);
    }
    if (verdict == VERDICT_STORE) {
        // What is stored must be what the codec takes.
        uint8_t bytes[RECORD_HEADER_BYTES + 16];
        record_encode(&decision.record, slice_of_string("k"), bytes);
    }
}

static void expect_all(const enum verdict verdicts[HELD_COUNT],
                       struct decision (*decide)(const struct record *held))
{
    for (enum held held = NOTHING; held < HELD_COUNT; held++) {
        expect(held, decide(record_of(held)), verdicts[held]);
    }
}

#define KEEP  VERDICT_KEEP
#define STORE VERDICT_STORE
#define DROP  VERDICT_DROP

// ---- writes

static struct decision write_next(const struct record *held)
{
    const struct local_write write = {.seq = SEQ + 1, .value = VALUE, .expires_at_us = EXPIRES};
    return coherence_write(held, &write);
}

static void a_write_is_pending_over_anything(void **state)
{
    (void)state;
    static const enum verdict ALL[HELD_COUNT] = {STORE, STORE, STORE, STORE,
                                                 STORE, STORE, STORE, STORE};
    expect_all(ALL, write_next);
    for (enum held held = NOTHING; held < HELD_COUNT; held++) {
        struct record record = write_next(record_of(held)).record;
        assert_true(record.pending);
        assert_false(record.tainted);
        assert_int_equal(record.pending_seq, SEQ + 1);
        assert_int_equal(record.expires_at_us, EXPIRES);
        assert_int_equal(record.stacked, held >= PENDING);
    }
}

static void a_delete_is_a_pending_absence(void **state)
{
    (void)state;
    const struct local_write write = {.seq = 1, .absent = true};
    struct decision decision = coherence_write(NULL, &write);
    expect(NOTHING, decision, VERDICT_STORE);
    assert_true(decision.record.pending);
    assert_true(decision.record.absent);
}

static void a_key_twice_in_one_write_is_not_stacked(void **state)
{
    (void)state;
    const struct local_write write = {.seq = SEQ, .value = VALUE};
    assert_false(coherence_write(&RECORDS[PENDING], &write).record.stacked);
    assert_true(coherence_write(&RECORDS[STACKED], &write).record.stacked);
}

// ---- fills

static const struct fetched FETCHED = {
    .epoch = EPOCH,
    .present = true,
    .version = 8,
    .expires_at_us = EXPIRES,
    .value = {(const uint8_t *)"new", 3},
};

static void a_fill_never_overwrites_a_pending_write(void **state)
{
    (void)state;
    static const enum verdict VERDICTS[HELD_COUNT] = {STORE, STORE, STORE, STORE,
                                                      KEEP,  KEEP,  KEEP,  KEEP};
    for (enum held held = NOTHING; held < HELD_COUNT; held++) {
        struct decision decision = coherence_fill(record_of(held), &FETCHED, LIVE, true);
        expect(held, decision, VERDICTS[held]);
        if (decision.verdict == VERDICT_STORE) {
            assert_false(decision.record.pending);
            assert_int_equal(decision.record.version, 8);
            assert_int_equal(decision.record.epoch, EPOCH);
            assert_int_equal(decision.record.expires_at_us, EXPIRES);
        }
    }
}

static void a_fill_of_another_epoch_or_without_a_feed_is_not_held(void **state)
{
    (void)state;
    for (enum held held = NOTHING; held < HELD_COUNT; held++) {
        expect(held, coherence_fill(record_of(held), &FETCHED, LATER, true), VERDICT_KEEP);
        expect(held, coherence_fill(record_of(held), &FETCHED, LOST, true), VERDICT_KEEP);
    }
}

static void an_absence_is_held_where_that_is_wanted(void **state)
{
    (void)state;
    struct fetched absent = {.epoch = EPOCH};
    for (enum held held = NOTHING; held < PENDING; held++) {
        struct decision decision = coherence_fill(record_of(held), &absent, LIVE, true);
        expect(held, decision, VERDICT_STORE);
        assert_true(decision.record.absent);
        expect(held, coherence_fill(record_of(held), &absent, LIVE, false),
               held == NOTHING ? VERDICT_KEEP : VERDICT_DROP);
    }
}

// ---- notifications

static struct decision notify_other(const struct record *held)
{
    return coherence_foreign_notify(held, VERSION + 1);
}

static struct decision notify_older(const struct record *held)
{
    return coherence_foreign_notify(held, VERSION - 1);
}

static struct decision notify_same(const struct record *held)
{
    return coherence_foreign_notify(held, VERSION);
}

static void a_foreign_notify_drops_other_versions_and_taints(void **state)
{
    (void)state;
    static const enum verdict OTHER[HELD_COUNT] = {KEEP,  DROP,  DROP, DROP,
                                                   STORE, STORE, KEEP, STORE};
    static const enum verdict SAME[HELD_COUNT] = {KEEP,  KEEP,  KEEP, KEEP,
                                                  STORE, STORE, KEEP, STORE};
    expect_all(OTHER, notify_other);
    expect_all(OTHER, notify_older); // versions say same or different, never newer
    expect_all(SAME, notify_same);
    for (enum held held = PENDING; held < HELD_COUNT; held++) {
        struct decision decision = notify_other(record_of(held));
        if (decision.verdict == VERDICT_STORE) {
            assert_true(decision.record.tainted);
            assert_int_equal(decision.record.pending_seq, SEQ);
        }
    }
}

static struct decision own_notify_other(const struct record *held)
{
    return coherence_own_notify(held, VERSION + 1, false);
}

static struct decision own_notify_same(const struct record *held)
{
    return coherence_own_notify(held, VERSION, false);
}

static struct decision own_notify_delete(const struct record *held)
{
    return coherence_own_notify(held, VERSION + 1, true);
}

static void an_own_notify_leaves_what_is_pending_and_drops_what_is_older(void **state)
{
    (void)state;
    static const enum verdict OTHER[HELD_COUNT] = {KEEP, DROP, DROP, DROP, KEEP, KEEP, KEEP, KEEP};
    static const enum verdict SAME[HELD_COUNT] = {KEEP, KEEP, DROP, KEEP, KEEP, KEEP, KEEP, KEEP};
    static const enum verdict DELETE[HELD_COUNT] = {KEEP, DROP, KEEP, DROP, KEEP, KEEP, KEEP, KEEP};
    expect_all(OTHER, own_notify_other);
    expect_all(SAME, own_notify_same);
    expect_all(DELETE, own_notify_delete);
}

// ---- flush results

static const struct flush_result FLUSHED = {
    .seq = SEQ,
    .present = true,
    .version = 8,
    .epoch = EPOCH,
    .feed_was_live = true,
};

static void a_flush_settles_its_own_pending_write(void **state)
{
    (void)state;
    static const enum verdict VERDICTS[HELD_COUNT] = {KEEP,  DROP, DROP, DROP,
                                                      STORE, DROP, DROP, STORE};
    for (enum held held = NOTHING; held < HELD_COUNT; held++) {
        struct decision decision = coherence_flushed(record_of(held), &FLUSHED, LIVE, false, true);
        expect(held, decision, VERDICTS[held]);
    }
    struct record clean = coherence_flushed(&RECORDS[PENDING], &FLUSHED, LIVE, false, true).record;
    assert_false(clean.pending);
    assert_int_equal(clean.version, 8);
    assert_int_equal(clean.epoch, EPOCH);
    assert_int_equal(clean.expires_at_us, EXPIRES);
    assert_true(slice_equal(clean.value, RECORDS[PENDING].value));
}

static void a_flush_leaves_a_later_pending_write_alone(void **state)
{
    (void)state;
    struct flush_result earlier = FLUSHED;
    earlier.seq = SEQ - 1;
    for (enum held held = PENDING; held < HELD_COUNT; held++) {
        expect(held, coherence_flushed(record_of(held), &earlier, LIVE, true, true), VERDICT_KEEP);
        earlier.drop = true;
        expect(held, coherence_flushed(record_of(held), &earlier, LOST, true, true), VERDICT_KEEP);
        earlier.drop = false;
    }
}

static void a_flush_that_is_not_known_well_enough_drops(void **state)
{
    (void)state;
    struct flush_result unknown[4] = {FLUSHED, FLUSHED, FLUSHED, FLUSHED};
    unknown[0].drop = true;
    unknown[1].feed_was_live = false;
    unknown[2].epoch = EPOCH - 1;
    for (size_t i = 0; i < 4; i++) {
        struct feed_state feed = i == 3 ? LOST : LIVE;
        for (enum held held = NOTHING; held < HELD_COUNT; held++) {
            expect(held, coherence_flushed(record_of(held), &unknown[i], feed, true, true),
                   held == NOTHING ? VERDICT_KEEP : VERDICT_DROP);
        }
    }
}

static void a_flushed_delete_is_a_known_absence(void **state)
{
    (void)state;
    struct flush_result deleted = FLUSHED;
    deleted.present = false;
    struct decision decision =
        coherence_flushed(&RECORDS[PENDING_ABSENT], &deleted, LIVE, false, true);
    expect(PENDING_ABSENT, decision, VERDICT_STORE);
    assert_true(decision.record.absent);
    assert_false(decision.record.pending);
    expect(PENDING_ABSENT,
           coherence_flushed(&RECORDS[PENDING_ABSENT], &deleted, LIVE, false, false), VERDICT_DROP);
    // A set whose time passed before its flush was flushed as a delete.
    decision = coherence_flushed(&RECORDS[PENDING], &deleted, LIVE, false, true);
    expect(PENDING, decision, VERDICT_STORE);
    assert_true(decision.record.absent);
}

static void a_result_is_believed_only_where_no_notify_came(void **state)
{
    (void)state;
    struct flush_result result = FLUSHED;
    result.seq = SEQ + 1;
    result.has_value = true;
    result.value = FETCHED.value;
    static const enum verdict BELIEVED[HELD_COUNT] = {STORE, STORE, STORE, STORE,
                                                      STORE, STORE, DROP,  STORE};
    static const enum verdict DOUBTED[HELD_COUNT] = {KEEP, DROP, DROP, DROP,
                                                     DROP, DROP, DROP, DROP};
    for (enum held held = NOTHING; held < HELD_COUNT; held++) {
        struct decision believed = coherence_flushed(record_of(held), &result, LIVE, true, true);
        expect(held, believed, BELIEVED[held]);
        if (believed.verdict == VERDICT_STORE) {
            assert_true(slice_equal(believed.record.value, result.value));
            assert_false(believed.record.pending);
        }
        expect(held, coherence_flushed(record_of(held), &result, LIVE, false, true), DOUBTED[held]);
    }
    // What is held is that very version: it came by a fill.
    result.version = VERSION;
    expect(CLEAN, coherence_flushed(&RECORDS[CLEAN], &result, LIVE, false, true), VERDICT_KEEP);
}

static void a_result_without_its_value_is_not_guessed(void **state)
{
    (void)state;
    struct flush_result touched = FLUSHED;
    touched.seq = SEQ + 1; // a touch after the set, in one batch
    for (enum held held = CLEAN; held < HELD_COUNT; held++) {
        expect(held, coherence_flushed(record_of(held), &touched, LIVE, true, true), VERDICT_DROP);
    }
}

// ---- the rest

static struct decision retire(const struct record *held)
{
    return coherence_retired(held, SEQ);
}

static struct decision retire_later(const struct record *held)
{
    return coherence_retired(held, SEQ + 1);
}

static struct decision overtake(const struct record *held)
{
    return coherence_overtaken(held, SEQ + 1);
}

static struct decision overtake_earlier(const struct record *held)
{
    return coherence_overtaken(held, SEQ - 1);
}

static struct decision sweep(const struct record *held)
{
    return coherence_sweep_drop(held, EPOCH);
}

static struct decision recover_applied(const struct record *held)
{
    return coherence_recover(held, false);
}

static struct decision recover_unapplied(const struct record *held)
{
    return coherence_recover(held, true);
}

static void other_events_drop_what_they_must(void **state)
{
    (void)state;
    static const struct {
        struct decision (*decide)(const struct record *held);
        enum verdict verdicts[HELD_COUNT];
    } ROWS[] = {
        {retire, {KEEP, DROP, DROP, DROP, DROP, DROP, DROP, DROP}},
        {retire_later, {KEEP, DROP, DROP, DROP, KEEP, KEEP, KEEP, KEEP}},
        {overtake, {KEEP, DROP, DROP, DROP, DROP, DROP, DROP, DROP}},
        {overtake_earlier, {KEEP, DROP, DROP, DROP, KEEP, KEEP, KEEP, KEEP}},
        {sweep, {KEEP, KEEP, KEEP, DROP, KEEP, KEEP, KEEP, KEEP}},
        {coherence_drop_all, {KEEP, DROP, DROP, DROP, STORE, STORE, KEEP, STORE}},
        {coherence_invalidate, {KEEP, DROP, DROP, DROP, KEEP, KEEP, KEEP, KEEP}},
        {recover_applied, {KEEP, KEEP, KEEP, KEEP, DROP, DROP, DROP, DROP}},
        {recover_unapplied, {KEEP, KEEP, KEEP, KEEP, KEEP, KEEP, KEEP, KEEP}},
    };
    for (size_t i = 0; i < sizeof ROWS / sizeof ROWS[0]; i++) {
        expect_all(ROWS[i].verdicts, ROWS[i].decide);
    }
    assert_true(coherence_drop_all(&RECORDS[PENDING]).record.tainted);
}

// ---- trust

#define NOW    ((int64_t)100000000)
#define SECOND ((int64_t)1000000)

static const struct page_view PAGE = {
    .epoch = EPOCH,
    .feed_live = true,
    .max_stale_us = 60 * SECOND,
    .beats = {{.epoch = EPOCH, .beat_us = NOW - SECOND},
              {.epoch = EPOCH - 1, .beat_us = NOW - 30 * SECOND}},
};

static enum trust trust_of(enum held held, const struct page_view *page, int64_t *current_us)
{
    return trust_of_record(record_of(held), slice_of_string("m"), page, NOW, current_us);
}

static void a_pending_record_is_always_good(void **state)
{
    (void)state;
    const struct page_view blank = {0};
    for (enum held held = PENDING; held < HELD_COUNT; held++) {
        int64_t current_us;
        assert_int_equal(trust_of(held, &blank, &current_us), TRUST_GOOD);
        assert_int_equal(current_us, NOW);
    }
}

static void a_live_feed_vouches_for_its_epoch(void **state)
{
    (void)state;
    int64_t current_us;
    assert_int_equal(trust_of(CLEAN, &PAGE, &current_us), TRUST_GOOD);
    assert_int_equal(current_us, NOW - SECOND);
    assert_int_equal(trust_of(CLEAN_ABSENT, &PAGE, &current_us), TRUST_GOOD);
    assert_int_equal(trust_of(SUSPECT, &PAGE, &current_us), TRUST_SUSPECT);
    assert_int_equal(current_us, NOW - 30 * SECOND);
}

static void a_dead_feed_vouches_until_max_stale(void **state)
{
    (void)state;
    static const struct {
        int64_t age_us;
        int64_t max_stale_us;
        enum trust trust;
        bool feed_live;
    } ROWS[] = {
        {2 * SECOND, 0, TRUST_GOOD, true},
        {2 * SECOND + 1, 0, TRUST_STALE, true}, // not heard of for too long: dead, said or not
        {1, 0, TRUST_STALE, false},
        {1, 1, TRUST_GOOD, false},
        {60 * SECOND, 60 * SECOND, TRUST_GOOD, false},
        {60 * SECOND + 1, 60 * SECOND, TRUST_STALE, false},
        {60 * SECOND + 1, 60 * SECOND, TRUST_STALE, true},
    };
    for (size_t i = 0; i < sizeof ROWS / sizeof ROWS[0]; i++) {
        struct page_view page = PAGE;
        page.feed_live = ROWS[i].feed_live;
        page.max_stale_us = ROWS[i].max_stale_us;
        page.beats[0].beat_us = NOW - ROWS[i].age_us;
        int64_t current_us;
        assert_int_equal(trust_of(CLEAN, &page, &current_us), ROWS[i].trust);
    }
}

static void the_hand_of_the_sweep_makes_good_again(void **state)
{
    (void)state;
    static const struct {
        const char *hand;
        enum trust trust;
    } ROWS[] = {{"", TRUST_SUSPECT}, {"l", TRUST_SUSPECT}, {"m", TRUST_GOOD}, {"ma", TRUST_GOOD}};
    for (size_t i = 0; i < sizeof ROWS / sizeof ROWS[0]; i++) {
        struct page_view page = PAGE;
        page.hand_bytes = strlen(ROWS[i].hand);
        memcpy(page.hand, ROWS[i].hand, page.hand_bytes);
        int64_t current_us;
        assert_int_equal(trust_of(SUSPECT, &page, &current_us), ROWS[i].trust);
    }
    struct page_view done = PAGE;
    done.beats[0].swept = true;
    int64_t current_us;
    assert_int_equal(trust_of(SUSPECT, &done, &current_us), TRUST_GOOD);
}

static void a_suspect_is_as_old_as_the_last_epoch_that_it_was_good_in(void **state)
{
    (void)state;
    int64_t current_us;
    struct page_view page = PAGE;
    page.epoch = EPOCH + 1;
    page.beats[2] = (struct epoch_beat){.epoch = EPOCH + 1, .beat_us = NOW};
    // Of the epoch before last, which was never swept in the last one.
    assert_int_equal(trust_of(SUSPECT, &page, &current_us), TRUST_SUSPECT);
    assert_int_equal(current_us, NOW - 30 * SECOND);
    page.beats[0].swept = true;
    assert_int_equal(trust_of(SUSPECT, &page, &current_us), TRUST_SUSPECT);
    assert_int_equal(current_us, NOW - SECOND);
    page.max_stale_us = SECOND - 1;
    assert_int_equal(trust_of(SUSPECT, &page, &current_us), TRUST_STALE);
}

static void an_epoch_too_long_ago_is_stale(void **state)
{
    (void)state;
    struct page_view page = PAGE;
    page.beats[1] = (struct epoch_beat){0};
    int64_t current_us;
    assert_int_equal(trust_of(SUSPECT, &page, &current_us), TRUST_STALE);
    assert_int_equal(current_us, 0);
}

static void before_the_first_heartbeat_an_epoch_vouches_for_nothing(void **state)
{
    (void)state;
    struct page_view page = PAGE;
    page.beats[0].beat_us = 0;
    int64_t current_us;
    assert_int_equal(trust_of(CLEAN, &page, &current_us), TRUST_STALE);
    // What the sweep has passed is at least as good as it was in its own epoch.
    page.beats[0].swept = true;
    assert_int_equal(trust_of(SUSPECT, &page, &current_us), TRUST_GOOD);
    assert_int_equal(current_us, NOW - 30 * SECOND);
}

static void expiry_is_judged_by_the_clock(void **state)
{
    (void)state;
    assert_false(record_is_expired(&RECORDS[CLEAN], EXPIRES - 1));
    assert_true(record_is_expired(&RECORDS[CLEAN], EXPIRES));
    assert_false(record_is_expired(&RECORDS[SUSPECT], INT64_MAX));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_write_is_pending_over_anything),
        cmocka_unit_test(a_delete_is_a_pending_absence),
        cmocka_unit_test(a_key_twice_in_one_write_is_not_stacked),
        cmocka_unit_test(a_fill_never_overwrites_a_pending_write),
        cmocka_unit_test(a_fill_of_another_epoch_or_without_a_feed_is_not_held),
        cmocka_unit_test(an_absence_is_held_where_that_is_wanted),
        cmocka_unit_test(a_foreign_notify_drops_other_versions_and_taints),
        cmocka_unit_test(an_own_notify_leaves_what_is_pending_and_drops_what_is_older),
        cmocka_unit_test(a_flush_settles_its_own_pending_write),
        cmocka_unit_test(a_flush_leaves_a_later_pending_write_alone),
        cmocka_unit_test(a_flush_that_is_not_known_well_enough_drops),
        cmocka_unit_test(a_flushed_delete_is_a_known_absence),
        cmocka_unit_test(a_result_is_believed_only_where_no_notify_came),
        cmocka_unit_test(a_result_without_its_value_is_not_guessed),
        cmocka_unit_test(other_events_drop_what_they_must),
        cmocka_unit_test(a_pending_record_is_always_good),
        cmocka_unit_test(a_live_feed_vouches_for_its_epoch),
        cmocka_unit_test(a_dead_feed_vouches_until_max_stale),
        cmocka_unit_test(the_hand_of_the_sweep_makes_good_again),
        cmocka_unit_test(a_suspect_is_as_old_as_the_last_epoch_that_it_was_good_in),
        cmocka_unit_test(an_epoch_too_long_ago_is_stale),
        cmocka_unit_test(before_the_first_heartbeat_an_epoch_vouches_for_nothing),
        cmocka_unit_test(expiry_is_judged_by_the_clock),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
