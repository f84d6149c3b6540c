// Watchers: who is told what, once, and what becomes of those who do not listen.

#include "unit/server/fake_node.h"

#include "server/session.h"
#include "server/watch.h"

struct announced {
    const char *key;
    int64_t version;
    enum change_op op;
};

static void announce(struct fake_node *node, const struct announced *announced, size_t count,
                     bool resync)
{
    size_t boxes;
    struct mailbox *const *mailboxes = server_mailboxes(node->server, &boxes);
    for (size_t box = 0; box < boxes; box++) {
        struct changes_message *message = message_create(MESSAGE_CHANGES, sizeof *message);
        message->resync = resync;
        message->changes_count = count;
        message->changes = arena_alloc(&message->arena, count * sizeof *message->changes);
        for (size_t i = 0; i < count; i++) {
            message->changes[i] = (struct change){
                .key = arena_copy(&message->arena, slice_of_string(announced[i].key)),
                .version = announced[i].version,
                .op = announced[i].op,
            };
        }
        mailbox_push(mailboxes[box], &message->message);
    }
}

static void watchers_are_told_once_a_change(void **state)
{
    struct fake_node *node = *state;
    struct client watcher = client_of(node);
    struct client all = client_of(node);
    assert_answer(&watcher, "[0,1,\"watch\",[\"u:\"]]", "[1,1,null,true]");
    assert_answer(&watcher, "[0,2,\"watch\",[\"u:1\"]]", "[1,2,null,true]");
    assert_answer(&watcher, "[0,3,\"watch\",[\"u:1\"]]", "[1,3,null,true]");
    assert_answer(&all, "[0,1,\"watch\",[\"\"]]", "[1,1,null,true]");
    assert_int_equal(status_get(&node->status, STATUS_SERVER_WATCHERS), 3);
    static const struct announced CHANGES[] = {
        {"u:1", 5, CHANGE_SET}, {"x", 6, CHANGE_DELETE}, {"u:2", 7, CHANGE_DELETE}};
    announce(node, CHANGES, 3, false);
    assert_received(&watcher, "[2,\"changed\",[\"u:1\",5,\"set\"]]");
    assert_received(&watcher, "[2,\"changed\",[\"u:2\",7,\"delete\"]]");
    assert_received(&all, "[2,\"changed\",[\"u:1\",5,\"set\"]]");
    assert_received(&all, "[2,\"changed\",[\"x\",6,\"delete\"]]");
    assert_received(&all, "[2,\"changed\",[\"u:2\",7,\"delete\"]]");

    assert_answer(&watcher, "[0,4,\"unwatch\",[\"u:\"]]", "[1,4,null,true]");
    assert_answer(&watcher, "[0,5,\"unwatch\",[\"never\"]]", "[1,5,null,true]");
    announce(node, CHANGES, 3, false);
    assert_received(&watcher, "[2,\"changed\",[\"u:1\",5,\"set\"]]");
    announce(node, NULL, 0, true);
    assert_received(&watcher, "[2,\"resync\",[]]");
    assert_answer(&watcher, "[0,6,\"unwatch\",[\"u:1\"]]", "[1,6,null,true]");
    announce(node, NULL, 0, true);
    announce(node, CHANGES, 3, false);
    assert_answer(&watcher, "[0,7,\"ping\",[]]", "[1,7,null,\"pong\"]");
    client_close(&watcher);
    client_close(&all);
    await_status(node, STATUS_SERVER_WATCHERS, 0);
}

static void a_connection_watches_so_many_prefixes(void **state)
{
    struct fake_node *node = *state;
    struct client client = client_of(node);
    for (int i = 0; i < WATCH_PREFIXES_MAX; i++) {
        char request[64];
        snprintf(request, sizeof request, "[0,1,\"watch\",[\"p%d\"]]", i);
        assert_answer(&client, request, "[1,1,null,true]");
    }
    assert_fails(&client, "[0,1,\"watch\",[\"more\"]]", "TOO_LARGE", "1000 prefixes");
    assert_answer(&client, "[0,1,\"watch\",[\"p7\"]]", "[1,1,null,true]");
    client_close(&client);
}

// A watcher that does not read loses events, and learns of it by one resync once it reads again.
static void a_slow_watcher_gets_a_resync_for_what_it_missed(void **state)
{
    struct fake_node *node = *state;
    struct client slow = client_of(node);
    struct client quick = client_of(node);
    assert_answer(&slow, "[0,1,\"watch\",[\"\"]]", "[1,1,null,true]");
    assert_answer(&quick, "[0,1,\"watch\",[\"quick\"]]", "[1,1,null,true]");
    enum { CHANGES = 1000, ROUNDS = 100 };
    char key[400];
    memset(key, 'k', sizeof key - 1);
    key[sizeof key - 1] = '\0';
    struct announced changes[CHANGES];
    for (int i = 0; i < CHANGES; i++) {
        changes[i] = (struct announced){key, 1, CHANGE_SET};
    }
    // 40 MB of events, far beyond the buffers of the socket and the bound.
    for (int round = 0; round < ROUNDS; round++) {
        announce(node, changes, CHANGES, false);
    }
    announce(node, &(struct announced){"quick", 1, CHANGE_SET}, 1, false);
    assert_received(&quick, "[2,\"changed\",[\"quick\",1,\"set\"]]");
    int events = 0;
    const char *event = client_receive(&slow);
    while (strcmp(event, "[2,\"resync\",[]]") != 0) {
        assert_int_equal(strncmp(event, "[2,\"changed\",", 13), 0);
        events++;
        event = client_receive(&slow);
    }
    assert_in_range(events, 1, CHANGES * ROUNDS - 1);
    // From here on it hears everything again.
    announce(node, &(struct announced){"after", 2, CHANGE_SET}, 1, false);
    assert_received(&slow, "[2,\"changed\",[\"after\",2,\"set\"]]");
    client_close(&slow);
    client_close(&quick);
}

#define NODE_TEST(test) cmocka_unit_test_setup_teardown(test, setup_node, teardown_node)

int main(void)
{
    const struct CMUnitTest tests[] = {
        NODE_TEST(watchers_are_told_once_a_change),
        NODE_TEST(a_connection_watches_so_many_prefixes),
        NODE_TEST(a_slow_watcher_gets_a_resync_for_what_it_missed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
