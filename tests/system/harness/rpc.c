// Reads one frame at a time; what arrives while something else is waited for is kept in order.

#include "system/harness/rpc.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/mpack.h"
#include "system/harness/deadline.h"
#include "system/harness/node.h"

enum { READ_BYTES = 64 * 1024, REQUEST = 0, RESPONSE = 1, NOTIFICATION = 2 };

// A response or notification that was read and not yet asked for.
struct frame {
    struct frame *next;
    bool is_event;
    uint32_t msgid;
    const char *json;
};

struct rpc {
    struct rpc *next; // of the scenario's list, under its mutex
    struct scenario *scenario;
    int fd; // -1: closed
    uint32_t next_msgid;
    struct buffer in;
    struct mpack_scan scan;
    struct frame *frames; // the oldest first
};

struct rpc *rpc_try_open(struct scenario *scenario, const char *socket_path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if ((size_t)snprintf(address.sun_path, sizeof address.sun_path, "%s", socket_path) >=
        sizeof address.sun_path) {
        scenario_fail("the path of the socket is too long: %s", socket_path);
    }
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        scenario_fail("cannot make a socket: %s", strerror(errno));
    }
    if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0) {
        close(fd);
        return NULL;
    }
    struct rpc *rpc = scenario_alloc(scenario, sizeof *rpc);
    *rpc = (struct rpc){.scenario = scenario, .fd = fd, .next_msgid = 1};
    pthread_mutex_lock(&scenario->mutex);
    rpc->next = scenario->connections;
    scenario->connections = rpc;
    pthread_mutex_unlock(&scenario->mutex);
    return rpc;
}

struct rpc *rpc_open(struct scenario *scenario, const char *socket_path)
{
    struct rpc *rpc = rpc_try_open(scenario, socket_path);
    if (rpc == NULL) {
        scenario_fail("cannot connect to %s: %s", socket_path, strerror(errno));
    }
    return rpc;
}

void rpc_close(struct rpc *rpc)
{
    if (rpc->fd >= 0) {
        close(rpc->fd);
        rpc->fd = -1;
        buffer_deinit(&rpc->in);
    }
}

void rpc_close_all(struct scenario *scenario)
{
    for (struct rpc *rpc = scenario->connections; rpc != NULL; rpc = rpc->next) {
        rpc_close(rpc);
    }
}

// Waits until the socket is ready for `events`; false at the deadline.
static bool await_socket(struct rpc *rpc, short events, const struct deadline *deadline)
{
    struct pollfd ready = {.fd = rpc->fd, .events = events};
    int left_ms;
    do {
        left_ms = deadline_left_ms(deadline);
    } while (poll(&ready, 1, left_ms) == 0 && left_ms > 0);
    return ready.revents != 0;
}

static bool try_send(struct rpc *rpc, const void *bytes, size_t len)
{
    struct deadline deadline = deadline_in(DEADLINE_MS);
    const uint8_t *at = bytes;
    while (len > 0) {
        ssize_t sent = send(rpc->fd, at, len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent > 0) {
            at += sent;
            len -= (size_t)sent;
        } else if ((errno != EAGAIN && errno != EINTR) || !await_socket(rpc, POLLOUT, &deadline)) {
            return false;
        }
    }
    return true;
}

int rpc_fd(const struct rpc *rpc)
{
    return rpc->fd;
}

bool rpc_try_send_bytes(struct rpc *rpc, const void *bytes, size_t len)
{
    return try_send(rpc, bytes, len);
}

void rpc_send_bytes(struct rpc *rpc, const void *bytes, size_t len)
{
    if (!try_send(rpc, bytes, len)) {
        scenario_fail("the peer does not take what is sent");
    }
}

static uint32_t pack_request(struct rpc *rpc, const char *method, struct slice params,
                             struct buffer *out)
{
    uint32_t msgid = rpc->next_msgid++;
    msgpack_packer packer;
    mpack_packer_init(&packer, out);
    msgpack_pack_array(&packer, 4);
    msgpack_pack_uint8(&packer, REQUEST);
    msgpack_pack_uint32(&packer, msgid);
    mpack_pack_string(&packer, method);
    mpack_pack_raw(&packer, params);
    return msgid;
}

static bool try_send_request(struct rpc *rpc, const char *method, struct slice params,
                             uint32_t *msgid)
{
    struct buffer out = {0};
    *msgid = pack_request(rpc, method, params, &out);
    struct slice bytes = buffer_slice(&out);
    bool sent = try_send(rpc, bytes.at, bytes.len);
    buffer_deinit(&out);
    return sent;
}

