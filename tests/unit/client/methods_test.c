// What each function sends, and what it makes of the answer.

#include "unit/client/fake_node.h"

#include <pgnear.h>

// A handle at a node that gives one answer, and the request that it was given.
struct dialogue {
    struct fake_node fake;
    struct fake_step steps[4];
    pgnear *handle;
    pgnear_error error;
};

static void begin(struct dialogue *dialogue, const char *answer)
{
    const struct fake_step steps[] = {FAKE_HELLO, {FAKE_ANSWER, answer, 0}, {FAKE_END, NULL, 0}};
    memcpy(dialogue->steps, steps, sizeof steps);
    fake_node_start(&dialogue->fake, dialogue->steps);
    assert_int_equal(pgnear_open(dialogue->fake.path, NULL, &dialogue->handle, &dialogue->error),
                     PGNEAR_OK);
}

static void end(struct dialogue *dialogue, const char *request)
{
    fake_node_end(&dialogue->fake);
    assert_request(&dialogue->fake, 1, request);
    fake_node_free(&dialogue->fake);
    pgnear_close(dialogue->handle);
}

static void assert_bytes(pgnear_bytes bytes, const char *expected)
{
    assert_int_equal(bytes.len, strlen(expected));
    assert_memory_equal(bytes.at, expected, bytes.len);
}

static const pgnear_bytes K = {"k", 1};
static const pgnear_bytes TWO = {"\x02", 1};

static void get(void **state)
{
    (void)state;
    struct dialogue dialogue;
    pgnear_item item;
    begin(&dialogue, "[\"v\",5]");
    pgnear_get_options options = PGNEAR_GET_OPTIONS_INIT;
    options.has_max_age = options.has_min_version = true;
    options.max_age_ms = 100;
    options.min_version = 4;
    assert_int_equal(pgnear_get(dialogue.handle, K, &options, &item, NULL), PGNEAR_OK);
    assert_true(item.present && item.has_version);
    assert_int_equal(item.version, 5);
    assert_bytes(item.value, "\xa1v");
    end(&dialogue, "[\"get\",[\"k\",{\"max_age_ms\":100,\"min_version\":4}]]");

    begin(&dialogue, "null");
    assert_int_equal(pgnear_get(dialogue.handle, K, NULL, &item, NULL), PGNEAR_OK);
    assert_false(item.present);
    end(&dialogue, "[\"get\",[\"k\",{}]]");

    begin(&dialogue, "[null,null]");
    assert_int_equal(pgnear_get(dialogue.handle, K, NULL, &item, NULL), PGNEAR_OK);
    assert_true(item.present && !item.has_version);
    assert_bytes(item.value, "\xc0");
    end(&dialogue, "[\"get\",[\"k\",{}]]");
}

static void mget(void **state)
{
    (void)state;
    struct dialogue dialogue;
    begin(&dialogue, "[[1,10],null,[2,null]]");
    const pgnear_bytes keys[] = {pgnear_text("a"), pgnear_text("b"), pgnear_text("c")};
    const pgnear_item *items;
    assert_int_equal(pgnear_mget(dialogue.handle, keys, 3, NULL, &items, NULL), PGNEAR_OK);
    assert_true(items[0].present && !items[1].present && items[2].present);
    assert_int_equal(items[0].version, 10);
    assert_false(items[2].has_version);
    end(&dialogue, "[\"mget\",[[\"a\",\"b\",\"c\"],{}]]");

    begin(&dialogue, "[null]");
    assert_int_equal(pgnear_mget(dialogue.handle, keys, 3, NULL, &items, NULL), PGNEAR_PROTOCOL);
    end(&dialogue, "[\"mget\",[[\"a\",\"b\",\"c\"],{}]]");
}

static void ttl(void **state)
{
    (void)state;
    struct dialogue dialogue;
    int64_t ttl_ms;
    begin(&dialogue, "1500");
    assert_int_equal(pgnear_ttl(dialogue.handle, K, NULL, &ttl_ms, NULL), PGNEAR_OK);
    assert_int_equal(ttl_ms, 1500);
    end(&dialogue, "[\"ttl\",[\"k\",{}]]");
    begin(&dialogue, "null");
    assert_int_equal(pgnear_ttl(dialogue.handle, K, NULL, &ttl_ms, NULL), PGNEAR_OK);
    assert_int_equal(ttl_ms, -1);
    end(&dialogue, "[\"ttl\",[\"k\",{}]]");
}

