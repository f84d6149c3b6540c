// The server's life: sockets and their files, who is let in, several loops, draining and stopping.

#include "unit/server/fake_node.h"

#include <sys/stat.h>

static enum error try_start(struct fake_node *node, struct failure *failure)
{
    struct server_options options = node_options(node);
    assert_int_equal(server_create(&options, &node->server, failure), ERROR_NONE);
    return server_start(node->server, failure);
}

static mode_t mode_of(const char *path)
{
    struct stat status;
    assert_int_equal(stat(path, &status), 0);
    return status.st_mode & 0777;
}

static void socket_files_have_their_mode_and_go_with_the_server(void **state)
{
    struct fake_node *node = *state;
    node->settings.server.socket_mode = 0640;
    mode_t before = umask(0077);
    node_start(node);
    umask(before);
    assert_int_equal(mode_of(node->socket), 0640);
    assert_int_equal(mode_of(node->read_only_socket), 0640);
    server_stop_accepting(node->server);
    assert_int_equal(access(node->socket, F_OK), -1);
    assert_int_equal(access(node->read_only_socket, F_OK), -1);
}

// The file of a server that is dead: bound, and nobody listens.
static void leave_stale_socket(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    close(fd);
}

static void a_stale_socket_is_replaced(void **state)
{
    struct fake_node *node = *state;
    leave_stale_socket(node->socket);
    node_start(node);
    struct client client = client_of(node);
    assert_answer(&client, "[0,1,\"ping\",[]]", "[1,1,null,\"pong\"]");
    client_close(&client);
}

static void a_live_socket_is_in_use(void **state)
{
    struct fake_node *node = *state;
    struct fake_node second;
    struct failure failure;
    node_init(&second);
    second.settings.server.read_only_socket = node->socket;
    assert_int_equal(try_start(&second, &failure), ERROR_IN_USE);
    assert_non_null(strstr(failure.message, node->socket));
    assert_int_equal(access(second.socket, F_OK), -1);
    node_stop(&second);
    struct client client = client_of(node);
    assert_answer(&client, "[0,1,\"ping\",[]]", "[1,1,null,\"pong\"]");
    client_close(&client);
}

static void paths_that_cannot_be_are_refused_with_a_reason(void **state)
{
    struct fake_node *node = *state;
    struct failure failure;
    char long_path[200];
    memset(long_path, 'x', sizeof long_path);
    long_path[0] = '/';
    long_path[sizeof long_path - 1] = '\0';
    char file[96];
    snprintf(file, sizeof file, "%s/file", node->directory);
    fclose(fopen(file, "w"));
    const struct {
        char *path;
        const char *reason;
    } PATHS[] = {
        {"/nonexistent/dir/s", "there is no directory \"/nonexistent/dir\""},
        {long_path, "at most 107 bytes"},
        {file, "no socket"},
    };
    for (size_t i = 0; i < sizeof PATHS / sizeof *PATHS; i++) {
        node->settings.server.socket = PATHS[i].path;
        assert_int_equal(try_start(node, &failure), ERROR_SYSTEM);
        if (strstr(failure.message, "server.socket: Failed to listen on") == NULL ||
            strstr(failure.message, PATHS[i].reason) == NULL) {
            fail_msg("%s", failure.message);
        }
        server_destroy(node->server);
        node->server = NULL;
    }
    assert_int_equal(unlink(file), 0);
}

static void a_cache_without_a_reader_slot_stops_the_start(void **state)
{
    struct fake_node *node = *state;
    struct failure failure;
    node->reader_error = ERROR_FULL;
    assert_int_equal(try_start(node, &failure), ERROR_FULL);
    assert_int_equal(access(node->socket, F_OK), -1);
}

