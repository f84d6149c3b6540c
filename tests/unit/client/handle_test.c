// A handle when the connection breaks, the node is slow, or the peer is no node: what is repeated,
// and what the caller is told.

#include <sys/wait.h>

#include "unit/client/fake_node.h"

#include <pgnear.h>

static pgnear *open_handle(const struct fake_node *fake)
{
    pgnear *handle = NULL;
    pgnear_error error;
    if (pgnear_open(fake->path, NULL, &handle, &error) != PGNEAR_OK) {
        fail_msg("%s", error.message);
    }
    return handle;
}

static void end(struct fake_node *fake, pgnear *handle)
{
    fake_node_end(fake);
    fake_node_free(fake);
    pgnear_close(handle);
}

static const pgnear_bytes KEY = {"k", 1};
static const pgnear_bytes ONE = {"\x01", 1};

static void says_hello(void **state)
{
    (void)state;
    const struct fake_step steps[] = {FAKE_HELLO, {FAKE_END, NULL, 0}};
    struct fake_node fake;
    fake_node_start(&fake, steps);
    pgnear_options options = PGNEAR_OPTIONS_INIT;
    options.client_name = "a test";
    pgnear *handle;
    assert_int_equal(pgnear_open(fake.path, &options, &handle, NULL), PGNEAR_OK);
    fake_node_end(&fake);
    assert_request(&fake, 0, "[\"hello\",[\"a test\"]]");
    fake_node_free(&fake);
    pgnear_close(handle);
}

static void finds_the_socket_in_the_environment(void **state)
{
    (void)state;
    const struct fake_step steps[] = {FAKE_HELLO, {FAKE_END, NULL, 0}};
    struct fake_node fake;
    fake_node_start(&fake, steps);
    setenv("PGNEAR_SOCKET", fake.path, 1);
    pgnear *handle = NULL;
    assert_int_equal(pgnear_open(NULL, NULL, &handle, NULL), PGNEAR_OK);
    unsetenv("PGNEAR_SOCKET");
    end(&fake, handle);
}

static void is_unreachable_where_nobody_listens(void **state)
{
    (void)state;
    pgnear *handle = NULL;
    pgnear_error error;
    assert_int_equal(pgnear_open("/nonexistent/socket", NULL, &handle, &error), PGNEAR_UNREACHABLE);
    assert_null(handle);
    assert_int_equal(error.code, PGNEAR_UNREACHABLE);
    assert_string_equal(error.name, "UNREACHABLE");
    assert_true(error.retryable);
    assert_non_null(strstr(error.message, "/nonexistent/socket"));
}

static void refuses_a_peer_of_another_protocol(void **state)
{
    (void)state;
    static const char *const answers[] = {"{\"protocol\":2}", "{\"server\":\"x\"}", "\"hello\""};
    for (size_t i = 0; i < sizeof answers / sizeof answers[0]; i++) {
        const struct fake_step steps[] = {
            {FAKE_ACCEPT, NULL, 0}, {FAKE_ANSWER, answers[i], 0}, {FAKE_END, NULL, 0}};
        struct fake_node fake;
        fake_node_start(&fake, steps);
        pgnear *handle = NULL;
        assert_int_equal(pgnear_open(fake.path, NULL, &handle, NULL), PGNEAR_PROTOCOL);
        assert_null(handle);
        end(&fake, NULL);
    }
}

static void a_read_is_repeated_on_a_new_connection(void **state)
{
    (void)state;
    const struct fake_step steps[] = {FAKE_HELLO,
                                      {FAKE_READ, NULL, 0},
                                      {FAKE_CLOSE, NULL, 0},
                                      {FAKE_ACCEPT, NULL, 0},
                                      {FAKE_ANSWER, "[1,2]", 0},
                                      {FAKE_END, NULL, 0}};
    struct fake_node fake;
    fake_node_start(&fake, steps);
    pgnear *handle = open_handle(&fake);
    pgnear_item item;
    assert_int_equal(pgnear_get(handle, KEY, NULL, &item, NULL), PGNEAR_OK);
    assert_true(item.present);
    assert_int_equal(item.version, 2);
    fake_node_end(&fake);
    assert_string_equal(fake.requests[1], fake.requests[2]);
    fake_node_free(&fake);
    pgnear_close(handle);
}

