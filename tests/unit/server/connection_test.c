// Bytes in any pieces, more requests than fit, clients that are slow, dead or strangers: each
// bound of a connection, and that it harms nobody else.

#include "unit/server/fake_node.h"

#include "server/loop.h"
#include "server/session.h"

// Answers every request that reaches the mailboxes: a read of a key by the key itself.
struct responder {
    struct fake_node *node;
    pthread_t thread;
    _Atomic bool stops;
};

static void respond(struct request *request)
{
    if (method_class(request->call.method) == METHOD_READ) {
        struct buffer value = {0};
        msgpack_packer packer;
        mpack_packer_init(&packer, &value);
        mpack_pack_slice(&packer, request->call.pairs[0].key);
        struct item *item = reply_items(&request->reply, 1);
        *item = (struct item){.present = true, .has_version = true, .version = 1};
        item->value = arena_copy(&request->reply.arena, buffer_slice(&value));
        buffer_deinit(&value);
    }
    request->reply.seq = 1;
    request_finish(request);
}

static void respond_to_all(struct mailbox *mailbox)
{
    struct message *message = mailbox_take(mailbox);
    while (message != NULL) {
        struct message *next = message->next;
        respond((struct request *)message);
        message = next;
    }
}

static void *run_responder(void *context)
{
    struct responder *responder = context;
    struct fake_node *node = responder->node;
    while (!atomic_load(&responder->stops)) {
        struct pollfd ready[] = {{.fd = mailbox_fd(&node->pg.mailbox), .events = POLLIN},
                                 {.fd = mailbox_fd(&node->writer.mailbox), .events = POLLIN}};
        poll(ready, 2, DEADLINE_MS);
        respond_to_all(&node->pg.mailbox);
        respond_to_all(&node->writer.mailbox);
    }
    return NULL;
}

static void start_responder(struct responder *responder, struct fake_node *node)
{
    *responder = (struct responder){.node = node};
    assert_int_equal(pthread_create(&responder->thread, NULL, run_responder, responder), 0);
}

static void stop_responder(struct responder *responder)
{
    atomic_store(&responder->stops, true);
    mailbox_wake(&responder->node->pg.mailbox);
    pthread_join(responder->thread, NULL);
}

// Whether the server has more to send just now.
static bool has_bytes_waiting(struct client *client, int wait_ms)
{
    struct pollfd ready = {.fd = client->fd, .events = POLLIN};
    return poll(&ready, 1, wait_ms) == 1;
}

static void append_request(struct buffer *out, uint32_t msgid, const char *method,
                           const char *params)
{
    char json[256];
    snprintf(json, sizeof json, "[0,%u,\"%s\",%s]", msgid, method, params);
    append_json(out, json);
}

static void answers_are_the_same_at_every_split(void **state)
{
    struct fake_node *node = *state;
    struct buffer stream = {0};
    node_holds(node, "k", LOOKUP_HIT, clean("\x01", 1));
    append_request(&stream, 1, "ping", "[]");
    append_request(&stream, 2, "get", "[\"k\"]");
    append_request(&stream, 3, "nonsense", "[]");
    append_json(&stream, "[2,\"ignored\",[1]]");
    append_request(&stream, 4, "mget", "[[\"k\",\"k\"]]");
    for (size_t cut = 1; cut < buffer_len(&stream); cut++) {
        struct client client = client_of(node);
        client_send_bytes(&client, buffer_slice(&stream).at, cut);
        // An answer proves that the server has read what came before the cut.
        if (cut > 10) {
            assert_received(&client, "[1,1,null,\"pong\"]");
        }
        client_send_bytes(&client, buffer_slice(&stream).at + cut, buffer_len(&stream) - cut);
        if (cut <= 10) {
            assert_received(&client, "[1,1,null,\"pong\"]");
        }
        assert_received(&client, "[1,2,null,[1,1]]");
        assert_received_failure(&client, "UNKNOWN_METHOD", "nonsense");
        assert_received(&client, "[1,4,null,[[1,1],[1,1]]]");
        client_close(&client);
    }
    buffer_deinit(&stream);
}

