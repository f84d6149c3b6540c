// Reads through a whole server: what the cache answers, what PostgreSQL is asked, and the counters.

#include "unit/server/fake_node.h"

static void hello_and_ping_answer_at_once(void **state)
{
    struct fake_node *node = *state;
    struct client client = client_of(node);
    assert_answer(&client, "[0,7,\"ping\",[]]", "[1,7,null,\"pong\"]");
    status_set(&node->status, STATUS_PG_STATE, NODE_LIVE);
    const char *hello = client_ask(&client, "[0,1,\"hello\",[\"me\"]]");
    assert_string_equal(hello, "[1,1,null,{\"server\":\"pgnear\",\"version\":\"0.1.0\","
                               "\"protocol\":1,\"node\":\"00000000-0000-0000-0000-000000000001\","
                               "\"table\":\"kv_store\",\"cache_dir\":\"/var/lib/pgnear/cache\","
                               "\"read_only\":false,\"state\":\"live\",\"last_error\":null}]");
    client_close(&client);
}

static void hello_says_what_is_wrong(void **state)
{
    struct fake_node *node = *state;
    struct client client = client_of(node);
    status_set(&node->status, STATUS_PG_STATE, NODE_CATCHING_UP);
    status_set_error(&node->status, TROUBLE_FLUSH, "42P01", "relation \"kv_store\" does not exist");
    const char *hello = client_ask(&client, "[0,1,\"hello\",[]]");
    assert_non_null(strstr(hello, "\"state\":\"catching_up\",\"last_error\":"
                                  "\"relation \\\"kv_store\\\" does not exist\""));
    client_close(&client);
}

static void a_hit_is_answered_from_the_cache(void **state)
{
    struct fake_node *node = *state;
    struct client client = client_of(node);
    node_holds(node, "k", LOOKUP_HIT, clean("\x2a", 7));
    node_holds(node, "mine", LOOKUP_HIT, pending("\x81\xa1x\x01", 3));
    node_holds(node, "gone", LOOKUP_HIT, (struct cached){.version = 9});
    assert_answer(&client, "[0,1,\"get\",[\"k\"]]", "[1,1,null,[42,7]]");
    assert_answer(&client, "[0,2,\"get\",[\"mine\"]]", "[1,2,null,[{\"x\":1},null]]");
    assert_answer(&client, "[0,3,\"get\",[\"gone\"]]", "[1,3,null,null]");
    assert_answer(&client, "[0,4,\"mget\",[[\"gone\",\"k\",\"k\"]]]",
                  "[1,4,null,[null,[42,7],[42,7]]]");
    assert_answer(&client, "[0,5,\"mget\",[[]]]", "[1,5,null,[]]");
    // No snapshot outlives the turn: the next request must see what was acknowledged before it.
    assert_int_equal(atomic_load(&node->reading), 0);
    assert_int_equal(status_get(&node->status, STATUS_CACHE_HITS), 6);
    assert_int_equal(status_get(&node->status, STATUS_CACHE_NEGATIVE_HITS), 2);
    assert_int_equal(status_get(&node->status, STATUS_CACHE_MISSES), 0);
    assert_true(nothing_was_sent(&node->pg));
    client_close(&client);
}

// The requests in one go, so in one pass of the loop, and each response.
static void ask_together(struct client *client, const char *const *requests,
                         const char *const *responses, size_t count)
{
    struct buffer out = {0};
    for (size_t i = 0; i < count; i++) {
        append_json(&out, requests[i]);
    }
    client_send_bytes(client, buffer_slice(&out).at, buffer_len(&out));
    buffer_deinit(&out);
    for (size_t i = 0; i < count; i++) {
        assert_received(client, responses[i]);
    }
}

// A snapshot may hold the writer still, and who asks by himself may have to wait for that.
static void a_loop_asks_with_no_snapshot_open(void **state)
{
    struct fake_node *node = *state;
    struct client client = client_of(node);
    node_holds(node, "k", LOOKUP_HIT, clean("\x2a", 7));
    const char *requests[] = {"[0,1,\"get\",[\"k\"]]", "[0,2,\"get\",[\"missing\"]]",
                              "[0,3,\"get\",[\"k\"]]", "[0,4,\"get\",[\"also\"]]"};
    const char *responses[] = {"[1,1,null,[42,7]]", "[1,3,null,[42,7]]"};
    struct buffer out = {0};
    for (size_t i = 0; i < 4; i++) {
        append_json(&out, requests[i]);
    }
    client_send_bytes(&client, buffer_slice(&out).at, buffer_len(&out));
    buffer_deinit(&out);
    assert_received(&client, responses[0]);
    assert_received(&client, responses[1]);
    finish_with_value(await_request(&node->pg), "\x02", 2);
    assert_received(&client, "[1,2,null,[2,2]]");
    finish_with_value(await_request(&node->pg), "\x03", 2);
    assert_received(&client, "[1,4,null,[3,2]]");
    assert_int_equal(atomic_load(&node->own_asks), 2);
    assert_int_equal(atomic_load(&node->own_asks_reading), 0);
    client_close(&client);
}

