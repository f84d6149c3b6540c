// What the protocol has no use for and a Unix socket carries all the same: descriptors that come
// with a message, and bytes out of band. Neither leaks, and what is sent behind them is answered,
// though a read stops at them and no event tells of the rest.

#include "unit/server/fake_node.h"

#include <fcntl.h>
#include <sched.h>

enum { DESCRIPTORS = 3 };

// Sends the bytes, with `count` copies of the descriptor beside them.
static void send_with(struct client *client, const void *bytes, size_t len, int fd, size_t count)
{
    union {
        struct cmsghdr head;
        uint8_t room[CMSG_SPACE(DESCRIPTORS * sizeof(int))];
    } control = {0};
    struct iovec part = {.iov_base = (void *)bytes, .iov_len = len};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = control.room,
                             .msg_controllen = CMSG_SPACE(count * sizeof fd)};
    assert_true(count <= DESCRIPTORS);
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    *head = (struct cmsghdr){
        .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(count * sizeof fd)};
    for (size_t i = 0; i < count; i++) {
        memcpy(CMSG_DATA(head) + i * sizeof fd, &fd, sizeof fd);
    }
    assert_int_equal(sendmsg(client->fd, &message, MSG_NOSIGNAL), len);
}

static void send_get_with(struct client *client, uint32_t msgid, int fd)
{
    char text[64];
    struct buffer request = {0};
    snprintf(text, sizeof text, "[0,%u,\"get\",[\"k\"]]", msgid);
    append_json(&request, text);
    send_with(client, buffer_slice(&request).at, buffer_len(&request), fd, DESCRIPTORS);
    buffer_deinit(&request);
}

// Nobody has the writing end of the pipe open.
static void assert_closed(int reading_end)
{
    struct pollfd closed = {.fd = reading_end};
    assert_int_equal(poll(&closed, 1, DEADLINE_MS), 1);
    assert_true((closed.revents & POLLHUP) != 0);
    close(reading_end);
}

static void hold(struct fake_node *node, struct client *holder)
{
    assert_answer(holder, "[0,1,\"ping\",[]]", "[1,1,null,\"pong\"]");
    pthread_mutex_lock(&node->mutex);
    int looks = atomic_load(&node->looks);
    client_send(holder, "[0,2,\"get\",[\"k\"]]");
    while (atomic_load(&node->looks) == looks) {
        sched_yield();
    }
}

static void descriptors_are_closed_unseen(void **state)
{
    struct fake_node *node = *state;
    struct client client = client_of(node);
    int ends[2];
    node_holds(node, "k", LOOKUP_HIT, clean("\x2a", 7));
    // With a whole message, and with each part of one.
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    send_get_with(&client, 1, ends[1]);
    send_with(&client, "\x94\x00\x05\xa3get", 7, ends[1], 1);
    send_with(&client, "\x91\xa1", 2, ends[1], 2);
    send_with(&client, "k", 1, ends[1], DESCRIPTORS);
    close(ends[1]);
    assert_received(&client, "[1,1,null,[42,7]]");
    assert_received(&client, "[1,5,null,[42,7]]");
    assert_closed(ends[0]);
    // With what is no message, behind which nothing is taken.
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    send_with(&client, "\xc1", 1, ends[1], 1);
    send_with(&client, "\xc1", 1, ends[1], 1);
    close(ends[1]);
    assert_received(&client, "");
    client_close(&client);
    assert_closed(ends[0]);
    // With what is never read, since the client is gone.
    struct client holder = client_of(node), gone = client_of(node);
    hold(node, &holder);
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    send_get_with(&gone, 1, ends[1]);
    close(ends[1]);
    client_close(&gone);
    pthread_mutex_unlock(&node->mutex);
    assert_received(&holder, "[1,2,null,[42,7]]");
    assert_closed(ends[0]);
    client_close(&holder);
}

// All of it is there before the first read.
static void what_comes_behind_descriptors_is_answered(void **state)
{
    struct fake_node *node = *state;
    struct client holder = client_of(node), client = client_of(node);
    int ends[2];
    node_holds(node, "k", LOOKUP_HIT, clean("\x2a", 7));
    assert_answer(&client, "[0,1,\"ping\",[]]", "[1,1,null,\"pong\"]");
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    hold(node, &holder);
    client_send(&client, "[0,2,\"get\",[\"k\"]]");
    send_get_with(&client, 3, ends[1]);
    send_get_with(&client, 4, ends[1]);
    client_send(&client, "[0,5,\"get\",[\"k\"]]");
    pthread_mutex_unlock(&node->mutex);
    close(ends[1]);
    assert_received(&client, "[1,2,null,[42,7]]");
    assert_received(&client, "[1,3,null,[42,7]]");
    assert_received(&client, "[1,4,null,[42,7]]");
    assert_received(&client, "[1,5,null,[42,7]]");
    assert_closed(ends[0]);
    client_close(&client);
    assert_received(&holder, "[1,2,null,[42,7]]");
    client_close(&holder);
}

static void the_end_behind_descriptors_is_seen(void **state)
{
    struct fake_node *node = *state;
    struct client holder = client_of(node), client = client_of(node);
    node_holds(node, "k", LOOKUP_HIT, clean("\x2a", 7));
    assert_answer(&client, "[0,1,\"ping\",[]]", "[1,1,null,\"pong\"]");
    hold(node, &holder);
    send_get_with(&client, 2, holder.fd);
    send_get_with(&client, 3, holder.fd);
    shutdown(client.fd, SHUT_WR);
    pthread_mutex_unlock(&node->mutex);
    assert_received(&client, "[1,2,null,[42,7]]");
    assert_received(&client, "[1,3,null,[42,7]]");
    assert_received(&client, "");
    client_close(&client);
    assert_received(&holder, "[1,2,null,[42,7]]");
    client_close(&holder);
}

// A kernel that knows no such bytes refuses them; else they are no part of the stream.
static void bytes_out_of_band_are_passed_over(void **state)
{
    struct fake_node *node = *state;
    struct client holder = client_of(node), client = client_of(node);
    node_holds(node, "k", LOOKUP_HIT, clean("\x2a", 7));
    assert_answer(&client, "[0,1,\"ping\",[]]", "[1,1,null,\"pong\"]");
    hold(node, &holder);
    client_send(&client, "[0,2,\"get\",[\"k\"]]");
    bool sent = send(client.fd, "\xc1", 1, MSG_OOB | MSG_NOSIGNAL) == 1;
    if (!sent) {
        assert_int_equal(errno, EOPNOTSUPP);
    }
    client_send(&client, "[0,3,\"get\",[\"k\"]]");
    pthread_mutex_unlock(&node->mutex);
    assert_received(&client, "[1,2,null,[42,7]]");
    assert_received(&client, "[1,3,null,[42,7]]");
    client_close(&client);
    assert_received(&holder, "[1,2,null,[42,7]]");
    client_close(&holder);
}

int main(void)
{
#define NODE_TEST(test) cmocka_unit_test_setup_teardown(test, setup_node, teardown_node)
    const struct CMUnitTest tests[] = {
        NODE_TEST(descriptors_are_closed_unseen),
        NODE_TEST(what_comes_behind_descriptors_is_answered),
        NODE_TEST(the_end_behind_descriptors_is_seen),
        NODE_TEST(bytes_out_of_band_are_passed_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