static void a_write_is_not_repeated(void **state)
{
    (void)state;
    const struct fake_step steps[] = {FAKE_HELLO,
                                      {FAKE_READ, NULL, 0},
                                      {FAKE_CLOSE, NULL, 0},
                                      {FAKE_ACCEPT, NULL, 0},
                                      {FAKE_ANSWER, "\"pong\"", 0},
                                      {FAKE_END, NULL, 0}};
    struct fake_node fake;
    fake_node_start(&fake, steps);
    pgnear *handle = open_handle(&fake);
    pgnear_error error;
    assert_int_equal(pgnear_set(handle, KEY, ONE, NULL, NULL, &error), PGNEAR_OUTCOME_UNKNOWN);
    assert_false(error.has_seq);
    assert_false(error.retryable);
    assert_int_equal(pgnear_ping(handle, NULL, NULL), PGNEAR_OK);
    fake_node_end(&fake);
    assert_request(&fake, 2, "[\"ping\",[]]");
    fake_node_free(&fake);
    pgnear_close(handle);
}

static void a_write_with_an_id_is_repeated_once(void **state)
{
    (void)state;
    const struct fake_step steps[] = {
        FAKE_HELLO,
        {FAKE_READ, NULL, 0},
        {FAKE_CLOSE, NULL, 0},
        {FAKE_ACCEPT, NULL, 0},
        {FAKE_ANSWER, "{\"seq\":7}", 0},
        {FAKE_READ, NULL, 0},
        {FAKE_CLOSE, NULL, 0},
        {FAKE_ACCEPT, NULL, 0},
        {FAKE_READ, NULL, 0},
        {FAKE_CLOSE, NULL, 0},
        {FAKE_END, NULL, 0},
    };
    struct fake_node fake;
    fake_node_start(&fake, steps);
    pgnear *handle = open_handle(&fake);
    pgnear_write_options options = PGNEAR_WRITE_OPTIONS_INIT;
    options.id = pgnear_text("once");
    pgnear_written written;
    assert_int_equal(pgnear_set(handle, KEY, ONE, &options, &written, NULL), PGNEAR_OK);
    assert_int_equal(written.seq, 7);
    assert_int_equal(pgnear_set(handle, KEY, ONE, &options, &written, NULL),
                     PGNEAR_OUTCOME_UNKNOWN);
    fake_node_end(&fake);
    assert_request(&fake, 1, "[\"set\",[\"k\",1,{\"id\":\"once\"}]]");
    assert_string_equal(fake.requests[1], fake.requests[2]);
    fake_node_free(&fake);
    pgnear_close(handle);
}

// The node was restarted while nothing was in flight: no write is risked on the dead connection.
static void a_write_does_not_go_into_a_closed_connection(void **state)
{
    (void)state;
    const struct fake_step steps[] = {FAKE_HELLO,
                                      {FAKE_CLOSE, NULL, 0},
                                      {FAKE_ACCEPT, NULL, 0},
                                      {FAKE_ANSWER, "{\"seq\":1}", 0},
                                      {FAKE_END, NULL, 0}};
    struct fake_node fake;
    fake_node_start(&fake, steps);
    pgnear *handle = open_handle(&fake);
    struct pollfd entry = {.fd = pgnear_fd(handle), .events = POLLIN};
    assert_int_equal(poll(&entry, 1, FAKE_PATIENCE_MS), 1); // the close has arrived
    assert_int_equal(pgnear_set(handle, KEY, ONE, NULL, NULL, NULL), PGNEAR_OK);
    end(&fake, handle);
}

