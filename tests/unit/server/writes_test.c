// Writes through a whole server: what reaches the writer, how its answers look, and the order of
// requests on one connection (SPEC section 1, promise 1).

#include "unit/server/fake_node.h"

static struct request *await_write(struct fake_node *node)
{
    return await_request(&node->writer);
}

static void assert_value(const struct request *request, size_t place, const char *msgpack)
{
    assert_true(place < request->call.pairs_count);
    assert_true(slice_equal(request->call.pairs[place].value, slice_of_string(msgpack)));
}

static void a_set_goes_to_the_writer(void **state)
{
    struct fake_node *node = *state;
    struct client client = client_of(node);
    client_send(&client, "[0,1,\"set\",[\"k\",{\"b\":1.0,\"a\":2},{\"ttl_ms\":500,\"id\":\"i\"}]]");
    struct request *request = await_write(node);
    assert_call(request, METHOD_SET, "k");
    assert_value(request, 0,
                 "\x82\xa1"
                 "a\x02\xa1"
                 "b\x01");
    assert_int_equal(request->call.ack, ACK_JOURNAL);
    assert_true(request->call.has_ttl);
    assert_int_equal(request->call.ttl_ms, 500);
    assert_true(slice_equal(request->call.id, slice_of_string("i")));
    finish_with_seq(request, 41);
    assert_received(&client, "[1,1,null,{\"seq\":41}]");

    client_send(&client, "[0,2,\"set\",[\"k\",null,{\"ack\":\"postgres\"}]]");
    request = await_write(node);
    assert_int_equal(request->call.ack, ACK_POSTGRES);
    request->reply.has_version = true;
    request->reply.version = 9;
    finish_with_seq(request, 42);
    assert_received(&client, "[1,2,null,{\"seq\":42,\"version\":9}]");

    client_send(&client, "[0,3,\"set\",[\"k\",1,{\"if_absent\":true,\"ack\":\"memory\"}]]");
    request = await_write(node);
    assert_int_equal(request->call.condition, CONDITION_IF_ABSENT);
    assert_int_equal(request->call.ack, ACK_JOURNAL); // its result is PostgreSQL's: never memory
    failure_note(&request->reply.failure, ERROR_CONFLICT, "Failed to set key \"k\": it exists");
    request->reply.failure.has_version = true;
    request->reply.failure.version = 9;
    request_finish(request);
    assert_received(&client,
                    "[1,3,{\"code\":\"CONFLICT\",\"message\":\"Failed to set key \\\"k\\\": "
                    "it exists\",\"retryable\":false,\"version\":9},null]");

    client_send(&client, "[0,4,\"set\",[\"k\",1,{\"if_version\":9}]]");
    request = await_write(node);
    assert_int_equal(request->call.condition, CONDITION_IF_VERSION);
    assert_int_equal(request->call.if_version, 9);
    failure_note(&request->reply.failure, ERROR_REJECTED, "%s", "no");
    strcpy(request->reply.failure.sqlstate, "42P01");
    request_finish(request);
    assert_received(&client, "[1,4,{\"code\":\"REJECTED\",\"message\":\"no\",\"retryable\":false,"
                             "\"sqlstate\":\"42P01\"},null]");
    client_send(&client, "[0,5,\"set\",[\"k\",1,{\"ack\":\"memory\"}]]");
    request = await_write(node);
    assert_int_equal(request->call.ack, ACK_MEMORY);
    failure_note(&request->reply.failure, ERROR_OUTCOME_UNKNOWN, "late");
    request->reply.failure.has_seq = true;
    request->reply.failure.seq = 77;
    request_finish(request);
    assert_received(&client, "[1,5,{\"code\":\"OUTCOME_UNKNOWN\",\"message\":\"late\","
                             "\"retryable\":false,\"seq\":77},null]");
    client_close(&client);
}

