// The mailbox between threads: order, bounds, and a wake-up that is never lost.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/mailbox.h"

enum { WRITERS = 4, MESSAGES_EACH = 20000 };

struct numbered {
    struct message message;
    int writer;
    int number;
};

static struct message *make(int writer, int number)
{
    struct numbered *numbered = calloc(1, sizeof *numbered);
    numbered->message.bytes = sizeof *numbered;
    numbered->writer = writer;
    numbered->number = number;
    return &numbered->message;
}

static bool is_readable(const struct mailbox *mailbox)
{
    struct pollfd ready = {.fd = mailbox_fd(mailbox), .events = POLLIN};
    return poll(&ready, 1, 0) == 1;
}

static void order_is_kept(void **state)
{
    (void)state;
    struct mailbox mailbox;
    assert_int_equal(mailbox_init(&mailbox, 10, 10000), ERROR_NONE);
    assert_false(is_readable(&mailbox));
    for (int i = 0; i < 3; i++) {
        mailbox_push(&mailbox, make(0, i));
    }
    assert_true(is_readable(&mailbox));
    struct message *message = mailbox_take(&mailbox);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(((struct numbered *)message)->number, i);
        struct message *next = message->next;
        free(message);
        message = next;
    }
    assert_null(message);
    assert_false(is_readable(&mailbox));
    assert_null(mailbox_take(&mailbox));
    mailbox_wake(&mailbox);
    assert_true(is_readable(&mailbox));
    assert_null(mailbox_take(&mailbox));
    assert_false(is_readable(&mailbox));
    mailbox_deinit(&mailbox);
}

static void full_is_refused(void **state)
{
    (void)state;
    const struct {
        size_t count_max;
        size_t bytes_max;
    } LIMITS[] = {{2, 10000}, {100, 2 * sizeof(struct numbered)}};
    for (size_t i = 0; i < sizeof LIMITS / sizeof LIMITS[0]; i++) {
        struct mailbox mailbox;
        assert_int_equal(mailbox_init(&mailbox, LIMITS[i].count_max, LIMITS[i].bytes_max),
                         ERROR_NONE);
        struct message *kept = make(0, 9);
        assert_true(mailbox_offer(&mailbox, make(0, 1)));
        assert_true(mailbox_offer(&mailbox, make(0, 2)));
        assert_true(mailbox_is_full(&mailbox));
        assert_false(mailbox_offer(&mailbox, kept));
        mailbox_push(&mailbox, kept); // an answer is always taken
        int count = 0;
        for (struct message *message = mailbox_take(&mailbox); message != NULL; count++) {
            struct message *next = message->next;
            free(message);
            message = next;
        }
        assert_int_equal(count, 3);
        assert_false(mailbox_is_full(&mailbox));
        mailbox_deinit(&mailbox);
    }
}

static struct mailbox shared;

static void *write_many(void *argument)
{
    int writer = (int)(intptr_t)argument;
    for (int i = 0; i < MESSAGES_EACH; i++) {
        mailbox_push(&shared, make(writer, i));
    }
    return NULL;
}

// A lost wake-up would leave the reader in poll() for ever: the test's deadline is poll's.
static void no_wake_up_is_lost(void **state)
{
    (void)state;
    assert_int_equal(mailbox_init(&shared, SIZE_MAX, SIZE_MAX), ERROR_NONE);
    pthread_t threads[WRITERS];
    for (int i = 0; i < WRITERS; i++) {
        pthread_create(&threads[i], NULL, write_many, (void *)(intptr_t)i);
    }
    int next_number[WRITERS] = {0};
    int count = 0;
    while (count < WRITERS * MESSAGES_EACH) {
        struct pollfd ready = {.fd = mailbox_fd(&shared), .events = POLLIN};
        assert_int_equal(poll(&ready, 1, 60000), 1);
        struct message *message = mailbox_take(&shared);
        while (message != NULL) {
            struct numbered *numbered = (struct numbered *)message;
            assert_int_equal(numbered->number, next_number[numbered->writer]++);
            message = message->next;
            free(numbered);
            count++;
        }
    }
    for (int i = 0; i < WRITERS; i++) {
        pthread_join(threads[i], NULL);
    }
    mailbox_deinit(&shared);
}

static void free_all(struct message *message)
{
    while (message != NULL) {
        struct message *next = message->next;
        free(message);
        message = next;
    }
}

