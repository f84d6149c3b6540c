// A node that does what the test's script says, on a socket of its own in a thread of its own: to
// show the library what a true node does only when it is killed at the right moment.
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/mpack.h"
#include "json/json.h"

enum fake_act {
    FAKE_END,    // the script is over
    FAKE_ACCEPT, // the next connection
    FAKE_ANSWER, // reads a request and answers with the JSON text as its result
    FAKE_ERROR,  // the same as its error
    FAKE_READ,   // reads a request and says nothing
    FAKE_LATE,   // answers the request that FAKE_READ read
    FAKE_STALE,  // answers the request before that one
    FAKE_EVENT,  // sends a notification: the JSON text is [method, params]
    FAKE_EVENTS, // sends it `count` times
    FAKE_BYTES,  // sends the text as it is
    FAKE_CLOSE,  // closes the connection
};

struct fake_step {
    enum fake_act act;
    const char *text;
    int count;
};

enum { FAKE_REQUESTS_MAX = 32, FAKE_PATIENCE_MS = 20000 };

struct fake_node {
    char directory[64];
    char path[96];
    const struct fake_step *steps;
    pthread_t thread;
    int listener;
    int fd;
    uint64_t msgid; // of the last request
    uint64_t msgid_before;
    struct buffer in;
    // What was read, as ["method", params]; of the thread until fake_node_end:
    char *requests[FAKE_REQUESTS_MAX];
    int requests_count;
    const char *failure;
};

#define FAKE_HELLO                                                                                 \
    {FAKE_ACCEPT, NULL, 0},                                                                        \
    {                                                                                              \
        FAKE_ANSWER, "{\"server\":\"pgneard\",\"protocol\":1}", 0                                  \
    }

static inline void fake_pack_json(struct buffer *out, const char *json)
{
    const struct json_limits limits = {.value_bytes_max = JSON_INPUT_BYTES_MAX};
    if (json_to_msgpack(slice_of_string(json), &limits, out, NULL) != ERROR_NONE) {
        fprintf(stderr, "the test's JSON is wrong: %s\n", json);
        abort();
    }
}

static inline void fake_send(struct fake_node *fake, struct buffer *out)
{
    while (buffer_len(out) > 0) {
        ssize_t len = send(fake->fd, buffer_slice(out).at, buffer_len(out), MSG_NOSIGNAL);
        if (len <= 0) {
            fake->failure = "the library does not take what is sent";
            break;
        }
        buffer_consume(out, (size_t)len);
    }
    buffer_deinit(out);
}

static inline bool fake_await(struct fake_node *fake, int fd)
{
    struct pollfd entry = {.fd = fd, .events = POLLIN};
    if (poll(&entry, 1, FAKE_PATIENCE_MS) <= 0) {
        fake->failure = "the library does not do its next step";
        return false;
    }
    return true;
}

static inline void fake_keep_request(struct fake_node *fake, struct slice frame)
{
    struct mpack_cursor cursor = mpack_cursor_of(frame);
    uint32_t count;
    uint64_t type;
    struct slice method;
    struct slice params;
    struct buffer text = {0};
    fake->msgid_before = fake->msgid;
    if (!mpack_read_array(&cursor, &count) || count != 4 || !mpack_read_uint(&cursor, &type) ||
        type != 0 || !mpack_read_uint(&cursor, &fake->msgid) || !mpack_read_str(&cursor, &method) ||
        mpack_skip(&cursor, &params) != DECODE_OK || fake->requests_count == FAKE_REQUESTS_MAX) {
        fake->failure = "the library sent what is no request";
        return;
    }
    buffer_printf(&text, "[\"%.*s\",", SLICE_FORMAT(method));
    assert_int_equal(json_from_msgpack(params, false, &text, NULL), ERROR_NONE);
    buffer_append(&text, "]", 2);
    fake->requests[fake->requests_count++] = (char *)text.bytes;
}

static inline void fake_read(struct fake_node *fake)
{
    struct mpack_scan scan = {0};
    while (mpack_scan_more(&scan, buffer_slice(&fake->in)) == DECODE_NEED_MORE) {
        ssize_t len = 0;
        if (fake_await(fake, fake->fd)) {
            len = recv(fake->fd, buffer_reserve(&fake->in, 65536), 65536, 0);
        }
        if (len <= 0) {
            fake->failure = fake->failure != NULL ? fake->failure : "the library closed";
            return;
        }
        buffer_commit(&fake->in, (size_t)len);
    }
    fake_keep_request(fake, slice_of(buffer_slice(&fake->in).at, scan.scanned));
    buffer_consume(&fake->in, scan.scanned);
}