static void a_hot_record_is_answered_without_a_snapshot(void **state)
{
    struct fake_node *node = *state;
    struct client client = client_of(node);
    node_holds_hot(node, "k", LOOKUP_HIT, clean("\x2a", 7));
    node_holds_hot(node, "gone", LOOKUP_HIT, (struct cached){.version = 9});
    node_holds_hot(node, "old", LOOKUP_SUSPECT, clean("\x01", 1));
    assert_answer(&client, "[0,1,\"get\",[\"k\"]]", "[1,1,null,[42,7]]");
    assert_answer(&client, "[0,2,\"get\",[\"gone\"]]", "[1,2,null,null]");
    assert_answer(&client, "[0,3,\"ttl\",[\"k\"]]", "[1,3,null,null]");
    client_send(&client, "[0,4,\"get\",[\"old\"]]");
    finish_with_value(await_request(&node->pg), "\x02", 2);
    assert_received(&client, "[1,4,null,[2,2]]");
    client_send(&client, "[0,5,\"get\",[\"k\",{\"min_version\":8}]]");
    finish_with_value(await_request(&node->pg), "\x02", 8);
    assert_received(&client, "[1,5,null,[2,8]]");
    assert_int_equal(atomic_load(&node->begins), 0);
    // Several keys are of one moment.
    assert_answer(&client, "[0,6,\"mget\",[[\"k\",\"gone\"]]]", "[1,6,null,[[42,7],null]]");
    assert_int_equal(atomic_load(&node->begins), 1);
    assert_int_equal(status_get(&node->status, STATUS_CACHE_HITS), 5);
    assert_int_equal(status_get(&node->status, STATUS_CACHE_HOT_HITS), 3);
    assert_int_equal(status_get(&node->status, STATUS_CACHE_MISSES), 2);
    client_close(&client);
}

static void nothing_older_is_told_after_a_hot_record(void **state)
{
    static const char *const GETS[] = {"[0,1,\"get\",[\"k\"]]", "[0,2,\"get\",[\"k\"]]",
                                       "[0,3,\"get\",[\"hot\"]]", "[0,4,\"get\",[\"k\"]]",
                                       "[0,5,\"get\",[\"k\"]]"};
    static const char *const ANSWERS[] = {"[1,1,null,[42,7]]", "[1,2,null,[42,7]]",
                                          "[1,3,null,[1,8]]", "[1,4,null,[42,7]]",
                                          "[1,5,null,[42,7]]"};
    struct fake_node *node = *state;
    struct client client = client_of(node);
    node_holds(node, "k", LOOKUP_HIT, clean("\x2a", 7));
    node_holds_hot(node, "hot", LOOKUP_HIT, clean("\x01", 8));
    ask_together(&client, GETS, ANSWERS, 5);
    assert_int_equal(atomic_load(&node->begins), 1);
    atomic_store(&node->has_moved, true);
    ask_together(&client, GETS, ANSWERS, 5);
    assert_int_equal(atomic_load(&node->begins), 3);
    client_close(&client);
}

// So many keys that they have room of their own, which is not given back between two of them.
static void a_large_mget_follows_a_hot_record(void **state)
{
    enum { KEYS = 400 };
    struct fake_node *node = *state;
    struct client client = client_of(node);
    node_holds(node, "k", LOOKUP_HIT, clean("\x2a", 7));
    node_holds_hot(node, "hot", LOOKUP_HIT, clean("\x01", 8));
    atomic_store(&node->has_moved, true);
    char *mget = memory_zeroed(KEYS + 1, 16);
    char *answer = memory_zeroed(KEYS + 1, 16);
    char *at = stpcpy(mget, "[0,4,\"mget\",[[");
    char *answer_at = stpcpy(answer, "[1,4,null,[");
    for (int i = 0; i < KEYS; i++) {
        at = stpcpy(at, i == 0 ? "\"k\"" : ",\"k\"");
        answer_at = stpcpy(answer_at, i == 0 ? "[42,7]" : ",[42,7]");
    }
    stpcpy(at, "]]]");
    stpcpy(answer_at, "]]");
    const char *const requests[] = {"[0,1,\"get\",[\"k\"]]", mget, "[0,3,\"get\",[\"hot\"]]", mget};
    const char *const answers[] = {"[1,1,null,[42,7]]", answer, "[1,3,null,[1,8]]", answer};
    ask_together(&client, requests, answers, 4);
    free(mget);
    free(answer);
    client_close(&client);
}