static void a_slow_node_ends_calls_at_their_deadline(void **state)
{
    (void)state;
    const struct fake_step steps[] = {
        FAKE_HELLO,           {FAKE_READ, NULL, 0},           {FAKE_READ, NULL, 0},
        {FAKE_READ, NULL, 0}, {FAKE_STALE, "{\"seq\":1}", 0}, {FAKE_LATE, "\"pong\"", 0},
        {FAKE_END, NULL, 0}};
    struct fake_node fake;
    fake_node_start(&fake, steps);
    pgnear *handle = open_handle(&fake);
    pgnear_get_options get = PGNEAR_GET_OPTIONS_INIT;
    get.timeout_ms = 1;
    pgnear_error error;
    assert_int_equal(pgnear_get(handle, KEY, &get, NULL, &error), PGNEAR_TIMEOUT);
    assert_true(error.retryable);
    pgnear_write_options set = PGNEAR_WRITE_OPTIONS_INIT;
    set.timeout_ms = 1;
    assert_int_equal(pgnear_set(handle, KEY, ONE, &set, NULL, NULL), PGNEAR_OUTCOME_UNKNOWN);
    // The late answer is not taken for the next one.
    assert_int_equal(pgnear_ping(handle, NULL, NULL), PGNEAR_OK);
    fake_node_end(&fake);
    assert_request(&fake, 1, "[\"get\",[\"k\",{\"timeout_ms\":1}]]");
    fake_node_free(&fake);
    pgnear_close(handle);
}

// What is left of a deadline that has passed does not become the default of 30 s.
static void a_negative_timeout_is_refused(void **state)
{
    (void)state;
    const struct fake_step steps[] = {FAKE_HELLO, {FAKE_END, NULL, 0}};
    struct fake_node fake;
    fake_node_start(&fake, steps);
    pgnear_options options = PGNEAR_OPTIONS_INIT;
    pgnear_error error;
    pgnear *handle = NULL;
    options.timeout_ms = -1;
    assert_int_equal(pgnear_open(fake.path, &options, &handle, &error), PGNEAR_BAD_REQUEST);
    options.timeout_ms = 0;
    options.connect_timeout_ms = -1;
    assert_int_equal(pgnear_open(fake.path, &options, &handle, &error), PGNEAR_BAD_REQUEST);
    assert_null(handle);
    handle = open_handle(&fake);
    pgnear_write_options set = PGNEAR_WRITE_OPTIONS_INIT;
    set.timeout_ms = -1;
    assert_int_equal(pgnear_set(handle, KEY, ONE, &set, NULL, &error), PGNEAR_BAD_REQUEST);
    assert_string_equal(error.message, "timeout_ms is -1: it must not be negative");
    pgnear_call_options call = PGNEAR_CALL_OPTIONS_INIT;
    call.timeout_ms = -1;
    assert_int_equal(pgnear_ping(handle, &call, NULL), PGNEAR_BAD_REQUEST);
    pgnear_batch *batch = pgnear_batch_create(handle);
    assert_int_equal(pgnear_batch_run(batch, &call, NULL, NULL, NULL), PGNEAR_BAD_REQUEST);
    pgnear_batch_destroy(batch);
    fake_node_end(&fake);
    fake_node_free(&fake);
    pgnear_close(handle);
}

static void nonsense_is_not_taken_for_an_answer(void **state)
{
    (void)state;
    static const char *const nonsense[] = {"\xc1", "\x94\x01", "\x2a", "\x93\x07\x01\x01"};
    for (size_t i = 0; i < sizeof nonsense / sizeof nonsense[0]; i++) {
        const struct fake_step steps[] = {FAKE_HELLO,
                                          {FAKE_READ, NULL, 0},
                                          {FAKE_BYTES, nonsense[i], 0},
                                          {FAKE_CLOSE, NULL, 0},
                                          {FAKE_END, NULL, 0}};
        struct fake_node fake;
        fake_node_start(&fake, steps);
        pgnear *handle = open_handle(&fake);
        pgnear_error error;
        assert_int_equal(pgnear_incr(handle, KEY, ONE, NULL, NULL, &error), PGNEAR_OUTCOME_UNKNOWN);
        end(&fake, handle);
    }
}