static void scan(void **state)
{
    (void)state;
    struct dialogue dialogue;
    pgnear_page page;
    begin(&dialogue, "{\"items\":[[\"a\",1,7],[\"b\",2,null]],\"next\":\"b\",\"skipped\":[\"x\"],"
                     "\"unknown\":{}}");
    pgnear_scan_options options = PGNEAR_SCAN_OPTIONS_INIT;
    options.prefix = pgnear_text("p");
    options.after = pgnear_text("q");
    options.limit = 2;
    assert_int_equal(pgnear_scan(dialogue.handle, &options, &page, NULL), PGNEAR_OK);
    assert_int_equal(page.items_count, 2);
    assert_bytes(page.items[0].key, "a");
    assert_int_equal(page.items[0].version, 7);
    assert_false(page.items[1].has_version);
    assert_true(page.has_next);
    assert_bytes(page.next, "b");
    assert_int_equal(page.skipped_count, 1);
    assert_bytes(page.skipped[0], "x");
    end(&dialogue, "[\"scan\",[{\"prefix\":\"p\",\"after\":\"q\",\"limit\":2}]]");

    begin(&dialogue, "{\"items\":[],\"next\":null}");
    assert_int_equal(pgnear_all(dialogue.handle, pgnear_text("p"), NULL, &page, NULL), PGNEAR_OK);
    assert_int_equal(page.items_count, 0);
    assert_false(page.has_next);
    end(&dialogue, "[\"all\",[{\"prefix\":\"p\"}]]");
}

static void writes_with_a_seq(void **state)
{
    (void)state;
    struct dialogue dialogue;
    pgnear_written written;
    pgnear_write_options options = PGNEAR_WRITE_OPTIONS_INIT;
    options.ack = PGNEAR_ACK_POSTGRES;
    options.has_ttl = true;
    options.ttl_ms = 1000;
    options.if_absent = true;
    begin(&dialogue, "{\"seq\":3,\"version\":8}");
    assert_int_equal(pgnear_set(dialogue.handle, K, TWO, &options, &written, NULL), PGNEAR_OK);
    assert_int_equal(written.seq, 3);
    assert_true(written.has_version && !written.has_deleted);
    assert_int_equal(written.version, 8);
    end(&dialogue, "[\"set\",[\"k\",2,{\"ack\":\"postgres\",\"ttl_ms\":1000,\"if_absent\":true}]]");

    const pgnear_pair pairs[] = {{K, TWO}, {pgnear_text("l"), TWO}};
    begin(&dialogue, "{\"seq\":4}");
    assert_int_equal(pgnear_mset(dialogue.handle, pairs, 2, NULL, &written, NULL), PGNEAR_OK);
    assert_int_equal(written.seq, 4);
    assert_false(written.has_version);
    end(&dialogue, "[\"mset\",[[[\"k\",2],[\"l\",2]],{}]]");

    options = (pgnear_write_options)PGNEAR_WRITE_OPTIONS_INIT;
    options.has_if_version = true;
    options.if_version = 6;
    begin(&dialogue, "{\"seq\":5,\"deleted\":1,\"version\":9}");
    assert_int_equal(pgnear_delete(dialogue.handle, &K, 1, &options, &written, NULL), PGNEAR_OK);
    assert_true(written.has_deleted);
    assert_int_equal(written.deleted, 1);
    end(&dialogue, "[\"delete\",[[\"k\"],{\"if_version\":6}]]");

    // An ack that there is not is no default: the node refuses it.
    options = (pgnear_write_options)PGNEAR_WRITE_OPTIONS_INIT;
    options.ack = (pgnear_ack)9; // NOLINT(clang-analyzer-optin.core.EnumCastOutOfRange): the case
    begin(&dialogue, "{\"seq\":6}");
    assert_int_equal(pgnear_set(dialogue.handle, K, TWO, &options, NULL, NULL), PGNEAR_OK);
    end(&dialogue, "[\"set\",[\"k\",2,{\"ack\":9}]]");
}

