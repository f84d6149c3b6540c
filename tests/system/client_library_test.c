// libpgnear against a true node: the same answers as over the socket, and a handle that outlives
// the node's process.

#include <pgnear.h>
#include <string.h>

#include "system/harness/node.h"

static pgnear *open_handle(const struct node *node)
{
    pgnear *handle = NULL;
    pgnear_error error;
    if (pgnear_open(node->socket_path, NULL, &handle, &error) != PGNEAR_OK) {
        scenario_fail("%s", error.message);
    }
    return handle;
}

static void must(pgnear_code code, const pgnear_error *error)
{
    if (code != PGNEAR_OK) {
        scenario_fail("%s: %s", error->name, error->message);
    }
}

static void set_json(pgnear *handle, const char *key, const char *json)
{
    void *value;
    size_t value_len;
    pgnear_error error;
    must(pgnear_from_json(pgnear_text(json), &value, &value_len, &error), &error);
    must(pgnear_set(handle, pgnear_text(key), (pgnear_bytes){value, value_len}, NULL, NULL, &error),
         &error);
    pgnear_free(value);
}

static void assert_item(const pgnear_item *item, const char *json)
{
    assert_true(item->present);
    char *text;
    pgnear_error error;
    must(pgnear_to_json(item->value, false, &text, NULL, &error), &error);
    assert_string_equal(text, json);
    pgnear_free(text);
}

static void reads_what_it_writes(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct node *node = node_start(scenario, pg, NULL);
    pgnear *handle = open_handle(node);
    pgnear_error error;
    pgnear_item item;
    must(pgnear_get(handle, pgnear_text("k"), NULL, &item, &error), &error);
    assert_false(item.present);
    set_json(handle, "k", "{\"a\":[1,2.5,\"x\"]}");
    must(pgnear_get(handle, pgnear_text("k"), NULL, &item, &error), &error);
    assert_item(&item, "{\"a\":[1,2.5,\"x\"]}");
    must(pgnear_flush(handle, 0, NULL, NULL, &error), &error);
    assert_pg_value(pg, "x", "SELECT value->'a'->>2 FROM kv_store");
    pg_exec(pg, "UPDATE kv_store SET value = '7'");
    must(pgnear_sync(handle, NULL, &error), &error);
    must(pgnear_get(handle, pgnear_text("k"), NULL, &item, &error), &error);
    assert_item(&item, "7");
    must(pgnear_incr(handle, pgnear_text("k"), (pgnear_bytes){0}, NULL, &item, &error), &error);
    assert_item(&item, "8");
    pgnear_write_options options = PGNEAR_WRITE_OPTIONS_INIT;
    options.if_absent = true;
    assert_int_equal(pgnear_set(handle, pgnear_text("k"), item.value, &options, NULL, &error),
                     PGNEAR_CONFLICT);
    assert_true(error.has_version);
    pgnear_page page;
    must(pgnear_scan(handle, NULL, &page, &error), &error);
    assert_int_equal(page.items_count, 1);
    assert_item(&page.items[0], "8");
    pgnear_close(handle);
}

static void a_handle_outlives_the_nodes_process(struct scenario *scenario)
{
    struct node *node = node_start(scenario, pg_start(scenario, NULL), NULL);
    pgnear *handle = open_handle(node);
    pgnear_error error;
    set_json(handle, "k", "1");
    node_kill(node);
    pgnear_item item;
    assert_int_equal(pgnear_get(handle, pgnear_text("k"), NULL, &item, &error), PGNEAR_UNREACHABLE);
    node_start_again(node);
    must(pgnear_get(handle, pgnear_text("k"), NULL, &item, &error), &error);
    assert_item(&item, "1");
    node_kill(node);
    node_start_again(node);
    set_json(handle, "k", "2");
    must(pgnear_get(handle, pgnear_text("k"), NULL, &item, &error), &error);
    assert_item(&item, "2");
    pgnear_close(handle);
}

static void await_event(pgnear *handle, pgnear_event_kind kind, const char *key)
{
    pgnear_event event;
    pgnear_error error;
    must(pgnear_next_event(handle, 20000, &event, &error), &error);
    assert_int_equal(event.kind, kind);
    assert_int_equal(event.key.len, strlen(key));
    assert_memory_equal(event.key.at, key, event.key.len);
}

static void events_follow_commits(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct node *node = node_start(scenario, pg, NULL);
    pgnear *watching = open_handle(node);
    pgnear *writing = open_handle(node);
    pgnear_error error;
    must(pgnear_watch(watching, pgnear_text("p:"), NULL, &error), &error);
    set_json(writing, "q:not watched", "1");
    set_json(writing, "p:own", "1");
    await_event(watching, PGNEAR_EVENT_SET, "p:own");
    pg_exec(pg, "INSERT INTO kv_store (key, value) VALUES ('p:foreign', '1')");
    await_event(watching, PGNEAR_EVENT_SET, "p:foreign");
    pg_exec(pg, "DELETE FROM kv_store WHERE key = 'p:own'");
    await_event(watching, PGNEAR_EVENT_DELETE, "p:own");
    pg_exec(pg, "TRUNCATE kv_store");
    await_event(watching, PGNEAR_EVENT_RESYNC, "");
    node_kill(node);
    node_start_again(node);
    await_event(watching, PGNEAR_EVENT_RESYNC, "");
    pg_exec(pg, "INSERT INTO kv_store (key, value) VALUES ('p:later', '1')");
    await_event(watching, PGNEAR_EVENT_SET, "p:later");
    pgnear_close(watching);
    pgnear_close(writing);
}

static void a_repeat_with_an_id_is_done_once(struct scenario *scenario)
{
    struct node *node = node_start(scenario, pg_start(scenario, NULL), NULL);
    pgnear *handle = open_handle(node);
    pgnear_write_options options = PGNEAR_WRITE_OPTIONS_INIT;
    options.id = pgnear_text("payment 1");
    pgnear_error error;
    pgnear_item item;
    for (int i = 0; i < 3; i++) {
        must(pgnear_incr(handle, pgnear_text("n"), (pgnear_bytes){0}, &options, &item, &error),
             &error);
        assert_item(&item, "1");
        if (i == 1) {
            node_kill(node);
            node_start_again(node);
        }
    }
    pgnear_close(handle);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCENARIO(reads_what_it_writes),
        SCENARIO(a_handle_outlives_the_nodes_process),
        SCENARIO(events_follow_commits),
        SCENARIO(a_repeat_with_an_id_is_done_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
