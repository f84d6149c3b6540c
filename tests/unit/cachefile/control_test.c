// The control page: what is published is seen whole, by other threads and after a crash.

#include "cachefile/control.h"
#include "cachefile/sketch.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/memory.h"
#include "remove_tree.h"

struct place {
    char path[64];
    struct directory directory;
};

static int setup(void **state)
{
    struct place *place = memory_zeroed(1, sizeof *place);
    strcpy(place->path, "/var/tmp/pgnear-control-test-XXXXXX");
    assert_non_null(mkdtemp(place->path));
    struct failure failure;
    assert_int_equal(directory_open(&place->directory, place->path, DIRECTORY_DISPOSABLE, &failure),
                     ERROR_NONE);
    *state = place;
    return 0;
}

static int teardown(void **state)
{
    struct place *place = *state;
    directory_close(&place->directory);
    remove_tree(place->path);
    free(place);
    return 0;
}

static struct control open_page(struct place *place)
{
    struct control control;
    struct failure failure;
    assert_int_equal(control_open(&control, &place->directory, &failure), ERROR_NONE);
    return control;
}

static void what_is_published_is_seen(void **state)
{
    struct control control = open_page(*state);
    assert_true(control.made);
    struct page_view view = {0};
    struct page_view seen;
    page_view_begin_epoch(&view, 1, 100);
    page_view_heartbeat(&view, 200);
    page_view_heartbeat(&view, 150); // never back
    page_view_sweep(&view, slice_of_string("a hand that is not a multiple of words"), false);
    view.clock_offset_us = -7;
    control_publish(control.page, &view);
    atomic_store(&control.page->max_stale_us, 9);
    control_view(control.page, &seen);
    assert_int_equal(seen.epoch, 1);
    assert_true(seen.feed_live);
    assert_int_equal(seen.clock_offset_us, -7);
    assert_int_equal(seen.max_stale_us, 9);
    assert_int_equal(seen.beats[1].beat_us, 200);
    assert_false(seen.beats[1].swept);
    assert_true(slice_equal(slice_of(seen.hand, seen.hand_bytes),
                            slice_of_string("a hand that is not a multiple of words")));
    control_close(&control);
    control = open_page(*state);
    assert_false(control.made);
    control_view(control.page, &seen);
    assert_int_equal(seen.epoch, 1);
    control_close(&control);
}

static void the_beats_of_the_last_epochs_are_kept(void **state)
{
    (void)state;
    struct page_view view = {0};
    for (uint64_t epoch = 1; epoch <= 20; epoch++) {
        page_view_begin_epoch(&view, epoch, (int64_t)epoch * 10);
        page_view_sweep(&view, slice_of(NULL, 0), epoch % 2 == 0);
        assert_int_equal(view.hand_bytes, 0);
    }
    int kept = 0;
    for (int i = 0; i < EPOCH_BEATS; i++) {
        const struct epoch_beat *beat = &view.beats[i];
        assert_in_range(beat->epoch, 13, 20);
        assert_int_equal(beat->beat_us, (int64_t)beat->epoch * 10);
        assert_int_equal(beat->swept, beat->epoch % 2 == 0);
        kept++;
    }
    assert_int_equal(kept, 8);
}

static void a_page_left_in_the_middle_of_a_change_gains_no_trust(void **state)
{
    struct control control = open_page(*state);
    struct page_view view = {0};
    page_view_begin_epoch(&view, 5, 100);
    page_view_sweep(&view, slice_of_string("m"), false);
    control_publish(control.page, &view);
    atomic_fetch_add(&control.page->sequence, 1); // as if it died there
    atomic_store(&control.page->beats[6].epoch, 6);
    control_close(&control);
    control = open_page(*state);
    struct page_view seen;
    control_view(control.page, &seen);
    assert_int_equal(seen.epoch, 6); // a number that may have been used is not used again
    assert_false(seen.feed_live);
    assert_int_equal(seen.hand_bytes, 0);
    for (int i = 0; i < EPOCH_BEATS; i++) {
        assert_int_equal(seen.beats[i].beat_us, 0);
    }
    control_close(&control);
}

static void a_page_of_another_layout_is_made_anew(void **state)
{
    struct control control = open_page(*state);
    control.page->layout = CONTROL_LAYOUT + 1;
    uint64_t generation = atomic_load(&control.page->generation);
    control_close(&control);
    control = open_page(*state);
    assert_true(control.made);
    assert_true(atomic_load(&control.page->generation) != generation);
    control_close(&control);
}