static void writes_with_a_result(void **state)
{
    (void)state;
    struct dialogue dialogue;
    pgnear_item item;
    begin(&dialogue, "[3,11]");
    assert_int_equal(pgnear_incr(dialogue.handle, K, TWO, NULL, &item, NULL), PGNEAR_OK);
    assert_bytes(item.value, "\x03");
    assert_int_equal(item.version, 11);
    end(&dialogue, "[\"incr\",[\"k\",2,{}]]");

    begin(&dialogue, "[1,1]");
    assert_int_equal(pgnear_incr(dialogue.handle, K, (pgnear_bytes){0}, NULL, &item, NULL),
                     PGNEAR_OK);
    end(&dialogue, "[\"incr\",[\"k\",1,{}]]");

    begin(&dialogue, "[{\"a\":1},12]");
    const pgnear_bytes patch = {"\x81\xa1\x61\x01", 4};
    assert_int_equal(pgnear_merge(dialogue.handle, K, patch, NULL, &item, NULL), PGNEAR_OK);
    assert_bytes(item.value, "\x81\xa1\x61\x01");
    end(&dialogue, "[\"merge\",[\"k\",{\"a\":1},{}]]");

    bool existed;
    begin(&dialogue, "true");
    assert_int_equal(pgnear_touch(dialogue.handle, K, 50, NULL, &existed, NULL), PGNEAR_OK);
    assert_true(existed);
    end(&dialogue, "[\"touch\",[\"k\",50,{}]]");
    begin(&dialogue, "false");
    assert_int_equal(pgnear_touch(dialogue.handle, K, -1, NULL, &existed, NULL), PGNEAR_OK);
    assert_false(existed);
    end(&dialogue, "[\"touch\",[\"k\",null,{}]]");
    // What is left of a time that is over is no request to keep the key for ever.
    begin(&dialogue, "true");
    assert_int_equal(pgnear_touch(dialogue.handle, K, -5, NULL, NULL, NULL), PGNEAR_OK);
    end(&dialogue, "[\"touch\",[\"k\",-5,{}]]");
}

static void control(void **state)
{
    (void)state;
    struct dialogue dialogue;
    uint64_t number;
    begin(&dialogue, "{\"seq\":21}");
    assert_int_equal(pgnear_flush(dialogue.handle, 0, NULL, &number, NULL), PGNEAR_OK);
    assert_int_equal(number, 21);
    end(&dialogue, "[\"flush\",[{}]]");
    begin(&dialogue, "{\"seq\":20}");
    assert_int_equal(pgnear_flush(dialogue.handle, 20, NULL, &number, NULL), PGNEAR_OK);
    end(&dialogue, "[\"flush\",[{\"seq\":20}]]");
    begin(&dialogue, "true");
    assert_int_equal(pgnear_sync(dialogue.handle, NULL, NULL), PGNEAR_OK);
    end(&dialogue, "[\"sync\",[{}]]");
    begin(&dialogue, "1");
    assert_int_equal(pgnear_invalidate(dialogue.handle, K, NULL, &number, NULL), PGNEAR_OK);
    assert_int_equal(number, 1);
    end(&dialogue, "[\"invalidate\",[\"k\"]]");
    begin(&dialogue, "70");
    assert_int_equal(pgnear_invalidate(dialogue.handle, (pgnear_bytes){0}, NULL, &number, NULL),
                     PGNEAR_OK);
    assert_int_equal(number, 70);
    end(&dialogue, "[\"invalidate\",[]]");

    const pgnear_check_item *items;
    size_t count;
    begin(&dialogue, "[{\"item\":\"disk\",\"ok\":false,\"message\":\"full\"}]");
    assert_int_equal(pgnear_check(dialogue.handle, NULL, &items, &count, NULL), PGNEAR_OK);
    assert_int_equal(count, 1);
    assert_bytes(items[0].item, "disk");
    assert_bytes(items[0].message, "full");
    assert_false(items[0].ok);
    end(&dialogue, "[\"check\",[]]");
}