static void a_miss_asks_postgres(void **state)
{
    struct fake_node *node = *state;
    struct client client = client_of(node);
    int64_t before_us = clock_boot_us();
    client_send(&client, "[0,1,\"get\",[\"k\",{\"timeout_ms\":900}]]");
    struct request *request = await_request(&node->pg);
    assert_call(request, METHOD_GET, "k");
    assert_in_range(request->deadline_boot_us, before_us + 900000, clock_boot_us() + 900000);
    assert_int_equal(request->after_seq, 0);
    finish_with_value(request, "\xa1v", 12);
    assert_received(&client, "[1,1,null,[\"v\",12]]");

    client_send(&client, "[0,2,\"get\",[\"k\"]]");
    finish_with_value(await_request(&node->pg), NULL, 0);
    assert_received(&client, "[1,2,null,null]");

    node_holds(node, "old", LOOKUP_SUSPECT, clean("\x01", 1));
    client_send(&client, "[0,3,\"get\",[\"old\"]]");
    request_fail(await_request(&node->pg), ERROR_UNAVAILABLE, "no connection");
    assert_received(&client, "[1,3,{\"code\":\"UNAVAILABLE\",\"message\":\"no connection\","
                             "\"retryable\":true},null]");
    assert_int_equal(status_get(&node->status, STATUS_CACHE_MISSES), 3);
    assert_int_equal(status_get(&node->status, STATUS_CACHE_SUSPECT_READS), 1);
    assert_int_equal(status_get(&node->status, STATUS_SERVER_ERRORS), 1);
    client_close(&client);
}

// The options of a get that what is cached does not meet, and those that it does.
static void options_say_when_the_cache_is_good_enough(void **state)
{
    struct fake_node *node = *state;
    struct client client = client_of(node);
    struct cached old = clean("\x01", 5);
    old.current_boot_us -= 2000000;
    node_holds(node, "k", LOOKUP_HIT, old);
    node_holds(node, "p", LOOKUP_HIT, pending("\x02", 77));
    static const char *const HITS[] = {
        "[0,1,\"get\",[\"k\",{\"max_age_ms\":60000}]]",
        "[0,1,\"get\",[\"k\",{\"min_version\":5}]]",
        "[0,1,\"get\",[\"k\",{\"fresh\":false}]]",
    };
    for (size_t i = 0; i < sizeof HITS / sizeof *HITS; i++) {
        assert_answer(&client, HITS[i], "[1,1,null,[1,5]]");
    }
    static const struct {
        const char *request;
        uint64_t after_seq;
    } ASKED[] = {
        {"[0,1,\"get\",[\"k\",{\"fresh\":true}]]", 0},
        {"[0,1,\"get\",[\"k\",{\"max_age_ms\":0}]]", 0},
        {"[0,1,\"get\",[\"k\",{\"max_age_ms\":1000}]]", 0},
        {"[0,1,\"get\",[\"k\",{\"min_version\":6}]]", 0},
        {"[0,1,\"get\",[\"p\",{\"fresh\":true}]]", 77},
        {"[0,1,\"get\",[\"p\",{\"min_version\":1}]]", 77},
        {"[0,1,\"get\",[\"k\",{\"at_version\":5}]]", 0},
        {"[0,1,\"get\",[\"p\",{\"at_version\":5}]]", 77},
    };
    for (size_t i = 0; i < sizeof ASKED / sizeof *ASKED; i++) {
        client_send(&client, ASKED[i].request);
        struct request *request = await_request(&node->pg);
        assert_int_equal(request->after_seq, ASKED[i].after_seq);
        finish_with_value(request, "\x03", 6);
        assert_received(&client, "[1,1,null,[3,6]]");
    }
    client_close(&client);
}