static void what_is_no_protocol_is_told_and_closed(void **state)
{
    struct fake_node *node = *state;
    struct client client = client_of(node);
    client_send_bytes(&client, "GET / HTTP/1.1\r\n", 16);
    assert_received(&client, "");
    client_close(&client);

    client = client_of(node);
    client_send(&client, "[0,1,\"ping\",[]]");
    client_send_bytes(&client, "\x94\x00\x09\xc1", 4);
    assert_received(&client, "[1,1,null,\"pong\"]");
    assert_received_failure(&client, "BAD_REQUEST", "MessagePack-RPC: malformed MessagePack");
    assert_received(&client, "");
    client_close(&client);

    static const struct {
        const char *message, *reason;
    } CASES[] = {
        {"[0,9]", "neither [0, msgid, method, params] nor"},
        {"[0,9,\"ping\",[],1]", "neither [0, msgid, method, params] nor"},
        {"[0,9,7,[]]", "its method is no str"},
        {"[0,9,\"ping\",null]", "its params are no array"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        client = client_of(node);
        client_send(&client, CASES[i].message);
        assert_received_failure(&client, "BAD_REQUEST", CASES[i].reason);
        assert_received(&client, "");
        client_close(&client);
    }

    client = client_of(node);
    client_send(&client, "[1,5,null,null]");
    assert_received(&client, "");
    client_close(&client);
}

// What was asked before the nonsense is still answered.
static void requests_before_a_fault_are_answered(void **state)
{
    struct fake_node *node = *state;
    struct client client = client_of(node);
    client_send(&client, "[0,1,\"get\",[\"k\"]]");
    client_send_bytes(&client, "\xc1", 1);
    finish_with_value(await_request(&node->pg), "\x01", 1);
    assert_received(&client, "[1,1,null,[1,1]]");
    assert_received(&client, "");
    client_close(&client);
}

static void random_bytes_end_in_an_answer_or_a_close(void **state)
{
    struct fake_node *node = *state;
    struct responder responder;
    start_responder(&responder, node);
    unsigned seed = 20251101;
    print_message("seed %u\n", seed);
    for (int round = 0; round < 300; round++) {
        struct client client = client_of(node);
        struct buffer stream = {0};
        append_request(&stream, 1, "mset", "[[[\"a\",[1,2,{\"x\":1.5}]],[\"b\",\"text\"]],{}]");
        uint8_t *bytes = stream.bytes + stream.start;
        for (int i = rand_r(&seed) % 6; i >= 0; i--) {
            bytes[(size_t)rand_r(&seed) % buffer_len(&stream)] = (uint8_t)rand_r(&seed);
        }
        client_send_bytes(&client, bytes, buffer_len(&stream));
        shutdown(client.fd, SHUT_WR);
        while (client_receive(&client)[0] != '\0') {
        }
        client_close(&client);
        buffer_deinit(&stream);
    }
    struct client client = client_of(node);
    assert_answer(&client, "[0,1,\"ping\",[]]", "[1,1,null,\"pong\"]");
    client_close(&client);
    stop_responder(&responder);
}

// Far more requests than may be undecided at once, of all kinds, on few keys: each is answered
// once.
static void a_long_pipeline_is_answered_to_the_last(void **state)
{
    struct fake_node *node = *state;
    enum { REQUESTS = 5000 };
    struct responder responder;
    start_responder(&responder, node);
    struct client client = client_of(node);
    struct buffer stream = {0};
    bool *answered = memory_zeroed(REQUESTS, sizeof *answered);
    for (uint32_t i = 0; i < REQUESTS; i++) {
        char params[64];
        snprintf(params, sizeof params, i % 3 == 0 ? "[\"k%u\",1]" : "[\"k%u\"]", i / 3 % 50);
        append_request(&stream, i, i % 3 == 0 ? "set" : i % 3 == 1 ? "get" : "delete", params);
    }
    client_send_bytes(&client, buffer_slice(&stream).at, buffer_len(&stream));
    for (uint32_t i = 0; i < REQUESTS; i++) {
        const char *response = client_receive(&client);
        char *end;
        unsigned long msgid = strtoul(response + strlen("[1,"), &end, 10);
        assert_int_equal(strncmp(end, ",null,", strlen(",null,")), 0);
        assert_true(msgid < REQUESTS && !answered[msgid]);
        answered[msgid] = true;
    }
    free(answered);
    buffer_deinit(&stream);
    client_close(&client);
    stop_responder(&responder);
}

static void a_connection_has_so_many_requests_out_and_no_more(void **state)
{
    struct fake_node *node = *state;
    enum { REQUESTS = SESSION_FLIGHTS_MAX + 100 };
    struct client client = client_of(node);
    struct client other = client_of(node);
    struct buffer stream = {0};
    for (uint32_t i = 0; i < REQUESTS; i++) {
        char params[64];
        snprintf(params, sizeof params, "[\"k%u\",1]", i);
        append_request(&stream, i, "set", params);
    }
    append_request(&stream, REQUESTS, "ping", "[]");
    client_send_bytes(&client, buffer_slice(&stream).at, buffer_len(&stream));
    struct request *out[REQUESTS];
    for (int i = 0; i < SESSION_FLIGHTS_MAX; i++) {
        out[i] = await_request(&node->writer);
    }
    // The other client is served, and by the second time the first would have been as well.
    assert_answer(&other, "[0,1,\"ping\",[]]", "[1,1,null,\"pong\"]");
    assert_answer(&other, "[0,2,\"ping\",[]]", "[1,2,null,\"pong\"]");
    assert_true(nothing_was_sent(&node->writer));
    assert_false(has_bytes_waiting(&client, 0));
    for (int i = 0; i < REQUESTS; i++) {
        if (i >= SESSION_FLIGHTS_MAX) {
            out[i] = await_request(&node->writer);
        }
        finish_with_seq(out[i], 1);
    }
    for (int i = 0; i <= REQUESTS; i++) {
        assert_true(client_receive(&client)[0] == '[');
    }
    buffer_deinit(&stream);
    client_close(&client);
    client_close(&other);
}

// A client that asks and does not read is not read from, others go on, and it gets everything once
// it reads.
static void a_client_that_does_not_read_is_paused(void **state)
{
    struct fake_node *node = *state;
    enum { REQUESTS = 400, VALUE_BYTES = 60000 };
    struct buffer value = {0};
    msgpack_packer packer;
    mpack_packer_init(&packer, &value);
    msgpack_pack_str(&packer, VALUE_BYTES);
    memset(buffer_reserve(&value, VALUE_BYTES), 'x', VALUE_BYTES);
    buffer_commit(&value, VALUE_BYTES);
    struct cached cached = clean("", 1);
    cached.value = buffer_slice(&value);
    node_holds(node, "k", LOOKUP_HIT, cached);

    struct client slow = client_of(node);
    struct client other = client_of(node);
    struct buffer stream = {0};
    for (uint32_t i = 0; i < REQUESTS; i++) {
        append_request(&stream, 1, "get", "[\"k\"]");
    }
    client_send_bytes(&slow, buffer_slice(&stream).at, buffer_len(&stream));
    buffer_deinit(&stream);
    for (int i = 0; i < 100; i++) {
        assert_answer(&other, "[0,1,\"ping\",[]]", "[1,1,null,\"pong\"]");
    }
    // All hits of 60 KB a piece would be 24 MB: it stopped near its bound.
    int64_t served = status_get(&node->status, STATUS_CACHE_HITS);
    assert_in_range(served, 1, (SESSION_OUT_PAUSE + (1 << 20)) / VALUE_BYTES);
    for (uint32_t i = 0; i < REQUESTS; i++) {
        assert_int_equal(strlen(client_receive(&slow)),
                         VALUE_BYTES + strlen("[1,1,null,[\"\",1]]"));
    }
    assert_int_equal(status_get(&node->status, STATUS_CACHE_HITS), REQUESTS);
    buffer_deinit(&value);
    client_close(&slow);
    client_close(&other);
}

// All of it is taken in, so that the client comes to read why; it is closed in the end, whether the
// client closes its side or not.
static void a_message_larger_than_the_limit_is_refused(void **state)
{
    struct fake_node *node = *state;
    struct client client = client_of(node), other = client_of(node);
    size_t len = 40 << 20;
    uint8_t *bytes = memory_zeroed(1, len);
    static const uint8_t HEAD[] = "\x94\x00\x05\xa3set\x92\xa1k\xdb\x01\x20\x00";
    memcpy(bytes, HEAD, sizeof HEAD);
    client_send_bytes(&client, bytes, len);
    client_send(&client, "[0,6,\"ping\",[]]");
    assert_received_failure(&client, "TOO_LARGE", "16777216");
    assert_received(&client, "");
    assert_answer(&other, "[0,7,\"ping\",[]]", "[1,7,null,\"pong\"]");
    struct pollfd end = {.fd = client.fd};
    assert_int_equal(poll(&end, 1, DEADLINE_MS), 1);
    assert_true(end.revents & POLLHUP);
    free(bytes);
    client_close(&other);
    client_close(&client);
}

// A set of key "k" to a string of `len` bytes, with the id 5.
static void make_large_set(struct buffer *request, size_t len)
{
    msgpack_packer packer;
    buffer_append(request, "\x94\x00\x05\xa3set\x92\xa1k", 10);
    mpack_packer_init(&packer, request);
    msgpack_pack_str(&packer, len);
    memset(buffer_reserve(request, len), 'x', len);
    buffer_commit(request, len);
}

// A value at the limit arrives in many pieces; one beyond it is refused and nothing is closed.
static void a_large_value_passes(void **state)
{
    struct fake_node *node = *state;
    struct client client = client_of(node);
    for (size_t over = 0; over < 2; over++) {
        size_t len = (1 << 20) - 5 + over;
        struct buffer request = {0};
        make_large_set(&request, len);
        client_send_bytes(&client, buffer_slice(&request).at, buffer_len(&request));
        if (over == 0) {
            struct request *set = await_request(&node->writer);
            assert_int_equal(set->call.pairs[0].value.len, 1 << 20);
            finish_with_seq(set, 1);
            assert_received(&client, "[1,5,null,{\"seq\":1}]");
        } else {
            assert_received_failure(&client, "TOO_LARGE", "Failed to set key \\\"k\\\"");
        }
        buffer_deinit(&request);
    }
    client_close(&client);
}

// More than one read takes, all of it there before the first: no event tells of the rest.
static void what_one_read_leaves_behind_is_read(void **state)
{
    struct fake_node *node = *state;
    size_t len = RECEPTION_READ_BYTES / 2 * 3;
    struct buffer request = {0};
    make_large_set(&request, len);
    for (int round = 0; round < 30; round++) {
        struct client client = client_of(node);
        client_send_bytes(&client, buffer_slice(&request).at, buffer_len(&request));
        finish_with_seq(await_request(&node->writer), 1);
        assert_received(&client, "[1,5,null,{\"seq\":1}]");
        client_close(&client);
    }
    buffer_deinit(&request);
}

static void a_half_closed_client_gets_its_answers(void **state)
{
    struct fake_node *node = *state;
    struct client client = client_of(node);
    client_send(&client, "[0,1,\"get\",[\"k\"]]");
    client_send(&client, "[0,2,\"set\",[\"k\",1]]");
    shutdown(client.fd, SHUT_WR);
    finish_with_value(await_request(&node->pg), "\x01", 1);
    assert_received(&client, "[1,1,null,[1,1]]");
    finish_with_seq(await_request(&node->writer), 3);
    assert_received(&client, "[1,2,null,{\"seq\":3}]");
    assert_received(&client, "");
    client_close(&client);
}

// The end comes together with more bytes than one read takes, and is told of once.
static void the_end_behind_many_bytes_is_seen(void **state)
{
    struct fake_node *node = *state;
    struct client client = client_of(node), holder = client_of(node);
    struct buffer request = {0};
    make_large_set(&request, RECEPTION_READ_BYTES / 2 * 3);
    assert_answer(&client, "[0,1,\"ping\",[]]", "[1,1,null,\"pong\"]");
    // The loop stands in a lookup while all of it arrives.
    pthread_mutex_lock(&node->mutex);
    client_send(&holder, "[0,2,\"get\",[\"k\"]]");
    while (atomic_load(&node->reading) == 0) {
        sched_yield();
    }
    client_send_bytes(&client, buffer_slice(&request).at, buffer_len(&request));
    shutdown(client.fd, SHUT_WR);
    pthread_mutex_unlock(&node->mutex);
    finish_with_value(await_request(&node->pg), "\x01", 1);
    assert_received(&holder, "[1,2,null,[1,1]]");
    finish_with_seq(await_request(&node->writer), 1);
    assert_received(&client, "[1,5,null,{\"seq\":1}]");
    assert_received(&client, "");
    buffer_deinit(&request);
    client_close(&holder);
    client_close(&client);
}

static void requests_of_a_closed_connection_come_home_to_nobody(void **state)
{
    struct fake_node *node = *state;
    struct client client = client_of(node);
    client_send(&client, "[0,1,\"get\",[\"k\"]]");
    client_send(&client, "[0,2,\"set\",[\"k\",1]]");
    client_send(&client, "[0,3,\"get\",[\"m\"]]");
    struct request *first = await_request(&node->pg);
    struct request *second = await_request(&node->pg);
    // The server learns that nobody reads when it writes the first answer.
    client_close(&client);
    finish_with_value(first, "\x01", 1);
    await_status(node, STATUS_SERVER_CONNECTIONS, 0);
    finish_with_value(second, "\x01", 1);
    struct client other = client_of(node);
    assert_answer(&other, "[0,1,\"ping\",[]]", "[1,1,null,\"pong\"]");
    client_close(&other);
}

static void thousands_of_idle_connections_are_held(void **state)
{
    struct fake_node *node = *state;
    enum { CLIENTS = 2000 };
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_max < 2 * CLIENTS + 100) {
        skip();
    }
    limit.rlim_cur = limit.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    struct client *clients = memory_zeroed(CLIENTS, sizeof *clients);
    for (int i = 0; i < CLIENTS; i++) {
        clients[i] = client_of(node);
    }
    await_status(node, STATUS_SERVER_CONNECTIONS, CLIENTS);
    for (int i = 0; i < CLIENTS; i += 97) {
        assert_answer(&clients[i], "[0,1,\"ping\",[]]", "[1,1,null,\"pong\"]");
    }
    for (int i = 0; i < CLIENTS; i++) {
        client_close(&clients[i]);
    }
    await_status(node, STATUS_SERVER_CONNECTIONS, 0);
    free(clients);
}

