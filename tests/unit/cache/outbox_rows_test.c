// The rows of the outbox's `meta` and `ids`: what somebody or the disk has changed is not believed.

#include "cache/writer_state.h"
#include "unit/cache/raw_outbox.h"

enum { ROW_BYTES_MAX = 16 << 10, CHECKSUM_BYTES = 8 };

static const char *const ROWS[] = {"layout",  "node",    "incarnations", "ceiling",
                                   "applied", "trimmed", "binding",      "log_generation",
                                   "log",     "reapply", "server",       "former"};
enum { ROWS_COUNT = sizeof ROWS / sizeof ROWS[0] };

// Every row is there, some entries are, one of them is applied, and the node is down.
static int setup(void **state)
{
    struct rig *rig = memory_zeroed(1, sizeof *rig);
    rig_init(rig);
    rig->has_log = true;
    rig_open(rig);
    uint64_t seq = rig_set(rig, "a", "1");
    rig_set(rig, "b", "2");
    rig_pass(rig, RIG_S);
    const struct outbox_binding binding = {
        .system_identifier = "7",
        .database = "somewhere",
        .table = "kv_store",
    };
    const struct server_start server = {.started_us = 1, .timeline = "00000001"};
    struct outbox *outbox = &rig->writer->outbox;
    assert_int_equal(outbox_begin(outbox, 0), ERROR_NONE);
    outbox->state.applied_seq = seq;
    assert_int_equal(outbox_bind(outbox, &binding, &server), ERROR_NONE);
    assert_int_equal(outbox_commit(outbox), ERROR_NONE);
    rig_crash(rig);
    *state = rig;
    return 0;
}

static void assert_damaged(struct rig *rig, const char *name, const char *what, ssize_t at)
{
    struct failure failure;
    enum error error = rig_try_open(rig, &failure);
    if (error != ERROR_CORRUPT || strstr(failure.message, "is damaged") == NULL ||
        strstr(failure.message, "put a good copy of outbox.mdb") == NULL) {
        fail_msg("%s %s at %zd: %s", name, what, at, failure.message);
    }
}

static void flip(const struct rig *rig, const char *name, ssize_t at, uint8_t bit)
{
    struct raw_outbox raw;
    uint8_t row[ROW_BYTES_MAX] = {0};
    raw_outbox_open(&raw, rig);
    ssize_t bytes = raw_outbox_get(&raw, name, row, sizeof row);
    assert_in_range(at, 0, bytes - 1);
    row[at] ^= bit;
    raw_outbox_put(&raw, name, row, (size_t)bytes);
    raw_outbox_close(&raw);
}

static ssize_t length_of(const struct rig *rig, const char *name)
{
    struct raw_outbox raw;
    uint8_t row[ROW_BYTES_MAX];
    raw_outbox_open(&raw, rig);
    ssize_t bytes = raw_outbox_get(&raw, name, row, sizeof row);
    raw_outbox_close(&raw);
    return bytes;
}

static void a_changed_bit_stops_the_start(void **state)
{
    struct rig *rig = *state;
    for (size_t i = 0; i < ROWS_COUNT; i++) {
        ssize_t bytes = length_of(rig, ROWS[i]);
        assert_true(bytes > CHECKSUM_BYTES);
        for (ssize_t at = 0; at<bytes; at += bytes> 16 ? 5 : 1) {
            uint8_t bit = (uint8_t)(1 << (at % 8));
            flip(rig, ROWS[i], at, bit);
            assert_damaged(rig, ROWS[i], "changed", at);
            flip(rig, ROWS[i], at, bit);
        }
    }
    rig_open(rig);
    rig_assert_entries(rig, "..");
}

static void rename_row(const struct rig *rig, const char *from, const char *to)
{
    struct raw_outbox raw;
    uint8_t row[ROW_BYTES_MAX];
    raw_outbox_open(&raw, rig);
    ssize_t bytes = raw_outbox_get(&raw, from, row, sizeof row);
    assert_true(bytes > 0);
    raw_outbox_put(&raw, from, NULL, 0);
    raw_outbox_put(&raw, to, row, (size_t)bytes);
    raw_outbox_close(&raw);
}