static void an_mset_keeps_the_last_pair_of_each_key(void **state)
{
    struct fake_node *node = *state;
    struct client client = client_of(node);
    client_send(&client, "[0,1,\"mset\",[[[\"a\",1],[\"b\",2],[\"a\",3],[\"c\",4],[\"b\",5]]]]");
    struct request *request = await_write(node);
    assert_int_equal(request->call.pairs_count, 3);
    assert_call(request, METHOD_MSET, "a");
    assert_value(request, 0, "\x03");
    assert_value(request, 1, "\x04");
    assert_value(request, 2, "\x05");
    finish_with_seq(request, 1);
    assert_received(&client, "[1,1,null,{\"seq\":1}]");
    assert_fails(&client, "[0,2,\"mset\",[[]]]", "BAD_REQUEST", "no key");
    assert_fails(&client, "[0,2,\"mset\",[[[\"a\"]]]]", "BAD_REQUEST", "pairs");
    assert_fails(&client, "[0,2,\"mset\",[[[\"a\",1]],{\"if_absent\":true}]]", "BAD_REQUEST",
                 "if_absent");
    client_close(&client);
}

static void deletes_count_where_postgres_answers(void **state)
{
    struct fake_node *node = *state;
    struct client client = client_of(node);
    client_send(&client, "[0,1,\"delete\",[\"k\"]]");
    finish_with_seq(await_write(node), 5);
    assert_received(&client, "[1,1,null,{\"seq\":5}]");
    client_send(&client, "[0,2,\"delete\",[[\"k\",\"l\",\"k\"],{\"ack\":\"postgres\"}]]");
    struct request *request = await_write(node);
    assert_int_equal(request->call.pairs_count, 2);
    request->reply.has_deleted = true;
    request->reply.integer = 2;
    finish_with_seq(request, 6);
    assert_received(&client, "[1,2,null,{\"seq\":6,\"deleted\":2,\"version\":null}]");
    client_send(&client, "[0,3,\"delete\",[\"k\",{\"if_version\":4}]]");
    request = await_write(node);
    request->reply.has_deleted = true;
    request->reply.integer = 1;
    request->reply.has_version = true;
    request->reply.version = 8;
    finish_with_seq(request, 7);
    assert_received(&client, "[1,3,null,{\"seq\":7,\"deleted\":1,\"version\":8}]");
    assert_fails(&client, "[0,4,\"delete\",[[\"a\",\"b\"],{\"if_version\":4}]]", "BAD_REQUEST",
                 "if_version");
    assert_fails(&client, "[0,4,\"delete\",[[]]]", "BAD_REQUEST", "no key");
    client_close(&client);
}

static void incr_merge_and_touch_return_what_postgres_says(void **state)
{
    struct fake_node *node = *state;
    struct client client = client_of(node);
    client_send(&client, "[0,1,\"incr\",[\"n\",2]]");
    struct request *request = await_write(node);
    assert_call(request, METHOD_INCR, "n");
    assert_value(request, 0, "\x02");
    finish_with_value(request, "\x05", 31);
    assert_received(&client, "[1,1,null,[5,31]]");
    client_send(&client, "[0,2,\"merge\",[\"m\",{\"x\":null}]]");
    request = await_write(node);
    assert_call(request, METHOD_MERGE, "m");
    finish_with_value(request, "\x80", 32);
    assert_received(&client, "[1,2,null,[{},32]]");
    client_send(&client, "[0,3,\"touch\",[\"k\",1000]]");
    request = await_write(node);
    assert_call(request, METHOD_TOUCH, "k");
    assert_int_equal(request->call.ttl_ms, 1000);
    request->reply.boolean = true;
    request_finish(request);
    assert_received(&client, "[1,3,null,true]");
    client_send(&client, "[0,4,\"touch\",[\"k\",null]]");
    request = await_write(node);
    assert_false(request->call.has_ttl);
    request_finish(request);
    assert_received(&client, "[1,4,null,false]");
    client_close(&client);
}

static void flush_and_invalidate_go_to_the_writer(void **state)
{
    struct fake_node *node = *state;
    struct client client = client_of(node);
    client_send(&client, "[0,1,\"flush\",[{\"seq\":7}]]");
    struct request *request = await_write(node);
    assert_true(request->call.has_seq);
    assert_int_equal(request->call.seq, 7);
    finish_with_seq(request, 7);
    assert_received(&client, "[1,1,null,{\"seq\":7}]");
    client_send(&client, "[0,2,\"invalidate\",[\"k\"]]");
    request = await_write(node);
    assert_true(request->call.has_key);
    request->reply.integer = 1;
    request_finish(request);
    assert_received(&client, "[1,2,null,1]");
    client_send(&client, "[0,3,\"invalidate\",[]]");
    request = await_write(node);
    assert_false(request->call.has_key);
    request->reply.integer = 12;
    request_finish(request);
    assert_received(&client, "[1,3,null,12]");
    client_close(&client);
}

