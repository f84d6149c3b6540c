// The order of one connection's requests against a plain model: whoever runs has no earlier
// undecided request in its way, writes on a key run in the order they came, and nobody is
// forgotten.

#include "server/order.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { REQUESTS = 4000, KEYS = 12, KEYS_A_CALL = 5, UNDECIDED_MAX = 60, NAME_BYTES = 16 };

struct modelled {
    struct order_entry entry; // first: the order hands out entries
    enum method method;
    int keys[KEYS_A_CALL];
    size_t keys_count;
    bool runs;
    bool decided;
};

static struct call call_of(const struct modelled *modelled, struct pair *pairs,
                           char names[][NAME_BYTES])
{
    for (size_t i = 0; i < modelled->keys_count; i++) {
        snprintf(names[i], NAME_BYTES, "k%d", modelled->keys[i]);
        pairs[i] = (struct pair){.key = slice_of_string(names[i])};
    }
    return (struct call){
        .method = modelled->method, .pairs = pairs, .pairs_count = modelled->keys_count};
}

static bool share_a_key(const struct modelled *a, const struct modelled *b)
{
    for (size_t i = 0; i < a->keys_count; i++) {
        for (size_t j = 0; j < b->keys_count; j++) {
            if (a->keys[i] == b->keys[j]) {
                return true;
            }
        }
    }
    return false;
}

// Whether `later` must not run while `earlier` is in its state.
static bool is_in_the_way(const struct modelled *earlier, const struct modelled *later)
{
    enum order_class class = later->entry.class;
    if (earlier->decided) {
        return false;
    }
    if (class == ORDER_AFTER_WRITES) {
        return earlier->entry.class == ORDER_WRITE;
    }
    if (earlier->entry.class == ORDER_AFTER_WRITES || !share_a_key(earlier, later)) {
        return false;
    }
    return earlier->entry.class != class || (class == ORDER_WRITE && !earlier->runs);
}

static void assert_may_run(const struct modelled *all, size_t place)
{
    for (size_t i = 0; i < place; i++) {
        if (is_in_the_way(&all[i], &all[place])) {
            fail_msg("%zu runs before %zu", place, i);
        }
    }
}

static void run_ready(struct order *order, const struct modelled *all)
{
    struct order_entry *entry;
    while ((entry = order_next_ready(order)) != NULL) {
        struct modelled *ready = (struct modelled *)entry;
        assert_false(ready->runs);
        assert_may_run(all, (size_t)(ready - all));
        ready->runs = true;
    }
}

static void make_request(struct modelled *modelled, unsigned *seed)
{
    static const enum method METHODS[] = {METHOD_GET,  METHOD_GET,    METHOD_SET, METHOD_SET,
                                          METHOD_MGET, METHOD_DELETE, METHOD_SCAN};
    modelled->method = METHODS[(size_t)rand_r(seed) % (sizeof METHODS / sizeof *METHODS)];
    bool many = modelled->method == METHOD_MGET || modelled->method == METHOD_DELETE;
    modelled->keys_count = modelled->method == METHOD_SCAN ? 0
                           : many                          ? 1 + (size_t)rand_r(seed) % KEYS_A_CALL
                                                           : 1;
    for (size_t i = 0; i < modelled->keys_count; i++) {
        modelled->keys[i] = rand_r(seed) % KEYS;
    }
}

static void enter(struct order *order, const struct modelled *all, struct modelled *modelled)
{
    struct pair pairs[KEYS_A_CALL];
    char names[KEYS_A_CALL][NAME_BYTES];
    struct call call = call_of(modelled, pairs, names);
    bool must_wait = order_must_wait(order, &call);
    modelled->runs = order_enter(order, &modelled->entry, &call);
    assert_int_equal(modelled->runs, !must_wait);
    if (modelled->runs) {
        assert_may_run(all, (size_t)(modelled - all));
    }
}

// Decides one of those that run, at random. False where none runs.
static bool decide_one(struct order *order, struct modelled *all, size_t count, unsigned *seed)
{
    size_t start = (size_t)rand_r(seed) % (count + 1);
    for (size_t i = 0; i < count; i++) {
        struct modelled *modelled = &all[(start + i) % count];
        if (modelled->runs && !modelled->decided) {
            modelled->decided = true;
            order_leave(order, &modelled->entry);
            run_ready(order, all);
            return true;
        }
    }
    return false;
}

static void random_requests_keep_the_order_and_all_run(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 10; round++) {
        unsigned seed = 20251101 + round;
        struct modelled *all = calloc(REQUESTS, sizeof *all);
        struct order order;
        order_init(&order);
        size_t undecided = 0;
        for (size_t count = 0; count < REQUESTS; count++) {
            make_request(&all[count], &seed);
            enter(&order, all, &all[count]);
            undecided++;
            while (undecided > UNDECIDED_MAX || (undecided > 0 && rand_r(&seed) % 2 == 0)) {
                assert_true(decide_one(&order, all, count + 1, &seed));
                undecided--;
            }
        }
        for (; undecided > 0; undecided--) {
            assert_true(decide_one(&order, all, REQUESTS, &seed));
        }
        assert_int_equal(order.entries_count, 0);
        order_deinit(&order);
        free(all);
    }
}

// More keys than there are stripes: an entry may meet itself on a stripe, and does not wait for it.
static void a_call_of_many_keys_does_not_wait_for_itself(void **state)
{
    (void)state;
    enum { MANY = 10000 };
    struct pair *pairs = calloc(MANY, sizeof *pairs);
    char(*names)[NAME_BYTES] = calloc(MANY, sizeof *names);
    for (int i = 0; i < MANY; i++) {
        snprintf(names[i], NAME_BYTES, "k%d", i);
        pairs[i] = (struct pair){.key = slice_of_string(names[i])};
    }
    struct call set = {.method = METHOD_MSET, .pairs = pairs, .pairs_count = MANY};
    struct call get = {.method = METHOD_MGET, .pairs = pairs, .pairs_count = MANY};
    struct order order;
    struct order_entry first, second, third, fourth;
    order_init(&order);
    assert_true(order_enter(&order, &first, &get));
    assert_false(order_enter(&order, &second, &set));
    assert_false(order_enter(&order, &third, &set));
    assert_false(order_enter(&order, &fourth, &get));
    order_leave(&order, &first);
    assert_ptr_equal(order_next_ready(&order), &second);
    assert_ptr_equal(order_next_ready(&order), &third);
    assert_null(order_next_ready(&order));
    order_leave(&order, &third);
    assert_null(order_next_ready(&order));
    order_leave(&order, &second);
    assert_ptr_equal(order_next_ready(&order), &fourth);
    order_leave(&order, &fourth);
    order_deinit(&order);
    free(names);
    free(pairs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_requests_keep_the_order_and_all_run),
        cmocka_unit_test(a_call_of_many_keys_does_not_wait_for_itself),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