static void a_result_of_another_shape_is_said_to_be_wrong(void **state)
{
    (void)state;
    static const char *const results[] = {"1", "[1]", "[1,2,3]", "[1,\"x\"]", "{}"};
    for (size_t i = 0; i < sizeof results / sizeof results[0]; i++) {
        const struct fake_step steps[] = {
            FAKE_HELLO, {FAKE_ANSWER, results[i], 0}, {FAKE_END, NULL, 0}};
        struct fake_node fake;
        fake_node_start(&fake, steps);
        pgnear *handle = open_handle(&fake);
        pgnear_item untouched = {.version = 42};
        assert_int_equal(pgnear_get(handle, KEY, NULL, &untouched, NULL), PGNEAR_PROTOCOL);
        assert_int_equal(untouched.version, 42);
        end(&fake, handle);
    }
}

static void errors_carry_their_particulars(void **state)
{
    (void)state;
    const struct fake_step steps[] = {
        FAKE_HELLO,
        {FAKE_ERROR, "{\"code\":\"CONFLICT\",\"message\":\"no\",\"retryable\":false,\"version\":9}",
         0},
        {FAKE_ERROR,
         "{\"code\":\"REJECTED\",\"message\":\"why\",\"retryable\":false,\"sqlstate\":\"23514\"}",
         0},
        {FAKE_ERROR,
         "{\"code\":\"OUTCOME_UNKNOWN\",\"message\":\"?\",\"retryable\":false,\"seq\":12}", 0},
        {FAKE_ERROR, "{\"code\":\"NEWER\",\"message\":\"!\",\"retryable\":true,\"more\":[1]}", 0},
        {FAKE_ERROR, "{\"message\":\"no code\"}", 0},
        {FAKE_END, NULL, 0}};
    struct fake_node fake;
    fake_node_start(&fake, steps);
    pgnear *handle = open_handle(&fake);
    pgnear_error error;
    assert_int_equal(pgnear_set(handle, KEY, ONE, NULL, NULL, &error), PGNEAR_CONFLICT);
    assert_true(error.has_version);
    assert_int_equal(error.version, 9);
    assert_string_equal(error.message, "no");
    assert_int_equal(pgnear_set(handle, KEY, ONE, NULL, NULL, &error), PGNEAR_REJECTED);
    assert_string_equal(error.sqlstate, "23514");
    assert_false(error.has_version);
    assert_int_equal(pgnear_set(handle, KEY, ONE, NULL, NULL, &error), PGNEAR_OUTCOME_UNKNOWN);
    assert_true(error.has_seq);
    assert_int_equal(error.seq, 12);
    assert_int_equal(pgnear_set(handle, KEY, ONE, NULL, NULL, &error), PGNEAR_OTHER);
    assert_string_equal(error.name, "NEWER");
    assert_true(error.retryable);
    assert_int_equal(pgnear_set(handle, KEY, ONE, NULL, NULL, &error), PGNEAR_PROTOCOL);
    end(&fake, handle);
}