static void idle_connections_are_closed_where_asked(void **state)
{
    struct fake_node *node = *state;
    node->settings.server.idle_timeout_us = 50000;
    node_start(node);
    struct client idle = client_of(node);
    struct client waiting = client_of(node);
    struct client watching = client_of(node);
    client_send(&waiting, "[0,1,\"get\",[\"k\"]]");
    assert_answer(&watching, "[0,1,\"watch\",[\"k\"]]", "[1,1,null,true]");
    assert_received(&idle, "");
    finish_with_value(await_request(&node->pg), NULL, 0);
    assert_received(&waiting, "[1,1,null,null]");
    assert_received(&waiting, "");
    assert_answer(&watching, "[0,2,\"unwatch\",[\"k\"]]", "[1,2,null,true]");
    assert_received(&watching, "");
    client_close(&idle);
    client_close(&waiting);
    client_close(&watching);
}

static int64_t processor_us(void)
{
    struct timespec used;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    return (int64_t)used.tv_sec * CLOCK_US_PER_S + used.tv_nsec / 1000;
}

static void a_loop_polls_for_a_while_where_asked(void **state)
{
    struct fake_node *node = *state;
    enum { POLL_US = 200000, WINDOW_US = 20000 };
    node->settings.server.busy_poll_us = POLL_US;
    node_start(node);
    struct client client = client_of(node);
    int64_t began_us = clock_boot_us();
    int64_t used_us = processor_us();
    assert_answer(&client, "[0,1,\"ping\",[]]", "[1,1,null,\"pong\"]");
    // It polls for so long, and then no more.
    int64_t window_us;
    do {
        int64_t before_us = processor_us();
        usleep(WINDOW_US);
        window_us = processor_us() - before_us;
        assert_true(clock_boot_us() - began_us < DEADLINE_US);
    } while (clock_boot_us() - began_us < POLL_US || window_us > WINDOW_US / 10);
    assert_true(processor_us() - used_us > POLL_US / 50);
    assert_answer(&client, "[0,2,\"ping\",[]]", "[1,2,null,\"pong\"]");
    client_close(&client);
}