uint32_t rpc_send_msgpack(struct rpc *rpc, const char *method, struct slice params)
{
    uint32_t msgid;
    if (!try_send_request(rpc, method, params, &msgid)) {
        scenario_fail("cannot send %s", method);
    }
    return msgid;
}

uint32_t rpc_send(struct rpc *rpc, const char *method, const char *params_json)
{
    struct buffer params = {0};
    json_text_to_msgpack(params_json, &params);
    uint32_t msgid = rpc_send_msgpack(rpc, method, buffer_slice(&params));
    buffer_deinit(&params);
    return msgid;
}

static const char *response_text(struct scenario *scenario, struct mpack_cursor *cursor)
{
    struct slice error;
    struct slice result;
    if (mpack_skip(cursor, &error) != DECODE_OK || mpack_skip(cursor, &result) != DECODE_OK) {
        scenario_fail("the peer sent a response without an error or a result");
    }
    struct mpack_cursor nil = mpack_cursor_of(error);
    if (mpack_read_nil(&nil)) {
        return json_text_of_msgpack(scenario, result);
    }
    return scenario_text(scenario, "{\"error\":%s}", json_text_of_msgpack(scenario, error));
}

static const char *event_text(struct scenario *scenario, struct mpack_cursor *cursor)
{
    struct slice method;
    struct slice params;
    if (mpack_skip(cursor, &method) != DECODE_OK || mpack_skip(cursor, &params) != DECODE_OK) {
        scenario_fail("the peer sent a notification without a method or params");
    }
    return scenario_text(scenario, "[%s,%s]", json_text_of_msgpack(scenario, method),
                         json_text_of_msgpack(scenario, params));
}

static void keep_frame(struct rpc *rpc, struct slice bytes)
{
    struct frame *frame = scenario_alloc(rpc->scenario, sizeof *frame);
    struct mpack_cursor cursor = mpack_cursor_of(bytes);
    uint32_t count;
    uint64_t type;
    uint64_t msgid;
    if (!mpack_read_array(&cursor, &count) || !mpack_read_uint(&cursor, &type)) {
        scenario_fail("the peer sent what is not MessagePack-RPC");
    }
    if (type == RESPONSE && count == 4 && mpack_read_uint(&cursor, &msgid) && msgid <= UINT32_MAX) {
        frame->msgid = (uint32_t)msgid;
        frame->json = response_text(rpc->scenario, &cursor);
    } else if (type == NOTIFICATION && count == 3) {
        frame->is_event = true;
        frame->json = event_text(rpc->scenario, &cursor);
    } else {
        scenario_fail("the peer sent what is neither a response nor a notification");
    }
    struct frame **last = &rpc->frames;
    while (*last != NULL) {
        last = &(*last)->next;
    }
    *last = frame;
}

// Takes the complete frames that lie in the buffer.
static void take_frames(struct rpc *rpc)
{
    enum decode decoded;
    while ((decoded = mpack_scan_more(&rpc->scan, buffer_slice(&rpc->in))) == DECODE_OK) {
        size_t len = rpc->scan.scanned;
        keep_frame(rpc, slice_of(buffer_slice(&rpc->in).at, len));
        buffer_consume(&rpc->in, len);
        rpc->scan = (struct mpack_scan){0};
    }
    if (decoded == DECODE_BAD) {
        scenario_fail("the peer sent what is not MessagePack");
    }
}

enum arrival { ARRIVED, CLOSED, LATE };

// Waits for bytes and takes the frames that they complete.
static enum arrival read_more(struct rpc *rpc, const struct deadline *deadline)
{
    if (!await_socket(rpc, POLLIN, deadline)) {
        return LATE;
    }
    ssize_t len = recv(rpc->fd, buffer_reserve(&rpc->in, READ_BYTES), READ_BYTES, MSG_DONTWAIT);
    if (len > 0) {
        buffer_commit(&rpc->in, (size_t)len);
        take_frames(rpc);
    }
    return len > 0 || (len < 0 && (errno == EAGAIN || errno == EINTR)) ? ARRIVED : CLOSED;
}

struct wanted {
    bool is_event;
    bool any_msgid;
    uint32_t msgid;
};

