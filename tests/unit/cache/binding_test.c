// The outbox is bound to another cluster or database: what is applied by then is in the former one,
// and in whatever its data was moved to (the crash in between is in system/fault_failover).
#include "cache/writer_state.h"
#include "unit/cache/rig.h"

#include <signal.h>

enum { MADE_US = 77, OTHER_MADE_US = 78 };

static struct bind_message *binding_to(const char *system, int64_t started_us)
{
    struct bind_message *bind = message_create(MESSAGE_BIND, sizeof *bind);
    bind->server = (struct server_start){.started_us = started_us, .timeline = "00000001"};
    snprintf(bind->binding.system_identifier, SYSTEM_IDENTIFIER_BYTES, "%s", system);
    snprintf(bind->binding.database, DATABASE_BYTES, "app");
    snprintf(bind->binding.table, TABLE_BYTES, "kv_store");
    return bind;
}

static void bind_to(struct rig *rig, const char *system, int64_t started_us)
{
    rig_push_message(rig, binding_to(system, started_us));
    rig_turn(rig);
    struct bind_message *back = rig_posted(rig);
    assert_int_equal(back->message.kind, MESSAGE_BIND);
    assert_int_equal(back->former_seq, writer_identity(rig->writer)->former_seq);
    message_destroy(&back->message);
}

// Bound to one cluster, which has the first two writes.
static uint64_t start_bound(struct rig *rig)
{
    rig_open(rig);
    bind_to(rig, "one", MADE_US);
    rig_feed(rig, FEED_STARTED);
    rig_flush(rig, "a", rig_set(rig, "a", "v"), 1);
    uint64_t applied_seq = rig_set(rig, "b", "v");
    rig_flush(rig, "b", applied_seq, 2);
    return applied_seq;
}

static void the_same_binding_leaves_all_as_it_is(void **state)
{
    struct rig *rig = *state;
    start_bound(rig);
    bind_to(rig, "one", MADE_US);
    rig_crash(rig);
    rig_open(rig);
    assert_int_equal(writer_identity(rig->writer)->former_seq, 0);
    assert_int_equal(writer_identity(rig->writer)->server.started_us, MADE_US);
}

static _Noreturn void bind_elsewhere_until_killed(struct rig *rig)
{
    uint64_t applied_seq = start_bound(rig);
    if (rig->writer->outbox.committed.applied_seq < applied_seq) {
        rig_push_message(rig, binding_to("two", OTHER_MADE_US));
        rig_arm("outbox.after_sync=crash");
        rig_turn(rig);
    }
    _exit(1);
}

// The crash comes right after the commit: what was applied, of which the outbox had not heard, and
// the binding, and that what is held is of a server that is not met any more, are known together.
static void what_is_applied_is_the_former_ones(void **state)
{
    struct rig *rig = *state;
    pid_t child = fork();
    if (child == 0) {
        bind_elsewhere_until_killed(rig);
    }
    int result;
    assert_int_equal(waitpid(child, &result, 0), child);
    assert_true(WIFSIGNALED(result) && WTERMSIG(result) == SIGKILL);
    rig_open(rig);
    const struct outbox_identity *identity = writer_identity(rig->writer);
    uint64_t applied_seq = identity->applied_seq;
    assert_string_equal(identity->binding.system_identifier, "two");
    assert_int_equal(applied_seq, rig_status(rig, STATUS_OUTBOX_LAST_SEQ));
    assert_int_equal(identity->former_seq, applied_seq);
    assert_int_not_equal(identity->server.started_us, MADE_US);
    assert_int_not_equal(identity->server.started_us, OTHER_MADE_US);
    // What comes later is the new one's, and is not vouched for.
    uint64_t seq = rig_set(rig, "c", "v");
    rig_flush(rig, "c", seq, 3);
    rig_stop(rig);
    rig_open(rig);
    assert_int_equal(writer_identity(rig->writer)->former_seq, applied_seq);
    assert_int_equal(writer_identity(rig->writer)->applied_seq, seq);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, rig_setup, rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_same_binding_leaves_all_as_it_is),
        TEST(what_is_applied_is_the_former_ones),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
