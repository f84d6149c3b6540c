// Encoded entries in memory: what is added is read back, cut off and joined.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "base/messages.h"
#include "cache/rows.h"

static void add(struct rows *rows, uint64_t seq)
{
    char text[32];
    snprintf(text, sizeof text, "value %llu", (unsigned long long)seq);
    struct pair pair = {.key = slice_of_string("key"), .value = slice_of_string(text)};
    const struct call call = {.method = METHOD_SET, .pairs_count = 1, .pairs = &pair};
    struct entry entry;
    struct buffer pairs = {0};
    entry_of_call(&call, &entry, &pairs);
    entry.seq = seq;
    struct slice encoded = rows_add(rows, &entry);
    struct entry again;
    assert_int_equal(entry_decode(seq, encoded, &again), ERROR_NONE);
    buffer_deinit(&pairs);
}

static void assert_seqs(struct rows_cursor cursor, const uint64_t *seqs, size_t count)
{
    uint64_t seq;
    struct slice bytes;
    for (size_t i = 0; i < count; i++) {
        struct entry entry;
        struct pair pair;
        char text[32];
        assert_true(rows_next(&cursor, &seq, &bytes));
        assert_int_equal(seq, seqs[i]);
        assert_int_equal(entry_decode(seq, bytes, &entry), ERROR_NONE);
        struct entry_cursor pairs = entry_cursor_of(&entry);
        assert_true(entry_next_pair(&pairs, &pair));
        snprintf(text, sizeof text, "value %llu", (unsigned long long)seq);
        assert_true(slice_equal(pair.value, slice_of_string(text)));
    }
    assert_false(rows_next(&cursor, &seq, &bytes));
}

static void what_is_added_is_read_in_order(void **state)
{
    (void)state;
    struct rows rows = {0};
    assert_int_equal(rows_first_seq(&rows), 0);
    assert_seqs(rows_cursor_of(&rows), NULL, 0);
    add(&rows, 3);
    add(&rows, 4);
    add(&rows, 9);
    assert_seqs(rows_cursor_of(&rows), (uint64_t[]){3, 4, 9}, 3);
    assert_int_equal(rows_first_seq(&rows), 3);
    assert_int_equal(rows.last_seq, 9);
    assert_int_equal(rows_count_up_to(&rows, 2), 0);
    assert_int_equal(rows_count_up_to(&rows, 4), 2);
    assert_int_equal(rows_count_up_to(&rows, 8), 2);
    assert_int_equal(rows_count_up_to(&rows, 100), 3);
    rows_clear(&rows);
    assert_int_equal(rows.count, 0);
    assert_int_equal(rows.last_seq, 0);
    add(&rows, 1);
    assert_seqs(rows_cursor_of(&rows), (uint64_t[]){1}, 1);
    rows_deinit(&rows);
}

static void a_cursor_begins_behind_a_number_wherever_the_last_was(void **state)
{
    (void)state;
    struct rows rows = {0};
    for (uint64_t seq = 2; seq <= 12; seq += 2) {
        add(&rows, seq);
    }
    assert_seqs(rows_cursor_after(&rows, 7), (uint64_t[]){8, 10, 12}, 3);
    assert_seqs(rows_cursor_after(&rows, 8), (uint64_t[]){10, 12}, 2);
    assert_seqs(rows_cursor_after(&rows, 3), (uint64_t[]){4, 6, 8, 10, 12}, 5);
    assert_seqs(rows_cursor_after(&rows, 12), NULL, 0);
    add(&rows, 13);
    assert_seqs(rows_cursor_after(&rows, 12), (uint64_t[]){13}, 1);
    assert_seqs(rows_cursor_after(&rows, 0), (uint64_t[]){2, 4, 6, 8, 10, 12, 13}, 7);
    rows_deinit(&rows);
}

static void what_came_after_a_mark_is_cut_off(void **state)
{
    (void)state;
    struct rows rows = {0};
    add(&rows, 1);
    struct rows_mark mark = rows_mark(&rows);
    add(&rows, 2);
    add(&rows, 3);
    assert_seqs(rows_cursor_after(&rows, 2), (uint64_t[]){3}, 1);
    rows_cut(&rows, mark);
    assert_seqs(rows_cursor_of(&rows), (uint64_t[]){1}, 1);
    add(&rows, 2);
    assert_seqs(rows_cursor_after(&rows, 1), (uint64_t[]){2}, 1);
    rows_cut(&rows, (struct rows_mark){0});
    assert_seqs(rows_cursor_of(&rows), NULL, 0);
    rows_deinit(&rows);
}

static void older_ones_are_put_in_front(void **state)
{
    (void)state;
    struct rows rows = {0};
    struct rows before = {0};
    add(&before, 1);
    add(&before, 2);
    rows_precede(&rows, &before);
    assert_seqs(rows_cursor_of(&rows), (uint64_t[]){1, 2}, 2);
    assert_seqs(rows_cursor_of(&before), NULL, 0);
    rows_clear(&rows);
    add(&before, 1);
    add(&rows, 5);
    add(&rows, 6);
    assert_seqs(rows_cursor_after(&rows, 5), (uint64_t[]){6}, 1);
    rows_precede(&rows, &before);
    assert_seqs(rows_cursor_of(&rows), (uint64_t[]){1, 5, 6}, 3);
    assert_seqs(rows_cursor_after(&rows, 1), (uint64_t[]){5, 6}, 2);
    assert_int_equal(rows.count, 3);
    assert_int_equal(rows.last_seq, 6);
    rows_deinit(&rows);
    rows_deinit(&before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_added_is_read_in_order),
        cmocka_unit_test(a_cursor_begins_behind_a_number_wherever_the_last_was),
        cmocka_unit_test(what_came_after_a_mark_is_cut_off),
        cmocka_unit_test(older_ones_are_put_in_front),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
