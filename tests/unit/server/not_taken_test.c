// Answers that their clients do not take: what all of them together may hold of the node's memory,
// and what is answered beyond it.

#include "unit/server/fake_node.h"

#include "server/session.h"

// A request of 15 keys is answered by 3 MiB; so many of them fill the room but for less than one.
enum {
    ROOM_BYTES = 16 << 20,
    VALUE_BYTES = 200 << 10,
    KEYS = 15,
    KEEPERS_MAX = ROOM_BYTES / VALUE_BYTES / KEYS
};

static const char ASKS_FOR_MUCH[] =
    "[0,7,\"mget\",[[\"k\",\"k\",\"k\",\"k\",\"k\",\"k\",\"k\",\"k\",\"k\",\"k\",\"k\",\"k\",\"k\","
    "\"k\",\"k\"]]]";

// A string of its own, the caller's to free.
static struct buffer large_value(void)
{
    struct buffer value = {0};
    msgpack_packer packer;
    mpack_packer_init(&packer, &value);
    msgpack_pack_str(&packer, VALUE_BYTES);
    memset(buffer_reserve(&value, VALUE_BYTES), 'x', VALUE_BYTES);
    buffer_commit(&value, VALUE_BYTES);
    return value;
}

static void node_holds_large(struct fake_node *node, struct slice value)
{
    struct cached cached = clean("", 1);
    cached.value = value;
    node_holds(node, "k", LOOKUP_HIT, cached);
    node_holds(node, "small", LOOKUP_HIT, clean("\x07", 1));
}

// Each asks for much and reads none of it.
static void fill(struct fake_node *node, struct client *keepers)
{
    int64_t hits = status_get(&node->status, STATUS_CACHE_HITS);
    for (int i = 0; i < KEEPERS_MAX; i++) {
        keepers[i] = client_of(node);
        client_send(&keepers[i], ASKS_FOR_MUCH);
    }
    await_status(node, STATUS_CACHE_HITS, hits + KEEPERS_MAX * KEYS);
}

static void beyond_the_bound_reads_are_refused(void **state)
{
    struct fake_node *node = *state;
    struct buffer value = large_value();
    struct client keepers[KEEPERS_MAX];
    node_holds_large(node, buffer_slice(&value));
    fill(node, keepers);

    struct client client = client_of(node);
    client_send(&client, ASKS_FOR_MUCH);
    assert_received_failure(&client, "OVERLOADED", "there is no room for the answer");
    assert_answer(&client, "[0,1,\"get\",[\"small\"]]", "[1,1,null,[7,1]]");
    assert_answer(&client, "[0,2,\"mget\",[[\"small\",\"small\"]]]", "[1,2,null,[[7,1],[7,1]]]");

    // One that goes makes room, and so does one that reads.
    client_close(&keepers[0]);
    await_status(node, STATUS_SERVER_CONNECTIONS, KEEPERS_MAX);
    client_send(&client, ASKS_FOR_MUCH);
    assert_true(strlen(client_receive(&client)) > KEYS * VALUE_BYTES);
    keepers[0] = client_of(node);
    client_send(&keepers[0], ASKS_FOR_MUCH);
    await_status(node, STATUS_CACHE_HITS, (KEEPERS_MAX + 3) * KEYS + 3);
    client_send(&client, ASKS_FOR_MUCH);
    assert_received_failure(&client, "OVERLOADED", "there is no room for the answer");
    assert_true(strlen(client_receive(&keepers[1])) > KEYS * VALUE_BYTES);
    client_send(&client, ASKS_FOR_MUCH);
    assert_true(strlen(client_receive(&client)) > KEYS * VALUE_BYTES);
    for (int i = 0; i < KEEPERS_MAX; i++) {
        client_close(&keepers[i]);
    }
    client_close(&client);
    buffer_deinit(&value);
}

// A write is done whether its answer has room or not; what it came to is asked for by its number.
static void beyond_the_bound_the_outcome_of_a_write_is_unknown(void **state)
{
    enum { MERGES = ROOM_BYTES / VALUE_BYTES - KEEPERS_MAX * KEYS + KEYS };
    struct fake_node *node = *state;
    struct buffer value = large_value();
    struct client keepers[KEEPERS_MAX];
    node_holds_large(node, buffer_slice(&value));
    fill(node, keepers);

    // All taken before the first is answered, which makes the node take no more of this client.
    struct client client = client_of(node);
    struct request *merges[MERGES], *set;
    for (int i = 0; i < MERGES; i++) {
        client_send(&client, "[0,3,\"merge\",[\"m\",{}]]");
        merges[i] = await_request(&node->writer);
    }
    client_send(&client, "[0,4,\"set\",[\"m\",1]]");
    set = await_request(&node->writer);
    for (int i = 0; i < MERGES; i++) {
        struct request *merge = merges[i];
        struct item *item = reply_items(&merge->reply, 1);
        *item = (struct item){.present = true, .has_version = true, .version = 1};
        item->value = arena_copy(&merge->reply.arena, buffer_slice(&value));
        finish_with_seq(merge, 41);
    }
    finish_with_seq(set, 42);
    int with_result = 0, unknown = 0;
    for (int i = 0; i < MERGES; i++) {
        const char *answer = client_receive(&client);
        with_result += strlen(answer) > VALUE_BYTES;
        unknown += strstr(answer, "\"OUTCOME_UNKNOWN\"") != NULL &&
                   strstr(answer, "there is no room for the answer") != NULL &&
                   strstr(answer, "\"seq\":41") != NULL;
    }
    assert_true(unknown > 0);
    assert_int_equal(with_result + unknown, MERGES);
    assert_received(&client, "[1,4,null,{\"seq\":42}]");
    for (int i = 0; i < KEEPERS_MAX; i++) {
        client_close(&keepers[i]);
    }
    client_close(&client);
    buffer_deinit(&value);
}

static int setup_small_node(void **state)
{
    struct fake_node *node = memory_zeroed(1, sizeof *node);
    node_init(node);
    node->not_taken_bytes_max = ROOM_BYTES;
    node_start(node);
    *state = node;
    return 0;
}

#define NODE_TEST(test) cmocka_unit_test_setup_teardown(test, setup_small_node, teardown_node)

int main(void)
{
    const struct CMUnitTest tests[] = {
        NODE_TEST(beyond_the_bound_reads_are_refused),
        NODE_TEST(beyond_the_bound_the_outcome_of_a_write_is_unknown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