static void only_so_many_connections_are_let_in(void **state)
{
    struct fake_node *node = *state;
    node->settings.server.max_connections = 2;
    node_start(node);
    struct client first = client_of(node);
    struct client second = client_of(node);
    assert_answer(&first, "[0,1,\"ping\",[]]", "[1,1,null,\"pong\"]");
    assert_answer(&second, "[0,1,\"ping\",[]]", "[1,1,null,\"pong\"]");
    struct client third = client_of(node);
    assert_received(&third, "");
    assert_int_equal(status_get(&node->status, STATUS_SERVER_REFUSED), 1);
    client_close(&first);
    await_status(node, STATUS_SERVER_CONNECTIONS, 1);
    struct client fourth = client_of(node);
    assert_answer(&fourth, "[0,1,\"ping\",[]]", "[1,1,null,\"pong\"]");
    client_close(&second);
    client_close(&third);
    client_close(&fourth);
}

static void only_allowed_users_are_let_in(void **state)
{
    struct fake_node *node = *state;
    uid_t other = getuid() + 1;
    node->settings.server.allow_uids[0] = other;
    node->settings.server.allow_uids_count = 1;
    node_start(node);
    for (int i = 1; i <= 3; i++) {
        struct client denied = client_of(node);
        assert_received(&denied, "");
        assert_int_equal(status_get(&node->status, STATUS_SERVER_REFUSED), i);
        client_close(&denied);
    }
    server_set_allow_uids(node->server, (uid_t[]){other, getuid()}, 2);
    struct client allowed = client_of(node);
    assert_answer(&allowed, "[0,1,\"ping\",[]]", "[1,1,null,\"pong\"]");
    // Who is in stays in.
    server_set_allow_uids(node->server, &other, 1);
    assert_answer(&allowed, "[0,1,\"ping\",[]]", "[1,1,null,\"pong\"]");
    server_set_allow_uids(node->server, NULL, 0);
    struct client anybody = client_of(node);
    assert_answer(&anybody, "[0,1,\"ping\",[]]", "[1,1,null,\"pong\"]");
    client_close(&allowed);
    client_close(&anybody);
}

// Accepting pauses where descriptors run out, and goes on when there are some again.
static void running_out_of_descriptors_is_survived(void **state)
{
    struct fake_node *node = *state;
    enum { CLIENTS = 4, HELD_MAX = 256 };
    struct rlimit before, limit;
    struct client clients[CLIENTS];
    int held[HELD_MAX] = {0};
    int held_count = 0;
    getrlimit(RLIMIT_NOFILE, &before);
    limit = before;
    limit.rlim_cur = 128;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    struct client first = client_of(node);
    assert_answer(&first, "[0,1,\"ping\",[]]", "[1,1,null,\"pong\"]");
    while (held_count < HELD_MAX && (held[held_count] = dup(first.fd)) >= 0) {
        held_count++;
    }
    assert_int_equal(errno, EMFILE);
    assert_true(held_count > CLIENTS);
    for (int i = 0; i < CLIENTS; i++) {
        close(held[--held_count]);
        clients[i] = client_of(node); // takes the descriptor that was free: none for the server
        assert_answer(&first, "[0,2,\"ping\",[]]", "[1,2,null,\"pong\"]");
    }
    while (held_count > 0) {
        close(held[--held_count]);
    }
    for (int i = 0; i < CLIENTS; i++) {
        assert_answer(&clients[i], "[0,1,\"ping\",[]]", "[1,1,null,\"pong\"]");
        client_close(&clients[i]);
    }
    client_close(&first);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
}