static void a_changed_name_stops_the_start(void **state)
{
    struct rig *rig = *state;
    for (size_t i = 0; i < ROWS_COUNT; i++) {
        char other[32];
        snprintf(other, sizeof other, "%s", ROWS[i]);
        other[i % strlen(other)] ^= 2;
        rename_row(rig, ROWS[i], other);
        assert_damaged(rig, ROWS[i], "renamed", -1);
        rename_row(rig, other, ROWS[i]);
    }
    rig_open(rig);
}

static void a_missing_number_stops_the_start(void **state)
{
    struct rig *rig = *state;
    static const char *const NUMBERS[] = {"layout", "ceiling", "applied", "trimmed",
                                          "log_generation"};
    for (size_t i = 0; i < sizeof NUMBERS / sizeof NUMBERS[0]; i++) {
        struct raw_outbox raw;
        uint8_t row[ROW_BYTES_MAX];
        raw_outbox_open(&raw, rig);
        ssize_t bytes = raw_outbox_get(&raw, NUMBERS[i], row, sizeof row);
        raw_outbox_put(&raw, NUMBERS[i], NULL, 0);
        raw_outbox_close(&raw);
        assert_damaged(rig, NUMBERS[i], "missing", -1);
        raw_outbox_open(&raw, rig);
        raw_outbox_put(&raw, NUMBERS[i], row, (size_t)bytes);
        raw_outbox_close(&raw);
    }
    rig_open(rig);
}

// It had neither checksums, nor numbers that were 0 yet.
static void the_rows_of_the_release_before_are_taken(void **state)
{
    struct rig *rig = *state;
    struct raw_outbox raw;
    uint8_t row[ROW_BYTES_MAX];
    raw_outbox_open(&raw, rig);
    for (size_t i = 0; i < ROWS_COUNT; i++) {
        ssize_t bytes = raw_outbox_get(&raw, ROWS[i], row, sizeof row);
        bool is_zero = strcmp(ROWS[i], "trimmed") == 0;
        raw_outbox_put(&raw, ROWS[i], is_zero ? NULL : row, (size_t)bytes - CHECKSUM_BYTES);
    }
    raw_outbox_close(&raw);
    rig_open(rig);
    rig_assert_entries(rig, "..");
    assert_string_equal(rig->writer->outbox.identity.binding.database, "somewhere");
    rig_crash(rig);
    flip(rig, "trimmed", 0, 1);
    assert_damaged(rig, "trimmed", "changed", 0);
    flip(rig, "trimmed", 0, 1);
    rig_open(rig);
    rig_assert_entries(rig, "..");
}

// ---- ids

enum { AT_ID_FLAGS = 16, AT_ID_SUBJECT = 17, AT_ID_CHECK = 20, ID_CHECKED = 4 };

static const char *const IDS[] = {"waits for its answer", "answered"};
enum { IDS_COUNT = sizeof IDS / sizeof IDS[0] };

static void write_with_ids(struct rig *rig)
{
    rig_open(rig);
    struct outbox *outbox = &rig->writer->outbox;
    for (size_t i = 0; i < IDS_COUNT; i++) {
        struct pair pair = {.key = rig_text("k"), .value = rig_text("v")};
        struct call call = rig_call(METHOD_SET, ACK_JOURNAL, &pair);
        call.id = rig_text(IDS[i]);
        rig_push(rig, &call);
        rig_turn(rig);
        const struct id_answer answer = {
            .id = rig_text(IDS[i]),
            .seq = rig_expect_home(rig, ERROR_NONE),
            .reply = rig_text("any bytes"),
        };
        assert_int_equal(outbox_begin(outbox, 0), ERROR_NONE);
        assert_int_equal(i == 0 ? ERROR_NONE : outbox_answer_id(outbox, &answer), ERROR_NONE);
        assert_int_equal(outbox_commit(outbox), ERROR_NONE);
    }
    rig_crash(rig);
}