static void backups(void **state)
{
    (void)state;
    struct dialogue dialogue;
    pgnear_backup_item backup;
    begin(&dialogue, "{\"table\":\"t_backup\",\"rows\":7}");
    assert_int_equal(pgnear_backup(dialogue.handle, NULL, &backup, NULL), PGNEAR_OK);
    assert_bytes(backup.table, "t_backup");
    assert_int_equal(backup.rows, 7);
    assert_int_equal(backup.created_at.len, 0);
    end(&dialogue, "[\"backup\",[{}]]");

    const pgnear_backup_item *items;
    size_t count;
    begin(&dialogue, "[{\"table\":\"t\",\"rows\":1,\"created_at\":\"2025-11-01T16:35:00Z\"}]");
    assert_int_equal(pgnear_backups(dialogue.handle, NULL, &items, &count, NULL), PGNEAR_OK);
    assert_int_equal(count, 1);
    assert_bytes(items[0].table, "t");
    assert_bytes(items[0].created_at, "2025-11-01T16:35:00Z");
    end(&dialogue, "[\"backups\",[{}]]");

    uint64_t rows;
    pgnear_restore_options options = PGNEAR_RESTORE_OPTIONS_INIT;
    options.timeout_ms = 9;
    options.replace = true;
    begin(&dialogue, "{\"rows\":3}");
    assert_int_equal(pgnear_restore(dialogue.handle, pgnear_text("t"), &options, &rows, NULL),
                     PGNEAR_OK);
    assert_int_equal(rows, 3);
    end(&dialogue, "[\"restore\",[\"t\",{\"timeout_ms\":9,\"mode\":\"replace\"}]]");
    begin(&dialogue, "{}");
    assert_int_equal(pgnear_restore(dialogue.handle, pgnear_text("t"), NULL, &rows, NULL),
                     PGNEAR_PROTOCOL);
    end(&dialogue, "[\"restore\",[\"t\",{\"mode\":\"merge\"}]]");

    const pgnear_bytes *names;
    begin(&dialogue, "[\"t1\",\"t2\"]");
    assert_int_equal(pgnear_cleanup_backups(dialogue.handle, 30, NULL, &names, &count, NULL),
                     PGNEAR_OK);
    assert_int_equal(count, 2);
    assert_bytes(names[1], "t2");
    end(&dialogue, "[\"cleanup_backups\",[30,{}]]");
}

static void any_method_by_its_name(void **state)
{
    (void)state;
    struct dialogue dialogue;
    pgnear_bytes result;
    begin(&dialogue, "[]");
    const pgnear_bytes params = {"\x92\x01\xa1x", 4};
    assert_int_equal(pgnear_call(dialogue.handle, "history", params, false, NULL, &result, NULL),
                     PGNEAR_OK);
    assert_bytes(result, "\x90");
    const pgnear_bytes wrong = {"\x01", 1};
    assert_int_equal(pgnear_call(dialogue.handle, "history", wrong, false, NULL, NULL, NULL),
                     PGNEAR_BAD_REQUEST);
    end(&dialogue, "[\"history\",[1,\"x\"]]");
}

// What one call handed out may go into the next.
static void a_result_can_be_written_back(void **state)
{
    (void)state;
    const struct fake_step steps[] = {FAKE_HELLO,
                                      {FAKE_ANSWER, "[{\"deep\":[1,2]},1]", 0},
                                      {FAKE_ANSWER, "{\"seq\":1}", 0},
                                      {FAKE_END, NULL, 0}};
    struct fake_node fake;
    fake_node_start(&fake, steps);
    pgnear *handle;
    assert_int_equal(pgnear_open(fake.path, NULL, &handle, NULL), PGNEAR_OK);
    pgnear_item item;
    assert_int_equal(pgnear_get(handle, K, NULL, &item, NULL), PGNEAR_OK);
    assert_int_equal(pgnear_set(handle, pgnear_text("copy"), item.value, NULL, NULL, NULL),
                     PGNEAR_OK);
    fake_node_end(&fake);
    assert_request(&fake, 2, "[\"set\",[\"copy\",{\"deep\":[1,2]},{}]]");
    fake_node_free(&fake);
    pgnear_close(handle);
}

static void what_is_no_value_is_not_sent(void **state)
{
    (void)state;
    const struct fake_step steps[] = {FAKE_HELLO, {FAKE_END, NULL, 0}};
    struct fake_node fake;
    fake_node_start(&fake, steps);
    pgnear *handle;
    assert_int_equal(pgnear_open(fake.path, NULL, &handle, NULL), PGNEAR_OK);
    fake_node_end(&fake);
    fake_node_free(&fake);
    const pgnear_bytes values[] = {{"", 0}, {"\x01\x01", 2}, {"\x92\x01", 2}, {"\xc1", 1}};
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        assert_int_equal(pgnear_set(handle, K, values[i], NULL, NULL, NULL), PGNEAR_INVALID_VALUE);
    }
    pgnear_close(handle);
}

