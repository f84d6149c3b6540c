// What is ready together is read together, in groups, before the first of it is answered: each
// client gets its own answers, whatever the others of its group do.

#include "unit/server/fake_node.h"

#include "server/reception.h"

enum { CROWD = 2 * RECEPTION_COUNT_MAX + RECEPTION_COUNT_MAX / 2 };

struct crowd {
    struct fake_node *node;
    struct client holder;
};

// The loop stands in a lookup for this one, until crowd_go.
static void crowd_hold(struct crowd *crowd, struct fake_node *node)
{
    *crowd = (struct crowd){.node = node, .holder = client_of(node)};
    node_holds(node, "held", LOOKUP_HIT, clean("\x01", 1));
    assert_answer(&crowd->holder, "[0,1,\"ping\",[]]", "[1,1,null,\"pong\"]");
    pthread_mutex_lock(&node->mutex);
    int looks = atomic_load(&node->looks);
    client_send(&crowd->holder, "[0,2,\"get\",[\"held\"]]");
    while (atomic_load(&node->looks) == looks) {
        sched_yield();
    }
}

static void crowd_go(struct crowd *crowd)
{
    atomic_store(&crowd->node->expected_most, 0);
    pthread_mutex_unlock(&crowd->node->mutex);
    assert_received(&crowd->holder, "[1,2,null,[1,1]]");
}

static void crowd_end(struct crowd *crowd)
{
    client_close(&crowd->holder);
    assert_int_equal(atomic_load(&crowd->node->expected), 0);
}

static struct client connected(struct fake_node *node)
{
    struct client client = client_of(node);
    assert_answer(&client, "[0,0,\"ping\",[]]", "[1,0,null,\"pong\"]");
    return client;
}

static void a_group_is_read_before_the_first_is_answered(void **state)
{
    struct fake_node *node = *state;
    struct client clients[CROWD];
    struct crowd crowd;
    char keys[CROWD][16], text[96];
    uint8_t values[CROWD][2];
    for (int i = 0; i < CROWD; i++) {
        snprintf(keys[i], sizeof keys[i], "key%d", i);
        values[i][0] = (uint8_t)i;
        values[i][1] = 0;
        struct cached cached = clean("\x01", i + 1);
        cached.value = slice_of(values[i], 1);
        if (i % 2 == 0) {
            node_holds(node, keys[i], LOOKUP_HIT, cached);
        } else {
            node_holds_hot(node, keys[i], LOOKUP_HIT, cached);
        }
        clients[i] = connected(node);
    }
    crowd_hold(&crowd, node);
    for (int i = 0; i < CROWD; i++) {
        snprintf(text, sizeof text, "[0,%d,\"get\",[\"%s\"]]", i + 1, keys[i]);
        client_send(&clients[i], text);
    }
    crowd_go(&crowd);
    for (int i = 0; i < CROWD; i++) {
        snprintf(text, sizeof text, "[1,%d,null,[%d,%d]]", i + 1, i, i + 1);
        assert_received(&clients[i], text);
        client_close(&clients[i]);
    }
    // All that one group may hold, and no more.
    assert_int_equal(atomic_load(&node->expected_most), RECEPTION_COUNT_MAX);
    crowd_end(&crowd);
}

static void a_stranger_in_a_group_harms_nobody(void **state)
{
    struct fake_node *node = *state;
    struct crowd crowd;
    node_holds(node, "k", LOOKUP_HIT, clean("\x2a", 7));
    struct client first = connected(node), stranger = connected(node), gone = connected(node);
    struct client half = connected(node), last = connected(node);
    crowd_hold(&crowd, node);
    client_send(&first, "[0,1,\"get\",[\"k\"]]");
    client_send_bytes(&stranger, "\x94\x00\x09\xc1", 4);
    client_send(&gone, "[0,1,\"get\",[\"k\"]]");
    client_close(&gone);
    client_send(&half, "[0,1,\"get\",[\"k\"]]");
    shutdown(half.fd, SHUT_WR);
    client_send(&last, "[0,1,\"get\",[\"k\"]]");
    crowd_go(&crowd);
    assert_received(&first, "[1,1,null,[42,7]]");
    assert_received_failure(&stranger, "BAD_REQUEST", "MessagePack-RPC");
    assert_received(&stranger, "");
    assert_received(&half, "[1,1,null,[42,7]]");
    assert_received(&half, "");
    assert_received(&last, "[1,1,null,[42,7]]");
    assert_answer(&first, "[0,2,\"get\",[\"k\"]]", "[1,2,null,[42,7]]");
    client_close(&stranger);
    await_status(node, STATUS_SERVER_CONNECTIONS, 3);
    client_close(&first);
    client_close(&half);
    client_close(&last);
    crowd_end(&crowd);
}