// Takes the oldest frame that is wanted; NULL where there is none yet.
static const struct frame *find_frame(struct rpc *rpc, const struct wanted *wanted)
{
    for (struct frame **link = &rpc->frames; *link != NULL; link = &(*link)->next) {
        struct frame *frame = *link;
        if (frame->is_event == wanted->is_event &&
            (wanted->is_event || wanted->any_msgid || frame->msgid == wanted->msgid)) {
            *link = frame->next;
            return frame;
        }
    }
    return NULL;
}

static const struct frame *try_receive(struct rpc *rpc, struct wanted wanted)
{
    struct deadline deadline = deadline_in(DEADLINE_MS);
    const struct frame *frame;
    while ((frame = find_frame(rpc, &wanted)) == NULL) {
        if (read_more(rpc, &deadline) != ARRIVED) {
            return find_frame(rpc, &wanted);
        }
    }
    return frame;
}

static const struct frame *receive(struct rpc *rpc, struct wanted wanted)
{
    const struct frame *frame = try_receive(rpc, wanted);
    if (frame == NULL) {
        scenario_fail("no %s comes", wanted.is_event ? "notification" : "response");
    }
    return frame;
}

const char *rpc_receive(struct rpc *rpc, uint32_t *msgid)
{
    const struct frame *frame = receive(rpc, (struct wanted){.any_msgid = true});
    if (msgid != NULL) {
        *msgid = frame->msgid;
    }
    return frame->json;
}

bool rpc_try_send(struct rpc *rpc, const char *method, const char *params_json, uint32_t *msgid)
{
    struct buffer params = {0};
    json_text_to_msgpack(params_json, &params);
    bool sent = try_send_request(rpc, method, buffer_slice(&params), msgid);
    buffer_deinit(&params);
    return sent;
}

const char *rpc_try_receive(struct rpc *rpc, uint32_t *msgid)
{
    const struct frame *frame = try_receive(rpc, (struct wanted){.any_msgid = true});
    if (frame == NULL) {
        return NULL;
    }
    *msgid = frame->msgid;
    return frame->json;
}

const char *rpc_await(struct rpc *rpc, uint32_t msgid)
{
    return receive(rpc, (struct wanted){.msgid = msgid})->json;
}

const char *rpc_receive_event(struct rpc *rpc)
{
    return receive(rpc, (struct wanted){.is_event = true})->json;
}

const char *rpc_try_call(struct rpc *rpc, const char *method, const char *params_json)
{
    uint32_t msgid;
    bool sent = rpc_try_send(rpc, method, params_json, &msgid);
    const struct frame *frame = sent ? try_receive(rpc, (struct wanted){.msgid = msgid}) : NULL;
    return frame == NULL ? NULL : frame->json;
}

const char *rpc_call(struct rpc *rpc, const char *method, const char *params_json)
{
    const char *json = rpc_try_call(rpc, method, params_json);
    if (json == NULL) {
        scenario_fail("%s %.200s is not answered", method, params_json);
    }
    return json;
}

void rpc_end_sending(struct rpc *rpc)
{
    shutdown(rpc->fd, SHUT_WR);
}

void rpc_expect_closed(struct rpc *rpc)
{
    struct deadline deadline = deadline_in(DEADLINE_MS);
    enum arrival arrival;
    while ((arrival = read_more(rpc, &deadline)) == ARRIVED) {
    }
    if (arrival == LATE) {
        scenario_fail("the peer does not close the connection");
    }
}

const char *rpc(struct node *node, const char *method, const char *params_json)
{
    return rpc_call(node_rpc(node), method, params_json);
}

void assert_rpc(struct node *node, const char *method, const char *params_json,
                const char *expected_json)
{
    const char *result = rpc(node, method, params_json);
    if (!json_matches(result, expected_json)) {
        scenario_fail("%s %.500s: %.2000s instead of %.2000s", method, params_json, result,
                      expected_json);
    }
}

const char *assert_rpc_error(struct node *node, const char *method, const char *params_json,
                             const char *code)
{
    const char *result = rpc(node, method, params_json);
    struct scenario *scenario = node->scenario;
    const char *error = json_at(scenario, result, "error");
    const char *given = error == NULL ? NULL : json_at(scenario, error, "code");
    const char *message = error == NULL ? NULL : json_at(scenario, error, "message");
    if (given == NULL || message == NULL || strcmp(message, "\"\"") == 0 ||
        strcmp(given, scenario_text(scenario, "\"%s\"", code)) != 0) {
        scenario_fail("%s %.500s: %.2000s instead of the error %s", method, params_json, result,
                      code);
    }
    return error;
}