static void an_mget_asks_for_what_is_missing_only(void **state)
{
    struct fake_node *node = *state;
    struct client client = client_of(node);
    node_holds(node, "a", LOOKUP_HIT, clean("\xa1x", 1));
    node_holds(node, "p", LOOKUP_HIT, pending("\x02", 5));
    node_holds(node, "gone", LOOKUP_HIT, (struct cached){0});
    client_send(&client, "[0,1,\"mget\",[[\"m\",\"a\",\"n\",\"p\",\"gone\"]]]");
    struct request *request = await_request(&node->pg);
    assert_call(request, METHOD_MGET, "m");
    assert_int_equal(request->call.pairs_count, 2);
    assert_true(slice_equal(request->call.pairs[1].key, slice_of_string("n")));
    struct item *items = reply_items(&request->reply, 2);
    items[1] = (struct item){.present = true, .has_version = true, .version = 9};
    items[1].value = slice_of_string("\x07");
    request_finish(request);
    assert_received(&client, "[1,1,null,[null,[\"x\",1],[7,9],[2,null],null]]");

    client_send(&client, "[0,2,\"mget\",[[\"a\",\"p\"],{\"fresh\":true}]]");
    request = await_request(&node->pg);
    assert_int_equal(request->call.pairs_count, 2);
    assert_int_equal(request->after_seq, 5);
    request_fail(request, ERROR_TIMEOUT, "late");
    assert_received_failure(&client, "TIMEOUT", "late");
    client_close(&client);
}

static void an_mget_beyond_what_a_message_holds_is_too_large(void **state)
{
    struct fake_node *node = *state;
    struct client client = client_of(node);
    size_t len = 9 << 20;
    char *large = memory_zeroed(1, len + 1);
    memset(large, 'x', len);
    struct buffer value = {0};
    buffer_append(&value, "\xdb\x00\x90\x00\x00", 5);
    buffer_append(&value, large, len);
    struct cached cached = clean("", 1);
    cached.value = buffer_slice(&value);
    node_holds(node, "k", LOOKUP_HIT, cached);
    assert_fails(&client, "[0,1,\"mget\",[[\"k\",\"k\"]]]", "TOO_LARGE", "fewer keys");
    client_send(&client, "[0,2,\"mget\",[[\"k\"]]]");
    assert_int_equal(strlen(client_receive(&client)), len + strlen("[1,2,null,[[\"\",1]]]"));
    client_close(&client);
    buffer_deinit(&value);
    free(large);
}

static void ttl_is_what_is_left(void **state)
{
    struct fake_node *node = *state;
    struct client client = client_of(node);
    struct cached expiring = clean("\x01", 1);
    expiring.expires_at_us = clock_real_us() + 60000000ll;
    node_holds(node, "for_ever", LOOKUP_HIT, clean("\x01", 1));
    node_holds(node, "minute", LOOKUP_HIT, expiring);
    node_holds(node, "gone", LOOKUP_HIT, (struct cached){0});
    assert_answer(&client, "[0,1,\"ttl\",[\"for_ever\"]]", "[1,1,null,null]");
    assert_answer(&client, "[0,1,\"ttl\",[\"gone\"]]", "[1,1,null,null]");
    const char *answer = client_ask(&client, "[0,1,\"ttl\",[\"minute\"]]");
    assert_int_equal(strncmp(answer, "[1,1,null,", strlen("[1,1,null,")), 0);
    long left_ms = strtol(answer + strlen("[1,1,null,"), NULL, 10);
    assert_in_range(left_ms, 60000 - DEADLINE_MS, 60000);
    client_send(&client, "[0,1,\"ttl\",[\"missing\"]]");
    struct request *request = await_request(&node->pg);
    assert_call(request, METHOD_TTL, "missing");
    request->reply.has_integer = true;
    request->reply.integer = 1234;
    request_finish(request);
    assert_received(&client, "[1,1,null,1234]");
    client_close(&client);
}

static void stats_come_from_the_table_and_wait_for_nobody(void **state)
{
    struct fake_node *node = *state;
    struct client client = client_of(node);
    status_set(&node->status, STATUS_PG_TABLE_ROWS, -1);
    status_set(&node->status, STATUS_PG_TABLE_BYTES, -1);
    const char *stats = client_ask(&client, "[0,1,\"stats\",[]]");
    assert_non_null(strstr(stats, "\"count\":null"));
    assert_non_null(strstr(stats, "\"size\":null"));
    assert_non_null(strstr(stats, "\"size_bytes\":null"));
    assert_non_null(strstr(stats, "\"backups\":null"));
    assert_non_null(strstr(stats, "\"state\":\"disconnected\""));
    assert_non_null(strstr(stats, "\"server\":{\"connections\":1,\"requests\":1,"));
    status_set(&node->status, STATUS_PG_TABLE_ROWS, 1000);
    status_set(&node->status, STATUS_PG_TABLE_BYTES, 2411725);
    stats = client_ask(&client, "[0,1,\"stats\",[]]");
    assert_non_null(strstr(stats, "\"count\":1000,\"size\":\"2.3 MB\",\"size_bytes\":2411725"));
    client_close(&client);
}