// A request begun before, one larger than a read, many in one read, a read after a write of its
// key, and keys that are refused: side by side with gets.
static void whatever_else_is_in_a_group_keeps_its_order(void **state)
{
    enum { MANY = 3 * EXPECTED_GETS_MAX, LARGE_BYTES = RECEPTION_READ_BYTES + 1000 };
    struct fake_node *node = *state;
    struct crowd crowd;
    struct buffer large = {0}, many = {0};
    char text[96];
    node_holds(node, "k", LOOKUP_HIT, clean("\x2a", 7));
    struct client begun = connected(node), sender = connected(node), pipeline = connected(node);
    struct client writer = connected(node), refused = connected(node);
    // [0, 5, "get", ["k"]], first without its key
    client_send_bytes(&begun, "\x94\x00\x05\xa3get\x91", 8);
    crowd_hold(&crowd, node);
    client_send_bytes(&begun, "\xa1k", 2);
    append_json(&large, "[0,6,\"ping\",[]]");
    large.bytes[large.end - 1] = 0x91; // one parameter: a string that no method wants
    buffer_append(&large, "\xdb\x00\x01\x03\xe8", 5);
    memset(buffer_reserve(&large, LARGE_BYTES), 'x', LARGE_BYTES);
    buffer_commit(&large, LARGE_BYTES);
    client_send_bytes(&sender, buffer_slice(&large).at, buffer_len(&large));
    for (int i = 0; i < MANY; i++) {
        snprintf(text, sizeof text, "[0,%d,\"get\",[\"k\"]]", i);
        append_json(&many, text);
    }
    client_send_bytes(&pipeline, buffer_slice(&many).at, buffer_len(&many));
    client_send(&writer, "[0,7,\"get\",[\"k\"]]");
    client_send(&writer, "[0,8,\"set\",[\"k\",1]]");
    client_send(&writer, "[0,9,\"get\",[\"k\"]]");
    client_send(&refused, "[0,3,\"get\",[\"\"]]");
    client_send(&refused, "[0,4,\"get\",[\"k\"]]");
    crowd_go(&crowd);
    assert_received(&begun, "[1,5,null,[42,7]]");
    assert_received_failure(&sender, "BAD_REQUEST", "ping");
    for (int i = 0; i < MANY; i++) {
        snprintf(text, sizeof text, "[1,%d,null,[42,7]]", i);
        assert_received(&pipeline, text);
    }
    assert_received(&writer, "[1,7,null,[42,7]]");
    struct request *set = await_request(&node->writer);
    node_holds(node, "k", LOOKUP_HIT, pending("\x01", 3));
    finish_with_seq(set, 3);
    assert_received(&writer, "[1,8,null,{\"seq\":3}]");
    assert_received(&writer, "[1,9,null,[1,null]]");
    assert_received_failure(&refused, "INVALID_KEY", "get");
    assert_received(&refused, "[1,4,null,[42,7]]");
    client_close(&begun);
    client_close(&sender);
    client_close(&pipeline);
    client_close(&writer);
    client_close(&refused);
    buffer_deinit(&large);
    buffer_deinit(&many);
    client_close(&crowd.holder);
}

// Answers are made in one buffer for all; what a socket does not take stays with its connection.
static void what_waits_to_be_sent_is_nobody_else_s(void **state)
{
    enum { SLOW = 3, REQUESTS = 12, VALUE_BYTES = 60000 };
    struct fake_node *node = *state;
    struct client slow[SLOW], other = connected(node);
    struct buffer values[SLOW] = {{0}};
    char keys[SLOW][24], text[96];
    node_holds(node, "k", LOOKUP_HIT, clean("\x2a", 7));
    for (int i = 0; i < SLOW; i++) {
        msgpack_packer packer;
        mpack_packer_init(&packer, &values[i]);
        msgpack_pack_str(&packer, VALUE_BYTES);
        memset(buffer_reserve(&values[i], VALUE_BYTES), 'a' + i, VALUE_BYTES);
        buffer_commit(&values[i], VALUE_BYTES);
        struct cached cached = clean("", i + 1);
        cached.value = buffer_slice(&values[i]);
        snprintf(keys[i], sizeof keys[i], "large%d", i);
        node_holds(node, keys[i], LOOKUP_HIT, cached);
        slow[i] = connected(node);
    }
    for (int i = 0; i < REQUESTS * SLOW; i++) {
        snprintf(text, sizeof text, "[0,%d,\"get\",[\"large%d\"]]", i / SLOW, i % SLOW);
        client_send(&slow[i % SLOW], text);
        assert_answer(&other, "[0,1,\"get\",[\"k\"]]", "[1,1,null,[42,7]]");
    }
    for (int i = 0; i < REQUESTS * SLOW; i++) {
        int number = i / REQUESTS;
        int begins = snprintf(text, sizeof text, "[1,%d,null,[\"", i % REQUESTS);
        const char *received = client_receive(&slow[number]);
        assert_memory_equal(received, text, (size_t)begins);
        snprintf(text, sizeof text, "%c", 'a' + number);
        assert_int_equal(strspn(received + begins, text), VALUE_BYTES);
        snprintf(text, sizeof text, "\",%d]]", number + 1);
        assert_string_equal(received + begins + VALUE_BYTES, text);
    }
    for (int i = 0; i < SLOW; i++) {
        client_close(&slow[i]);
        buffer_deinit(&values[i]);
    }
    client_close(&other);
}

int main(void)
{
#define NODE_TEST(test) cmocka_unit_test_setup_teardown(test, setup_node, teardown_node)
    const struct CMUnitTest tests[] = {
        NODE_TEST(a_group_is_read_before_the_first_is_answered),
        NODE_TEST(a_stranger_in_a_group_harms_nobody),
        NODE_TEST(whatever_else_is_in_a_group_keeps_its_order),
        NODE_TEST(what_waits_to_be_sent_is_nobody_else_s),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