static void a_full_mailbox_is_overloaded_at_once(void **state)
{
    struct fake_node *node = *state;
    mailbox_deinit(&node->writer.mailbox);
    assert_int_equal(mailbox_init(&node->writer.mailbox, 1, 1 << 20), ERROR_NONE);
    node_start(node);
    struct client client = client_of(node);
    client_send(&client, "[0,1,\"set\",[\"a\",1]]");
    assert_fails(&client, "[0,2,\"set\",[\"b\",1]]", "OVERLOADED", "queued");
    finish_with_seq(await_write(node), 1);
    assert_received(&client, "[1,1,null,{\"seq\":1}]");
    // The refused one holds no place: a read of its key does not wait.
    node_holds(node, "b", LOOKUP_HIT, clean("\x01", 1));
    assert_answer(&client, "[0,3,\"get\",[\"b\"]]", "[1,3,null,[1,1]]");
    client_close(&client);
}

static void a_read_only_connection_may_not_write(void **state)
{
    struct fake_node *node = *state;
    static const char *const DENIED[] = {
        "[0,1,\"set\",[\"k\",1]]",      "[0,1,\"mset\",[[[\"k\",1]]]]", "[0,1,\"delete\",[\"k\"]]",
        "[0,1,\"incr\",[\"k\",1]]",     "[0,1,\"merge\",[\"k\",1]]",    "[0,1,\"touch\",[\"k\",1]]",
        "[0,1,\"invalidate\",[\"k\"]]", "[0,1,\"backup\",[]]",          "[0,1,\"restore\",[\"t\"]]",
        "[0,1,\"cleanup_backups\",[]]",
    };
    struct client client = client_at(node->read_only_socket);
    for (size_t i = 0; i < sizeof DENIED / sizeof *DENIED; i++) {
        assert_fails(&client, DENIED[i], "DENIED", "read-only");
    }
    assert_true(nothing_was_sent(&node->writer));
    node_holds(node, "k", LOOKUP_HIT, clean("\x01", 1));
    assert_answer(&client, "[0,2,\"get\",[\"k\"]]", "[1,2,null,[1,1]]");
    assert_non_null(strstr(client_ask(&client, "[0,3,\"hello\",[]]"), "\"read_only\":true"));
    client_close(&client);
}

// ---- Order

static void a_read_waits_for_the_write_before_it(void **state)
{
    struct fake_node *node = *state;
    struct client client = client_of(node);
    node_holds(node, "k", LOOKUP_HIT, clean("\x01", 1));
    node_holds(node, "other", LOOKUP_HIT, clean("\x07", 1));
    client_send(&client, "[0,1,\"set\",[\"k\",2]]");
    client_send(&client, "[0,2,\"get\",[\"k\"]]");
    client_send(&client, "[0,3,\"get\",[\"other\"]]");
    assert_received(&client, "[1,3,null,[7,1]]");
    struct request *request = await_write(node);
    node_holds(node, "k", LOOKUP_HIT, pending("\x02", 1));
    finish_with_seq(request, 1);
    assert_received(&client, "[1,1,null,{\"seq\":1}]");
    assert_received(&client, "[1,2,null,[2,null]]");
    assert_int_equal(atomic_load(&node->reading), 0);
    client_close(&client);
}