static void a_child_must_open_its_own(void **state)
{
    (void)state;
    const struct fake_step steps[] = {
        FAKE_HELLO, {FAKE_ANSWER, "\"pong\"", 0}, {FAKE_END, NULL, 0}};
    struct fake_node fake;
    fake_node_start(&fake, steps);
    pgnear *handle = open_handle(&fake);
    pid_t child = fork();
    if (child == 0) {
        bool refused = pgnear_ping(handle, NULL, NULL) == PGNEAR_FORKED;
        pgnear_close(handle);
        _exit(refused ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(pgnear_ping(handle, NULL, NULL), PGNEAR_OK);
    end(&fake, handle);
}

static void options_of_other_releases_are_understood(void **state)
{
    (void)state;
    const struct fake_step steps[] = {
        FAKE_HELLO, {FAKE_ANSWER, "null", 0}, {FAKE_ANSWER, "null", 0}, {FAKE_END, NULL, 0}};
    struct fake_node fake;
    fake_node_start(&fake, steps);
    pgnear *handle = open_handle(&fake);
    struct {
        pgnear_get_options known;
        uint64_t added;
    } later = {.known = {.size = sizeof later, .fresh = true}};
    struct {
        size_t size;
        int64_t timeout_ms;
    } earlier = {.size = sizeof earlier, .timeout_ms = 9000};
    assert_int_equal(pgnear_get(handle, KEY, &later.known, NULL, NULL), PGNEAR_OK);
    assert_int_equal(pgnear_get(handle, KEY, (void *)&earlier, NULL, NULL), PGNEAR_OK);
    later.added = 1;
    assert_int_equal(pgnear_get(handle, KEY, &later.known, NULL, NULL), PGNEAR_BAD_REQUEST);
    const pgnear_get_options uninitialized = {0};
    assert_int_equal(pgnear_get(handle, KEY, &uninitialized, NULL, NULL), PGNEAR_BAD_REQUEST);
    fake_node_end(&fake);
    assert_request(&fake, 1, "[\"get\",[\"k\",{\"fresh\":true}]]");
    assert_request(&fake, 2, "[\"get\",[\"k\",{\"timeout_ms\":9000}]]");
    fake_node_free(&fake);
    pgnear_close(handle);
}

// A request larger than the socket's buffers while the node sends as much: neither may wait for the
// other for ever.
static void sends_and_receives_at_once(void **state)
{
    (void)state;
    enum { VALUE_BYTES = 8 * 1024 * 1024, EVENTS = 40000 };
    const struct fake_step steps[] = {FAKE_HELLO,
                                      {FAKE_EVENTS, "[\"changed\",[\"key\",1,\"set\"]]", EVENTS},
                                      {FAKE_ANSWER, "{\"seq\":1}", 0},
                                      {FAKE_END, NULL, 0}};
    struct fake_node fake;
    fake_node_start(&fake, steps);
    pgnear *handle = open_handle(&fake);
    struct buffer value = {0};
    msgpack_packer packer;
    mpack_packer_init(&packer, &value);
    msgpack_pack_str(&packer, VALUE_BYTES);
    memset(buffer_reserve(&value, VALUE_BYTES), 'x', VALUE_BYTES);
    buffer_commit(&value, VALUE_BYTES);
    pgnear_bytes bytes = {buffer_slice(&value).at, buffer_len(&value)};
    assert_int_equal(pgnear_set(handle, KEY, bytes, NULL, NULL, NULL), PGNEAR_OK);
    buffer_deinit(&value);
    end(&fake, handle);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(says_hello),
        cmocka_unit_test(finds_the_socket_in_the_environment),
        cmocka_unit_test(is_unreachable_where_nobody_listens),
        cmocka_unit_test(refuses_a_peer_of_another_protocol),
        cmocka_unit_test(a_read_is_repeated_on_a_new_connection),
        cmocka_unit_test(a_write_is_not_repeated),
        cmocka_unit_test(a_write_with_an_id_is_repeated_once),
        cmocka_unit_test(a_write_does_not_go_into_a_closed_connection),
        cmocka_unit_test(a_slow_node_ends_calls_at_their_deadline),
        cmocka_unit_test(a_negative_timeout_is_refused),
        cmocka_unit_test(nonsense_is_not_taken_for_an_answer),
        cmocka_unit_test(a_result_of_another_shape_is_said_to_be_wrong),
        cmocka_unit_test(errors_carry_their_particulars),
        cmocka_unit_test(a_child_must_open_its_own),
        cmocka_unit_test(options_of_other_releases_are_understood),
        cmocka_unit_test(sends_and_receives_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
