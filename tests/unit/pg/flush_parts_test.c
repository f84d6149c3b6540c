// The small parts of the flush and the connections: classes of errors, waiting requests, pauses
// between attempts, connection strings and binary arrays.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "pg/conn_params.h"
#include "pg/pg_array.h"
#include "pg/retry.h"
#include "pg/sqlstate.h"
#include "pg/waiters.h"

static void errors_have_their_class(void **state)
{
    (void)state;
    static const struct {
        const char *sqlstate;
        enum sqlstate_class class;
    } CASES[] = {
        {"22P02", SQLSTATE_ROW},        {"23505", SQLSTATE_ROW},
        {"P0001", SQLSTATE_ROW},        {"54000", SQLSTATE_ROW},
        {"MY001", SQLSTATE_ROW},        {"42P01", SQLSTATE_OPERATOR},
        {"42501", SQLSTATE_OPERATOR},   {"53100", SQLSTATE_OPERATOR},
        {"25006", SQLSTATE_OPERATOR},   {"XX000", SQLSTATE_OPERATOR},
        {"08006", SQLSTATE_CONNECTION}, {"57P01", SQLSTATE_CONNECTION},
        {"40001", SQLSTATE_CONNECTION}, {"40P01", SQLSTATE_CONNECTION},
        {"53300", SQLSTATE_CONNECTION}, {"55P03", SQLSTATE_CONNECTION},
        {"57014", SQLSTATE_CONNECTION}, {"PN001", SQLSTATE_CONNECTION},
        {"", SQLSTATE_CONNECTION},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        if (sqlstate_classify(CASES[i].sqlstate) != CASES[i].class) {
            fail_msg("%s", CASES[i].sqlstate);
        }
        // Of a COMMIT the same is said, but that no row exceeds a limit there.
        enum sqlstate_class at_commit = sqlstate_classify_commit(CASES[i].sqlstate);
        bool is_limit = strcmp(CASES[i].sqlstate, SQLSTATE_LIMIT_EXCEEDED) == 0;
        if (at_commit != (is_limit ? SQLSTATE_OPERATOR : CASES[i].class)) {
            fail_msg("%s of a COMMIT", CASES[i].sqlstate);
        }
    }
}

static void pauses_double_up_to_a_limit(void **state)
{
    (void)state;
    struct retry retry = {0};
    int64_t step_us = 50000;
    for (int i = 0; i < 20; i++) {
        int64_t pause_us = retry_next_us(&retry);
        assert_in_range(pause_us, step_us / 2, step_us);
        step_us = step_us * 2 > 5000000 ? 5000000 : step_us * 2;
    }
    retry_reset(&retry);
    assert_in_range(retry_next_us(&retry), 25000, 50000);
}

// ---- Waiters

static struct request *request_of(enum method method, uint64_t seq, int64_t deadline_boot_us)
{
    struct call call = {.method = method};
    struct request *request = request_create(&call, NULL);
    request->seq = seq;
    request->after_seq = seq;
    request->deadline_boot_us = deadline_boot_us;
    return request;
}

static int destroy_all(struct request *request)
{
    int count = 0;
    while (request != NULL) {
        struct request *sibling = request->sibling;
        request_destroy(request);
        request = sibling;
        count++;
    }
    return count;
}

static void writes_are_found_by_seq(void **state)
{
    (void)state;
    struct waiters waiters;
    waiters_init(&waiters);
    waiters_add(&waiters, request_of(METHOD_INCR, 5, 100));
    waiters_add(&waiters, request_of(METHOD_INCR, 5, 100));
    waiters_add(&waiters, request_of(METHOD_SET, 6, 100));
    assert_true(waiters_has(&waiters, 5));
    assert_int_equal(destroy_all(waiters_take(&waiters, 5)), 2);
    assert_null(waiters_take(&waiters, 5));
    assert_true(waiters_want_beyond(&waiters, 5));
    assert_int_equal(destroy_all(waiters_take(&waiters, 6)), 1);
    assert_false(waiters_want_beyond(&waiters, 5));
    waiters_deinit(&waiters);
}

static void flushes_end_where_they_are_reached(void **state)
{
    (void)state;
    struct waiters waiters;
    waiters_init(&waiters);
    waiters_add(&waiters, request_of(METHOD_FLUSH, 5, 100));
    waiters_add(&waiters, request_of(METHOD_FLUSH, 7, 100));
    waiters_add(&waiters, request_of(METHOD_FLUSH, 6, 100));
    assert_null(waiters_take_flushes(&waiters, 4));
    assert_int_equal(destroy_all(waiters_take_flushes(&waiters, 6)), 2);
    assert_true(waiters_want_beyond(&waiters, 6));
    assert_false(waiters_want_beyond(&waiters, 7));
    assert_int_equal(destroy_all(waiters_take_all(&waiters)), 1);
    waiters_deinit(&waiters);
}

static void the_earliest_deadline_is_known(void **state)
{
    (void)state;
    struct waiters waiters;
    waiters_init(&waiters);
    assert_true(waiters.next_deadline_boot_us == INT64_MAX);
    waiters_add(&waiters, request_of(METHOD_INCR, 1, 300));
    waiters_add(&waiters, request_of(METHOD_INCR, 1, 100));
    waiters_add(&waiters, request_of(METHOD_FLUSH, 2, 200));
    assert_int_equal(waiters.next_deadline_boot_us, 100);
    assert_int_equal(destroy_all(waiters_take_expired(&waiters, 99)), 0);
    assert_int_equal(destroy_all(waiters_take_expired(&waiters, 200)), 2);
    assert_int_equal(waiters.next_deadline_boot_us, 300);
    assert_true(waiters_has(&waiters, 1));
    assert_int_equal(destroy_all(waiters_take_all(&waiters)), 1);
    assert_false(waiters_has(&waiters, 1));
    waiters_deinit(&waiters);
}