static void several_loops_share_the_connections(void **state)
{
    struct fake_node *node = *state;
    enum { THREADS = 3, CLIENTS = 12 };
    node->settings.server.threads = THREADS;
    node_start(node);
    size_t boxes;
    server_mailboxes(node->server, &boxes);
    assert_int_equal(boxes, THREADS);
    assert_int_equal(atomic_load(&node->readers), THREADS);
    struct client clients[CLIENTS];
    for (int i = 0; i < CLIENTS; i++) {
        clients[i] = client_of(node);
        assert_answer(&clients[i], "[0,1,\"ping\",[]]", "[1,1,null,\"pong\"]");
        client_send(&clients[i], "[0,2,\"get\",[\"k\"]]");
    }
    struct mailbox *homes[THREADS] = {0};
    int at_home[THREADS] = {0};
    for (int i = 0; i < CLIENTS; i++) {
        struct request *request = await_request(&node->pg);
        for (int home = 0; home < THREADS; home++) {
            if (homes[home] == NULL || homes[home] == request->home) {
                homes[home] = request->home;
                at_home[home]++;
                break;
            }
        }
        finish_with_value(request, "\x01", 1);
    }
    for (int home = 0; home < THREADS; home++) {
        assert_int_equal(at_home[home], CLIENTS / THREADS);
    }
    for (int i = 0; i < CLIENTS; i++) {
        assert_received(&clients[i], "[1,2,null,[1,1]]");
        client_close(&clients[i]);
    }
}

static void draining_answers_what_was_sent_before_it(void **state)
{
    struct fake_node *node = *state;
    struct client idle = client_of(node);
    struct client busy = client_of(node);
    assert_answer(&idle, "[0,1,\"ping\",[]]", "[1,1,null,\"pong\"]");
    assert_answer(&busy, "[0,1,\"ping\",[]]", "[1,1,null,\"pong\"]");
    client_send(&busy, "[0,2,\"get\",[\"k\"]]");
    struct request *request = await_request(&node->pg);
    client_send(&busy, "[0,3,\"set\",[\"k\",1]]");
    server_stop_accepting(node->server);
    assert_false(server_drain(node->server, clock_boot_us() + 1000));
    assert_received(&idle, "");
    finish_with_value(request, "\x01", 1);
    assert_received(&busy, "[1,2,null,[1,1]]");
    finish_with_seq(await_request(&node->writer), 4);
    assert_received(&busy, "[1,3,null,{\"seq\":4}]");
    assert_received(&busy, "");
    assert_true(server_drain(node->server, clock_boot_us() + DEADLINE_US));
    client_close(&idle);
    client_close(&busy);
}

// What is out when the server stops comes home later, and is freed with it.
static void requests_may_be_out_when_it_stops(void **state)
{
    struct fake_node *node = *state;
    struct client client = client_of(node);
    client_send(&client, "[0,1,\"get\",[\"k\"]]");
    client_send(&client, "[0,2,\"set\",[\"k\",1]]");
    struct request *request = await_request(&node->pg);
    server_stop(node->server);
    node->started = false;
    assert_received(&client, "");
    finish_with_value(request, "\x01", 1);
    client_close(&client);
}

static void a_server_that_never_started_is_freed(void **state)
{
    struct fake_node *node = *state;
    struct failure failure;
    struct server_options options = node_options(node);
    assert_int_equal(server_create(&options, &node->server, &failure), ERROR_NONE);
    server_stop_accepting(node->server);
    assert_true(server_drain(node->server, 0));
    server_stop(node->server);
}

#define STARTED(test)   cmocka_unit_test_setup_teardown(test, setup_node, teardown_node)
#define UNSTARTED(test) cmocka_unit_test_setup_teardown(test, setup_unstarted_node, teardown_node)

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNSTARTED(socket_files_have_their_mode_and_go_with_the_server),
        UNSTARTED(a_stale_socket_is_replaced),
        STARTED(a_live_socket_is_in_use),
        UNSTARTED(paths_that_cannot_be_are_refused_with_a_reason),
        UNSTARTED(a_cache_without_a_reader_slot_stops_the_start),
        UNSTARTED(only_so_many_connections_are_let_in),
        UNSTARTED(only_allowed_users_are_let_in),
        STARTED(running_out_of_descriptors_is_survived),
        UNSTARTED(several_loops_share_the_connections),
        STARTED(draining_answers_what_was_sent_before_it),
        STARTED(requests_may_be_out_when_it_stops),
        UNSTARTED(a_server_that_never_started_is_freed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