static void change_id(const struct rig *rig, const char *id, ssize_t at, uint8_t mask, uint8_t bits)
{
    struct raw_outbox raw;
    uint8_t row[ROW_BYTES_MAX];
    raw_outbox_open_at(&raw, rig, "ids");
    ssize_t bytes = raw_outbox_get(&raw, id, row, sizeof row);
    assert_in_range(at, 0, bytes - 1);
    row[at] = (uint8_t)((row[at] & mask) ^ bits);
    raw_outbox_put(&raw, id, row, (size_t)bytes);
    raw_outbox_close(&raw);
}

static ssize_t id_length(const struct rig *rig, const char *id)
{
    struct raw_outbox raw;
    uint8_t row[ROW_BYTES_MAX];
    raw_outbox_open_at(&raw, rig, "ids");
    ssize_t bytes = raw_outbox_get(&raw, id, row, sizeof row);
    raw_outbox_close(&raw);
    return bytes;
}

static void a_changed_bit_of_an_id_stops_the_start(void **state)
{
    struct rig *rig = *state;
    write_with_ids(rig);
    for (size_t i = 0; i < IDS_COUNT; i++) {
        ssize_t bytes = id_length(rig, IDS[i]);
        for (ssize_t at = 0; at < bytes; at++) {
            uint8_t bit = (uint8_t)(1 << (at % 8));
            change_id(rig, IDS[i], at, UINT8_MAX, bit);
            assert_damaged(rig, IDS[i], "changed", at);
            change_id(rig, IDS[i], at, UINT8_MAX, bit);
        }
        for (int bit = 1; bit <= UINT8_MAX; bit *= 2) {
            change_id(rig, IDS[i], AT_ID_FLAGS, UINT8_MAX, (uint8_t)bit);
            assert_damaged(rig, IDS[i], "with another flag", AT_ID_FLAGS);
            change_id(rig, IDS[i], AT_ID_FLAGS, UINT8_MAX, (uint8_t)bit);
        }
    }
    rig_open(rig);
}

// One that names another write, with a check of its own.
static void an_id_under_another_name_stops_the_start(void **state)
{
    struct rig *rig = *state;
    write_with_ids(rig);
    struct raw_outbox raw;
    uint8_t row[ROW_BYTES_MAX];
    raw_outbox_open_at(&raw, rig, "ids");
    ssize_t bytes = raw_outbox_get(&raw, IDS[0], row, sizeof row);
    raw_outbox_put(&raw, IDS[1], row, (size_t)bytes);
    raw_outbox_close(&raw);
    assert_damaged(rig, IDS[1], "with the row of another", 0);
}

// They had no check, and did not say what the write was.
static void the_ids_of_the_release_before_are_taken(void **state)
{
    struct rig *rig = *state;
    write_with_ids(rig);
    for (size_t i = 0; i < IDS_COUNT; i++) {
        change_id(rig, IDS[i], AT_ID_FLAGS, (uint8_t)~ID_CHECKED, 0);
        for (ssize_t at = AT_ID_SUBJECT; at < AT_ID_CHECK + 4; at++) {
            change_id(rig, IDS[i], at, 0, 0);
        }
    }
    rig_open(rig);
    struct outbox *outbox = &rig->writer->outbox;
    assert_int_equal(outbox_begin(outbox, 0), ERROR_NONE);
    for (size_t i = 0; i < IDS_COUNT; i++) {
        struct outbox_id found;
        assert_int_equal(outbox_find_id(outbox, rig_text(IDS[i]), 0, &found), ERROR_NONE);
        assert_int_equal(found.answered, i == 1);
        assert_int_equal(found.subject, 0); // so that whatever comes with it is a repeat
        assert_true(slice_equal(found.reply, i == 1 ? rig_text("any bytes") : (struct slice){0}));
    }
    outbox_abort(outbox);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_changed_bit_stops_the_start),
        TEST(a_changed_name_stops_the_start),
        TEST(a_missing_number_stops_the_start),
        TEST(the_rows_of_the_release_before_are_taken),
        TEST(a_changed_bit_of_an_id_stops_the_start),
        TEST(an_id_under_another_name_stops_the_start),
        TEST(the_ids_of_the_release_before_are_taken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