static void what_is_quiet_keeps_its_place(void **state)
{
    (void)state;
    struct mailbox mailbox;
    assert_int_equal(mailbox_init(&mailbox, 1000, 1 << 20), ERROR_NONE);
    mailbox_nudge(&mailbox);
    assert_false(is_readable(&mailbox));
    mailbox_push_quietly(&mailbox, make(0, 0));
    assert_false(is_readable(&mailbox));
    mailbox_push(&mailbox, make(0, 1));
    assert_true(is_readable(&mailbox));
    struct message *messages = mailbox_take(&mailbox);
    assert_int_equal(((struct numbered *)messages)->number, 0);
    free_all(messages);
    assert_false(is_readable(&mailbox));
    mailbox_push_quietly(&mailbox, make(0, 2));
    mailbox_nudge(&mailbox);
    assert_true(is_readable(&mailbox));
    free_all(mailbox_take(&mailbox));
    mailbox_deinit(&mailbox);
}

static void a_corked_thread_wakes_once(void **state)
{
    (void)state;
    struct mailbox mailbox, other;
    assert_int_equal(mailbox_init(&mailbox, 1000, 1 << 20), ERROR_NONE);
    assert_int_equal(mailbox_init(&other, 1000, 1 << 20), ERROR_NONE);
    mailbox_cork();
    mailbox_push(&mailbox, make(0, 0));
    assert_true(mailbox_offer(&mailbox, make(0, 1)));
    mailbox_push(&other, make(0, 2));
    assert_false(is_readable(&mailbox));
    assert_false(is_readable(&other));
    // Whoever looks of his own accord is not woken for what he has taken.
    free_all(mailbox_take(&other));
    mailbox_uncork();
    assert_true(is_readable(&mailbox));
    assert_false(is_readable(&other));
    free_all(mailbox_take(&mailbox));
    mailbox_cork();
    int count = 0;
    while (!is_readable(&mailbox)) {
        mailbox_push(&mailbox, make(0, count++));
        assert_in_range(count, 1, 100);
    }
    assert_in_range(count, 10, 100);
    mailbox_uncork();
    free_all(mailbox_take(&mailbox));
    mailbox_push(&mailbox, make(0, 0));
    assert_true(is_readable(&mailbox));
    free_all(mailbox_take(&mailbox));
    mailbox_deinit(&mailbox);
    mailbox_deinit(&other);
}

static void a_reader_that_looks_before_it_is_told_is_not_told(void **state)
{
    (void)state;
    struct mailbox mailbox;
    assert_int_equal(mailbox_init(&mailbox, 10, 10000), ERROR_NONE);
    mailbox_cork();
    mailbox_cork();
    mailbox_push(&mailbox, make(0, 0));
    mailbox_uncork();
    assert_false(is_readable(&mailbox));
    free(mailbox_take(&mailbox));
    mailbox_uncork();
    assert_false(is_readable(&mailbox));
    mailbox_push(&mailbox, make(0, 1));
    assert_true(is_readable(&mailbox));
    free(mailbox_take(&mailbox));
    assert_false(is_readable(&mailbox));
    mailbox_deinit(&mailbox);
}

// The writer has put its message in, and signals only after the reader, awake anyway, has taken it.
static void a_signal_that_comes_late_is_drained(void **state)
{
    (void)state;
    struct mailbox mailbox;
    assert_int_equal(mailbox_init(&mailbox, 10, 10000), ERROR_NONE);
    mailbox_push(&mailbox, make(0, 0));
    uint64_t signals;
    assert_int_equal(read(mailbox_fd(&mailbox), &signals, sizeof signals), sizeof signals);
    free(mailbox_take(&mailbox));
    mailbox_push(&mailbox, make(0, 1)); // its reader is about to be woken: no second signal
    assert_false(is_readable(&mailbox));
    assert_int_equal(write(mailbox_fd(&mailbox), &signals, sizeof signals), sizeof signals);
    assert_true(is_readable(&mailbox));
    free(mailbox_take(&mailbox));
    assert_false(is_readable(&mailbox));
    mailbox_deinit(&mailbox);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_corked_thread_wakes_once),
        cmocka_unit_test(what_is_quiet_keeps_its_place),
        cmocka_unit_test(order_is_kept),
        cmocka_unit_test(full_is_refused),
        cmocka_unit_test(no_wake_up_is_lost),
        cmocka_unit_test(a_reader_that_looks_before_it_is_told_is_not_told),
        cmocka_unit_test(a_signal_that_comes_late_is_drained),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