static void results_may_be_unwanted(void **state)
{
    (void)state;
    struct dialogue dialogue;
    begin(&dialogue, "[1,7]");
    assert_int_equal(pgnear_get(dialogue.handle, K, NULL, NULL, NULL), PGNEAR_OK);
    end(&dialogue, "[\"get\",[\"k\",{}]]");
    char room[1];
    begin(&dialogue, "[1,7]");
    assert_int_equal(pgnear_get_into(dialogue.handle, K, NULL, room, sizeof room, NULL, NULL),
                     PGNEAR_OK);
    assert_int_equal(room[0], 1);
    end(&dialogue, "[\"get\",[\"k\",{}]]");
    begin(&dialogue, "[1,7]");
    assert_int_equal(pgnear_lend(dialogue.handle, K, NULL, NULL, NULL), PGNEAR_OK);
    end(&dialogue, "[\"get\",[\"k\",{}]]");
    begin(&dialogue, "[{\"a\":1},7]");
    assert_int_equal(pgnear_get_path(dialogue.handle, K, "$.a", NULL, NULL, NULL), PGNEAR_OK);
    end(&dialogue, "[\"get\",[\"k\",{}]]");
    begin(&dialogue, "{\"items\":[[\"k\",1,1]],\"next\":null}");
    pgnear_iterator *iterator;
    pgnear_item item;
    assert_int_equal(pgnear_iterator_create(dialogue.handle, NULL, &iterator, NULL), PGNEAR_OK);
    assert_int_equal(pgnear_iterator_next(iterator, NULL, NULL), PGNEAR_OK);
    assert_int_equal(pgnear_iterator_next(iterator, &item, NULL), PGNEAR_OK);
    assert_false(item.present); // the first was stepped over
    pgnear_iterator_destroy(iterator);
    end(&dialogue, "[\"scan\",[{}]]");
    assert_int_equal(pgnear_from_json(pgnear_text("[1]"), NULL, NULL, NULL), PGNEAR_OK);
    assert_int_equal(pgnear_from_json(pgnear_text("[1"), NULL, NULL, NULL), PGNEAR_INVALID_VALUE);
    assert_int_equal(pgnear_to_json(TWO, false, NULL, NULL, NULL), PGNEAR_OK);
}

static void history(void **state)
{
    (void)state;
    struct dialogue dialogue;
    const pgnear_revision *revisions;
    size_t count;
    begin(&dialogue, "[[9,null,\"delete\",70],[8,null,\"set\",60]]");
    pgnear_history_options options = PGNEAR_HISTORY_OPTIONS_INIT;
    options.has_before = true;
    options.before = 10;
    options.limit = 2;
    assert_int_equal(pgnear_history(dialogue.handle, K, &options, &revisions, &count, NULL),
                     PGNEAR_OK);
    assert_int_equal(count, 2);
    assert_true(revisions[0].deleted && revisions[0].value.len == 0);
    assert_int_equal(revisions[0].version, 9);
    assert_false(revisions[1].deleted);
    assert_bytes(revisions[1].value, "\xc0");
    assert_int_equal(revisions[1].at_us, 60);
    end(&dialogue, "[\"history\",[\"k\",{\"before\":10,\"limit\":2}]]");

    pgnear_item item;
    begin(&dialogue, "[1,8]");
    pgnear_get_options at = PGNEAR_GET_OPTIONS_INIT;
    at.has_at_version = true;
    at.at_version = 8;
    assert_int_equal(pgnear_get(dialogue.handle, K, &at, &item, NULL), PGNEAR_OK);
    end(&dialogue, "[\"get\",[\"k\",{\"at_version\":8}]]");

    begin(&dialogue, "[[9,1,\"set\"]]");
    assert_int_equal(pgnear_history(dialogue.handle, K, NULL, &revisions, &count, NULL),
                     PGNEAR_PROTOCOL);
    end(&dialogue, "[\"history\",[\"k\",{}]]");
}