// ---- Connection strings

static const char *param(const struct conn_params *params, const char *keyword)
{
    const char *value = NULL;
    for (size_t i = 0; i < params->count; i++) {
        if (strcmp(params->keywords[i], keyword) == 0) {
            value = params->values[i];
        }
    }
    return value;
}

static void servers_are_turned(void **state)
{
    (void)state;
    const char *conninfo = "postgresql://u:p@a:1,b:2,c:3/db?target_session_attrs=read-write";
    static const char *const HOSTS[] = {"a,b,c", "b,c,a", "c,a,b", "a,b,c"};
    static const char *const PORTS[] = {"1,2,3", "2,3,1", "3,1,2", "1,2,3"};
    for (unsigned turn = 0; turn < 4; turn++) {
        struct conn_params params;
        assert_int_equal(conn_params_init(&params, conninfo, turn, 3000000, NULL), ERROR_NONE);
        assert_int_equal(params.hosts_count, 3);
        assert_string_equal(param(&params, "host"), HOSTS[turn]);
        assert_string_equal(param(&params, "port"), PORTS[turn]);
        assert_string_equal(param(&params, "target_session_attrs"), "read-write");
        assert_string_equal(param(&params, "client_encoding"), "UTF8");
        assert_string_equal(param(&params, "gssencmode"), "disable");
        assert_string_equal(param(&params, "tcp_user_timeout"), "3000");
        conn_params_deinit(&params);
    }
}

static void what_the_user_wrote_holds(void **state)
{
    (void)state;
    struct conn_params params;
    const char *conninfo = "host=a,b port=9 application_name=mine tcp_user_timeout=7"
                           " client_encoding=latin1";
    assert_int_equal(conn_params_init(&params, conninfo, 1, 3000000, NULL), ERROR_NONE);
    assert_string_equal(param(&params, "host"), "b,a");
    assert_string_equal(param(&params, "port"), "9");
    assert_string_equal(param(&params, "application_name"), "mine");
    assert_string_equal(param(&params, "tcp_user_timeout"), "7");
    assert_string_equal(param(&params, "client_encoding"), "UTF8");
    conn_params_deinit(&params);

    struct failure failure;
    assert_int_equal(conn_params_init(&params, "host=a pass word=secret", 0, 1, &failure),
                     ERROR_CONFIG);
    assert_null(strstr(failure.message, "secret"));
    assert_null(strstr(failure.message, "word"));
}

static void words_are_put_on_one_line(void **state)
{
    (void)state;
    char line[32];
    conn_one_line("  no\n\tsuch  file \n\n", line, sizeof line);
    assert_string_equal(line, "no such file");
    conn_one_line("Pa\xdfwort, \xc3\xa4", line, sizeof line);
    assert_string_equal(line, "Pa?wort, \xc3\xa4");
    conn_one_line("123\xc3\xa4", line, 5);
    assert_string_equal(line, "123");
    conn_one_line("", line, sizeof line);
    assert_string_equal(line, "");
    conn_one_line("0123456789", line, 5);
    assert_string_equal(line, "0123");
}

// ---- Arrays

static void arrays_are_as_postgresql_reads_them(void **state)
{
    (void)state;
    struct buffer out = {0};
    struct pg_array array;
    buffer_append(&out, "before", 6); // an array need not come first
    pg_array_begin(&array, &out, PG_OID_TEXT);
    pg_array_text(&array, slice_of_string("ab"));
    pg_array_null(&array);
    pg_array_end(&array);
    static const char TWO[] = "before\0\0\0\1\0\0\0\1\0\0\0\x19\0\0\0\2\0\0\0\1"
                              "\0\0\0\2ab\xff\xff\xff\xff";
    assert_int_equal(buffer_len(&out), sizeof TWO - 1);
    assert_memory_equal(buffer_slice(&out).at, TWO, sizeof TWO - 1);

    buffer_clear(&out, SIZE_MAX);
    pg_array_begin(&array, &out, PG_OID_INT8);
    pg_array_end(&array);
    static const char NONE[] = "\0\0\0\0\0\0\0\0\0\0\0\x14";
    assert_int_equal(buffer_len(&out), sizeof NONE - 1);
    assert_memory_equal(buffer_slice(&out).at, NONE, sizeof NONE - 1);

    buffer_clear(&out, SIZE_MAX);
    pg_array_begin(&array, &out, PG_OID_TIMESTAMPTZ);
    pg_array_timestamptz(&array, PG_EPOCH_US + 1);
    pg_array_end(&array);
    assert_int_equal(pg_read_int8((const char *)buffer_slice(&out).at + 24), 1);
    buffer_deinit(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(errors_have_their_class),
        cmocka_unit_test(pauses_double_up_to_a_limit),
        cmocka_unit_test(writes_are_found_by_seq),
        cmocka_unit_test(flushes_end_where_they_are_reached),
        cmocka_unit_test(the_earliest_deadline_is_known),
        cmocka_unit_test(servers_are_turned),
        cmocka_unit_test(what_the_user_wrote_holds),
        cmocka_unit_test(words_are_put_on_one_line),
        cmocka_unit_test(arrays_are_as_postgresql_reads_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