// A loop that does not sleep reads what came meanwhile no sooner than it has taken what was there.
static void a_loop_that_polls_keeps_up_with_a_stream(void **state)
{
    struct fake_node *node = *state;
    enum { REQUESTS = 5000 };
    node->settings.server.busy_poll_us = CLOCK_US_PER_S;
    node_start(node);
    struct client client = client_of(node);
    for (uint32_t i = 0; i < REQUESTS; i++) {
        struct buffer request = {0};
        append_request(&request, i, "ping", "[]");
        client_send_bytes(&client, buffer_slice(&request).at, buffer_len(&request));
        buffer_deinit(&request);
    }
    for (uint32_t i = 0; i < REQUESTS; i++) {
        char expected[64];
        snprintf(expected, sizeof expected, "[1,%u,null,\"pong\"]", i);
        assert_received(&client, expected);
    }
    client_close(&client);
}

#define NODE_TEST(test) cmocka_unit_test_setup_teardown(test, setup_node, teardown_node)

int main(void)
{
    const struct CMUnitTest tests[] = {
        NODE_TEST(answers_are_the_same_at_every_split),
        NODE_TEST(what_is_no_protocol_is_told_and_closed),
        NODE_TEST(requests_before_a_fault_are_answered),
        NODE_TEST(random_bytes_end_in_an_answer_or_a_close),
        NODE_TEST(a_long_pipeline_is_answered_to_the_last),
        NODE_TEST(a_connection_has_so_many_requests_out_and_no_more),
        NODE_TEST(a_client_that_does_not_read_is_paused),
        NODE_TEST(a_message_larger_than_the_limit_is_refused),
        NODE_TEST(a_large_value_passes),
        NODE_TEST(what_one_read_leaves_behind_is_read),
        NODE_TEST(a_half_closed_client_gets_its_answers),
        NODE_TEST(the_end_behind_many_bytes_is_seen),
        NODE_TEST(requests_of_a_closed_connection_come_home_to_nobody),
        NODE_TEST(thousands_of_idle_connections_are_held),
        cmocka_unit_test_setup_teardown(idle_connections_are_closed_where_asked,
                                        setup_unstarted_node, teardown_node),
        cmocka_unit_test_setup_teardown(a_loop_polls_for_a_while_where_asked, setup_unstarted_node,
                                        teardown_node),
        cmocka_unit_test_setup_teardown(a_loop_that_polls_keeps_up_with_a_stream,
                                        setup_unstarted_node, teardown_node),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