static inline void fake_respond(struct fake_node *fake, uint64_t msgid, const char *json,
                                bool is_error)
{
    struct buffer out = {0};
    msgpack_packer packer;
    mpack_packer_init(&packer, &out);
    msgpack_pack_array(&packer, 4);
    msgpack_pack_int(&packer, 1);
    msgpack_pack_uint64(&packer, msgid);
    if (is_error) {
        fake_pack_json(&out, json);
        msgpack_pack_nil(&packer);
    } else {
        msgpack_pack_nil(&packer);
        fake_pack_json(&out, json);
    }
    fake_send(fake, &out);
}

static inline void fake_notify(struct fake_node *fake, const char *json, int count)
{
    struct buffer event = {0};
    struct buffer out = {0};
    fake_pack_json(&event, json);
    for (int i = 0; i < count; i++) {
        buffer_append(&out, "\x93\x02", 2); // [2, and the two members of the text's array
        buffer_append(&out, buffer_slice(&event).at + 1, buffer_len(&event) - 1);
    }
    buffer_deinit(&event);
    fake_send(fake, &out);
}

static inline void fake_close(struct fake_node *fake)
{
    if (fake->fd >= 0) {
        close(fake->fd);
        fake->fd = -1;
    }
    buffer_clear(&fake->in, SIZE_MAX);
}

static inline void fake_do(struct fake_node *fake, const struct fake_step *step)
{
    struct buffer out = {0};
    switch (step->act) {
    case FAKE_ACCEPT:
        if (fake_await(fake, fake->listener)) {
            fake->fd = accept(fake->listener, NULL, NULL);
        }
        break;
    case FAKE_ANSWER:
    case FAKE_ERROR:
        fake_read(fake);
        fake_respond(fake, fake->msgid, step->text, step->act == FAKE_ERROR);
        break;
    case FAKE_READ:
        fake_read(fake);
        break;
    case FAKE_LATE:
        fake_respond(fake, fake->msgid, step->text, false);
        break;
    case FAKE_STALE:
        fake_respond(fake, fake->msgid_before, step->text, false);
        break;
    case FAKE_EVENT:
    case FAKE_EVENTS:
        fake_notify(fake, step->text, step->count > 0 ? step->count : 1);
        break;
    case FAKE_BYTES:
        buffer_append(&out, step->text, strlen(step->text));
        fake_send(fake, &out);
        break;
    case FAKE_CLOSE:
        fake_close(fake);
        break;
    case FAKE_END:
        break;
    }
}

static inline void *fake_run(void *argument)
{
    struct fake_node *fake = argument;
    for (const struct fake_step *step = fake->steps; step->act != FAKE_END; step++) {
        fake_do(fake, step);
        if (fake->failure != NULL) {
            fake_close(fake); // so that the library does not wait either
            break;
        }
    }
    return NULL;
}

// Starts the script, whose last step is FAKE_END.
static inline void fake_node_start(struct fake_node *fake, const struct fake_step *steps)
{
    *fake = (struct fake_node){.steps = steps, .fd = -1};
    snprintf(fake->directory, sizeof fake->directory, "/tmp/pgnear-fake-XXXXXX");
    assert_non_null(mkdtemp(fake->directory));
    snprintf(fake->path, sizeof fake->path, "%s/socket", fake->directory);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", fake->path);
    fake->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_return_code(bind(fake->listener, (struct sockaddr *)&address, sizeof address), 0);
    assert_return_code(listen(fake->listener, 8), 0);
    assert_int_equal(pthread_create(&fake->thread, NULL, fake_run, fake), 0);
}

// Waits for the end of the script; fails where it could not be done. fake->requests are then there.
static inline void fake_node_end(struct fake_node *fake)
{
    pthread_join(fake->thread, NULL);
    fake_close(fake);
    close(fake->listener);
    unlink(fake->path);
    rmdir(fake->directory);
    buffer_deinit(&fake->in);
    if (fake->failure != NULL) {
        fail_msg("%s", fake->failure);
    }
}

// The request of that number was ["method", params].
static inline void assert_request(const struct fake_node *fake, int index, const char *expected)
{
    assert_true(index < fake->requests_count);
    assert_string_equal(fake->requests[index], expected);
}

static inline void fake_node_free(struct fake_node *fake)
{
    for (int i = 0; i < fake->requests_count; i++) {
        free(fake->requests[i]);
    }
    fake->requests_count = 0;
}