static void scan_sync_and_check_go_to_postgres(void **state)
{
    struct fake_node *node = *state;
    struct client client = client_of(node);
    client_send(&client, "[0,1,\"scan\",[{\"prefix\":\"u:\",\"after\":\"u:1\",\"limit\":2}]]");
    struct request *request = await_request(&node->pg);
    assert_int_equal(request->call.method, METHOD_SCAN);
    assert_int_equal(request->call.limit, 2);
    assert_true(slice_equal(request->call.prefix, slice_of_string("u:")));
    assert_true(slice_equal(request->call.after, slice_of_string("u:1")));
    struct item *items = reply_items(&request->reply, 2);
    items[0] = (struct item){.key = slice_of_string("u:2"),
                             .value = slice_of_string("\x01"),
                             .present = true,
                             .has_version = true,
                             .version = 4};
    items[1] = (struct item){
        .key = slice_of_string("u:3"), .value = slice_of_string("\x02"), .present = true};
    request->reply.next = slice_of_string("u:3");
    request_finish(request);
    assert_received(&client,
                    "[1,1,null,{\"items\":[[\"u:2\",1,4],[\"u:3\",2,null]],\"next\":\"u:3\"}]");

    client_send(&client, "[0,2,\"all\",[]]");
    request = await_request(&node->pg);
    assert_true(request->call.all);
    struct slice skipped = slice_of_string("long");
    request->reply.skipped = &skipped;
    request->reply.skipped_count = 1;
    request_finish(request);
    assert_received(&client, "[1,2,null,{\"items\":[],\"next\":null,\"skipped\":[\"long\"]}]");

    client_send(&client, "[0,3,\"sync\",[{\"timeout_ms\":5}]]");
    request = await_request(&node->pg);
    assert_int_equal(request->call.method, METHOD_SYNC);
    request_finish(request);
    assert_received(&client, "[1,3,null,true]");

    client_send(&client, "[0,4,\"check\",[]]");
    request = await_request(&node->pg);
    struct check_item item = {slice_of_string("disk"), slice_of_string("12 GB free"), true};
    request->reply.checks = &item;
    request->reply.checks_count = 1;
    request_finish(request);
    assert_received(&client,
                    "[1,4,null,[{\"item\":\"disk\",\"ok\":true,\"message\":\"12 GB free\"}]]");
    client_close(&client);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(hello_and_ping_answer_at_once, setup_node, teardown_node),
        cmocka_unit_test_setup_teardown(hello_says_what_is_wrong, setup_node, teardown_node),
        cmocka_unit_test_setup_teardown(a_hit_is_answered_from_the_cache, setup_node,
                                        teardown_node),
        cmocka_unit_test_setup_teardown(a_loop_asks_with_no_snapshot_open, setup_node,
                                        teardown_node),
        cmocka_unit_test_setup_teardown(a_hot_record_is_answered_without_a_snapshot, setup_node,
                                        teardown_node),
        cmocka_unit_test_setup_teardown(nothing_older_is_told_after_a_hot_record, setup_node,
                                        teardown_node),
        cmocka_unit_test_setup_teardown(a_large_mget_follows_a_hot_record, setup_node,
                                        teardown_node),
        cmocka_unit_test_setup_teardown(a_miss_asks_postgres, setup_node, teardown_node),
        cmocka_unit_test_setup_teardown(options_say_when_the_cache_is_good_enough, setup_node,
                                        teardown_node),
        cmocka_unit_test_setup_teardown(an_mget_asks_for_what_is_missing_only, setup_node,
                                        teardown_node),
        cmocka_unit_test_setup_teardown(an_mget_beyond_what_a_message_holds_is_too_large,
                                        setup_node, teardown_node),
        cmocka_unit_test_setup_teardown(ttl_is_what_is_left, setup_node, teardown_node),
        cmocka_unit_test_setup_teardown(stats_come_from_the_table_and_wait_for_nobody, setup_node,
                                        teardown_node),
        cmocka_unit_test_setup_teardown(scan_sync_and_check_go_to_postgres, setup_node,
                                        teardown_node),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