static void a_page_that_somebody_changed_is_made_anew(void **state)
{
    struct control control = open_page(*state);
    struct page_view view = {0};
    page_view_begin_epoch(&view, 5, 100);
    page_view_sweep(&view, slice_of_string("m"), false);
    control_publish(control.page, &view);
    control_close(&control);
    control = open_page(*state);
    assert_false(control.made);
    atomic_store(&control.page->hand[0], 'n');
    control_close(&control);
    control = open_page(*state);
    assert_true(control.made);
    control_publish(control.page, &view);
    // In the middle of a change nothing but an impossible number tells.
    atomic_fetch_add(&control.page->sequence, 1);
    atomic_store(&control.page->beats[6].epoch, UINT64_MAX);
    control_close(&control);
    control = open_page(*state);
    assert_true(control.made);
    control_close(&control);
}

struct race {
    struct control_page *page;
    _Atomic bool done;
    unsigned views;
};

// Every field of a published view says the same number.
static void *view_until_done(void *context)
{
    struct race *race = context;
    while (!atomic_load(&race->done)) {
        struct page_view seen;
        control_view(race->page, &seen);
        int64_t number = (int64_t)seen.epoch;
        bool whole = seen.clock_offset_us == number;
        for (int i = 0; i < EPOCH_BEATS; i++) {
            whole = whole && seen.beats[i].beat_us == number;
        }
        for (size_t i = 0; i < seen.hand_bytes; i++) {
            whole = whole && seen.hand[i] == (uint8_t)number;
        }
        if (!whole) {
            return race;
        }
        race->views++;
    }
    return NULL;
}

static void a_view_is_never_torn(void **state)
{
    struct control control = open_page(*state);
    struct race race = {.page = control.page};
    pthread_t reader;
    assert_int_equal(pthread_create(&reader, NULL, view_until_done, &race), 0);
    for (uint64_t number = 1; number <= 20000; number++) {
        struct page_view view = {.epoch = number, .clock_offset_us = (int64_t)number};
        for (int i = 0; i < EPOCH_BEATS; i++) {
            view.beats[i].beat_us = (int64_t)number;
        }
        view.hand_bytes = number % 511 + 1;
        memset(view.hand, (int)(number & 0xff), view.hand_bytes);
        control_publish(control.page, &view);
    }
    atomic_store(&race.done, true);
    void *torn;
    assert_int_equal(pthread_join(reader, &torn), 0);
    assert_null(torn);
    control_close(&control);
}

static void the_sketch_warms_and_cools(void **state)
{
    struct place *place = *state;
    struct sketch sketch;
    struct failure failure;
    assert_int_equal(sketch_open(&sketch, &place->directory, 1 << 20, true, &failure), ERROR_NONE);
    struct slice key = slice_of_string("key");
    assert_false(sketch_cool(&sketch, key));
    sketch_warm(&sketch, key, SKETCH_STORED);
    assert_true(sketch_cool(&sketch, key));
    assert_false(sketch_cool(&sketch, key));
    sketch_warm(&sketch, key, SKETCH_WARM);
    sketch_warm(&sketch, key, SKETCH_STORED); // no cooler by that
    assert_true(sketch_cool(&sketch, key));
    assert_true(sketch_cool(&sketch, key));
    assert_false(sketch_cool(&sketch, key));
    sketch_close(&sketch);
}

// The hash is shared with direct readers of other builds: it must not change by itself.
static void the_hash_spreads_and_stays(void **state)
{
    (void)state;
    unsigned seen[256] = {0};
    for (int i = 0; i < 25600; i++) {
        char key[32];
        snprintf(key, sizeof key, "user:%d", i);
        seen[sketch_hash(slice_of_string(key)) & 255]++;
    }
    for (int i = 0; i < 256; i++) {
        assert_in_range(seen[i], 50, 160);
    }
    assert_true(sketch_hash(slice_of_string("a")) != sketch_hash(slice_of("a\0", 2)));
    assert_true(sketch_hash(slice_of_string("12345678")) !=
                sketch_hash(slice_of_string("12345679")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_published_is_seen, setup, teardown),
        cmocka_unit_test(the_beats_of_the_last_epochs_are_kept),
        cmocka_unit_test_setup_teardown(a_page_left_in_the_middle_of_a_change_gains_no_trust, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_page_of_another_layout_is_made_anew, setup, teardown),
        cmocka_unit_test_setup_teardown(a_page_that_somebody_changed_is_made_anew, setup, teardown),
        cmocka_unit_test_setup_teardown(a_view_is_never_torn, setup, teardown),
        cmocka_unit_test_setup_teardown(the_sketch_warms_and_cools, setup, teardown),
        cmocka_unit_test(the_hash_spreads_and_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