static void a_write_waits_for_the_read_before_it(void **state)
{
    struct fake_node *node = *state;
    struct client client = client_of(node);
    client_send(&client, "[0,1,\"get\",[\"k\"]]");
    client_send(&client, "[0,2,\"set\",[\"k\",2]]");
    client_send(&client, "[0,3,\"mset\",[[[\"k\",3],[\"j\",3]]]]");
    client_send(&client, "[0,4,\"set\",[\"j\",4]]"); // must not overtake the mset
    client_send(&client, "[0,5,\"ping\",[]]");
    assert_received(&client, "[1,5,null,\"pong\"]");
    assert_true(nothing_was_sent(&node->writer));
    finish_with_value(await_request(&node->pg), "\x01", 1);
    assert_received(&client, "[1,1,null,[1,1]]");
    for (uint32_t i = 2; i <= 4; i++) {
        struct request *request = await_write(node);
        char expected[64];
        assert_value(request, 0, (const char[]){(char)i, '\0'});
        finish_with_seq(request, i);
        snprintf(expected, sizeof expected, "[1,%u,null,{\"seq\":%u}]", i, i);
        assert_received(&client, expected);
    }
    client_close(&client);
}

static void a_scan_and_a_flush_wait_for_all_writes_before_them(void **state)
{
    struct fake_node *node = *state;
    struct client client = client_of(node);
    client_send(&client, "[0,1,\"set\",[\"k\",2]]");
    client_send(&client, "[0,2,\"scan\",[]]");
    client_send(&client, "[0,3,\"flush\",[]]");
    client_send(&client, "[0,4,\"set\",[\"l\",2]]");
    client_send(&client, "[0,5,\"ping\",[]]");
    assert_received(&client, "[1,5,null,\"pong\"]");
    struct request *first = await_write(node);
    struct request *second = await_write(node);
    assert_call(second, METHOD_SET, "l");
    assert_true(nothing_was_sent(&node->pg));
    finish_with_seq(first, 1);
    assert_received(&client, "[1,1,null,{\"seq\":1}]");
    request_finish(await_request(&node->pg));
    assert_received(&client, "[1,2,null,{\"items\":[],\"next\":null}]");
    finish_with_seq(await_write(node), 1);
    assert_received(&client, "[1,3,null,{\"seq\":1}]");
    finish_with_seq(second, 2);
    assert_received(&client, "[1,4,null,{\"seq\":2}]");
    client_close(&client);
}

static void what_waits_beyond_its_deadline_is_not_done(void **state)
{
    struct fake_node *node = *state;
    struct client client = client_of(node);
    client_send(&client, "[0,1,\"get\",[\"k\"]]");
    client_send(&client, "[0,2,\"set\",[\"k\",2,{\"timeout_ms\":1}]]");
    assert_received_failure(&client, "TIMEOUT", "nothing was done");
    client_send(&client, "[0,3,\"set\",[\"k\",3]]");
    finish_with_value(await_request(&node->pg), "\x01", 1);
    assert_received(&client, "[1,1,null,[1,1]]");
    struct request *request = await_write(node);
    assert_value(request, 0, "\x03");
    finish_with_seq(request, 1);
    assert_received(&client, "[1,3,null,{\"seq\":1}]");
    client_close(&client);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_set_goes_to_the_writer, setup_node, teardown_node),
        cmocka_unit_test_setup_teardown(an_mset_keeps_the_last_pair_of_each_key, setup_node,
                                        teardown_node),
        cmocka_unit_test_setup_teardown(deletes_count_where_postgres_answers, setup_node,
                                        teardown_node),
        cmocka_unit_test_setup_teardown(incr_merge_and_touch_return_what_postgres_says, setup_node,
                                        teardown_node),
        cmocka_unit_test_setup_teardown(flush_and_invalidate_go_to_the_writer, setup_node,
                                        teardown_node),
        cmocka_unit_test_setup_teardown(a_full_mailbox_is_overloaded_at_once, setup_unstarted_node,
                                        teardown_node),
        cmocka_unit_test_setup_teardown(a_read_only_connection_may_not_write, setup_node,
                                        teardown_node),
        cmocka_unit_test_setup_teardown(a_read_waits_for_the_write_before_it, setup_node,
                                        teardown_node),
        cmocka_unit_test_setup_teardown(a_write_waits_for_the_read_before_it, setup_node,
                                        teardown_node),
        cmocka_unit_test_setup_teardown(a_scan_and_a_flush_wait_for_all_writes_before_them,
                                        setup_node, teardown_node),
        cmocka_unit_test_setup_teardown(what_waits_beyond_its_deadline_is_not_done, setup_node,
                                        teardown_node),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