static void dead_letters(void **state)
{
    (void)state;
    struct dialogue dialogue;
    const pgnear_dead_letter *letters;
    size_t count;
    begin(&dialogue, "[{\"seq\":7,\"key\":\"k\",\"keys\":3,\"op\":\"mset\",\"sqlstate\":\"23514\","
                     "\"message\":\"no\",\"at_us\":5,\"later\":[1]}]");
    pgnear_dead_letters_options options = PGNEAR_DEAD_LETTERS_OPTIONS_INIT;
    options.after_seq = 6;
    assert_int_equal(pgnear_dead_letters(dialogue.handle, &options, &letters, &count, NULL),
                     PGNEAR_OK);
    assert_int_equal(count, 1);
    assert_int_equal(letters[0].seq, 7);
    assert_int_equal(letters[0].keys, 3);
    assert_int_equal(letters[0].at_us, 5);
    assert_bytes(letters[0].key, "k");
    assert_bytes(letters[0].op, "mset");
    assert_bytes(letters[0].sqlstate, "23514");
    assert_bytes(letters[0].message, "no");
    end(&dialogue, "[\"dead_letters\",[{\"after_seq\":6}]]");

    pgnear_written written;
    begin(&dialogue, "{\"seq\":9}");
    assert_int_equal(pgnear_retry_dead_letter(dialogue.handle, 7, true, NULL, &written, NULL),
                     PGNEAR_OK);
    assert_int_equal(written.seq, 9);
    end(&dialogue, "[\"retry_dead_letter\",[7,{\"force\":true}]]");

    bool existed = true;
    begin(&dialogue, "false");
    assert_int_equal(pgnear_discard_dead_letter(dialogue.handle, 7, NULL, &existed, NULL),
                     PGNEAR_OK);
    assert_false(existed);
    end(&dialogue, "[\"discard_dead_letter\",[7,{}]]");
}

static void an_absolute_expiry(void **state)
{
    (void)state;
    struct dialogue dialogue;
    begin(&dialogue, "{\"seq\":1}");
    pgnear_write_options options = PGNEAR_WRITE_OPTIONS_INIT;
    options.has_expires_at = true;
    options.expires_at_us = 12;
    assert_int_equal(pgnear_set(dialogue.handle, K, TWO, &options, NULL, NULL), PGNEAR_OK);
    end(&dialogue, "[\"set\",[\"k\",2,{\"expires_at_us\":12}]]");
}

static void json_goes_both_ways(void **state)
{
    (void)state;
    void *msgpack;
    size_t msgpack_len;
    assert_int_equal(
        pgnear_from_json(pgnear_text(" {\"a\": [1, 2.50]} "), &msgpack, &msgpack_len, NULL),
        PGNEAR_OK);
    char *json;
    size_t json_len;
    assert_int_equal(
        pgnear_to_json((pgnear_bytes){msgpack, msgpack_len}, false, &json, &json_len, NULL),
        PGNEAR_OK);
    assert_string_equal(json, "{\"a\":[1,2.5]}");
    assert_int_equal(json_len, strlen(json));
    pgnear_free(json);
    pgnear_free(msgpack);

    pgnear_error error;
    assert_int_equal(pgnear_from_json(pgnear_text("{\"a\":}"), &msgpack, &msgpack_len, &error),
                     PGNEAR_INVALID_VALUE);
    assert_true(strlen(error.message) > 0);
    assert_int_equal(pgnear_to_json(pgnear_text("\xc1"), false, &json, &json_len, NULL),
                     PGNEAR_INVALID_VALUE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(get),
        cmocka_unit_test(mget),
        cmocka_unit_test(ttl),
        cmocka_unit_test(scan),
        cmocka_unit_test(writes_with_a_seq),
        cmocka_unit_test(writes_with_a_result),
        cmocka_unit_test(control),
        cmocka_unit_test(backups),
        cmocka_unit_test(any_method_by_its_name),
        cmocka_unit_test(a_result_can_be_written_back),
        cmocka_unit_test(what_is_no_value_is_not_sent),
        cmocka_unit_test(results_may_be_unwanted),
        cmocka_unit_test(history),
        cmocka_unit_test(dead_letters),
        cmocka_unit_test(an_absolute_expiry),
        cmocka_unit_test(json_goes_both_ways),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
