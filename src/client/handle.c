// The life of a handle: open, connect again when the connection broke, close. The node's process
// may end and start while a handle is open; the socket's path is what stays.

#include "client/handle.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/memory.h"
#include "client/exchange.h"
#include "client/options.h"

#define SOCKET_DEFAULT "/run/pgnear/pgnear.sock"

enum { PROTOCOL = 1, CONNECT_TIMEOUT_DEFAULT_MS = 3000 };

// The PROTOCOL number in the answer to hello is what both sides must agree on.
pgnear_code handle_speaks_protocol(struct slice answer, pgnear_error *error)
{
    struct mpack_cursor hello = mpack_cursor_of(answer);
    uint64_t protocol = 0;
    uint32_t count = 0;
    bool good = mpack_read_map(&hello, &count);
    for (uint32_t i = 0; good && i < count; i++) {
        struct slice name;
        good = mpack_read_str(&hello, &name);
        if (good && slice_equal(name, slice_of_string("protocol"))) {
            good = mpack_read_uint(&hello, &protocol);
        } else if (good) {
            good = mpack_skip(&hello, NULL) == DECODE_OK;
        }
    }
    if (!good || protocol == 0) {
        return outcome_set(error, PGNEAR_PROTOCOL,
                           "the peer does not answer hello as pgneard does");
    }
    if (protocol != PROTOCOL) {
        return outcome_set(error, PGNEAR_PROTOCOL,
                           "the node speaks protocol %llu, this library protocol %d",
                           (unsigned long long)protocol, PROTOCOL);
    }
    return PGNEAR_OK;
}

static pgnear_code say_hello(pgnear *handle, pgnear_error *error)
{
    msgpack_packer *packer = exchange_begin(handle, "hello", 1);
    mpack_pack_string(packer, handle->client_name);
    const struct exchange exchange = {.timeout_ms = handle->connect_timeout_ms};
    struct mpack_cursor result;
    pgnear_code code = exchange_run(handle, &exchange, &result, error);
    return code != PGNEAR_OK ? code
                             : handle_speaks_protocol(
                                   slice_of(result.at, (size_t)(result.end - result.at)), error);
}

static const char *chosen_socket(const char *socket_path)
{
    if (socket_path != NULL) {
        return socket_path;
    }
    const char *set = getenv("PGNEAR_SOCKET"); // NOLINT(concurrency-mt-unsafe): said in pgnear.h
    return set != NULL && set[0] != '\0' ? set : SOCKET_DEFAULT;
}

pgnear_code handle_create(const char *socket_path, const pgnear_options *options, pgnear **handle,
                          pgnear_error *error)
{
    pgnear_options own;
    pgnear_code code = options_take(&own, sizeof own, options, error);
    if (code != PGNEAR_OK) {
        return code;
    }
    const char *name = own.client_name != NULL ? own.client_name : "libpgnear";
    pgnear *opened = memory_zeroed(1, sizeof *opened);
    opened->pid = getpid();
    opened->socket_path = memory_string(slice_of_string(chosen_socket(socket_path)));
    opened->client_name = memory_string(slice_of_string(name));
    opened->timeout_ms = own.timeout_ms;
    opened->connect_timeout_ms =
        own.connect_timeout_ms > 0 ? own.connect_timeout_ms : CONNECT_TIMEOUT_DEFAULT_MS;
    link_init(&opened->link);
    mpack_packer_init(&opened->packer, &opened->request);
    *handle = opened;
    return PGNEAR_OK;
}

pgnear_code pgnear_open(const char *socket_path, const pgnear_options *options, pgnear **handle,
                        pgnear_error *error)
{
    pgnear *opened;
    pgnear_code code = handle_create(socket_path, options, &opened, error);
    if (code != PGNEAR_OK) {
        return code;
    }
    code = say_hello(opened, error);
    if (code != PGNEAR_OK) {
        pgnear_close(opened);
        return code;
    }
    *handle = opened;
    return PGNEAR_OK;
}

void pgnear_close(pgnear *handle)
{
    if (handle == NULL) {
        return;
    }
    link_deinit(&handle->link);
    buffer_deinit(&handle->request);
    buffer_deinit(&handle->opts);
    arena_deinit(&handle->results);
    buffer_deinit(&handle->watched);
    buffer_deinit(&handle->events);
    free(handle->client_name);
    free(handle->socket_path);
    free(handle);
}

int pgnear_fd(const pgnear *handle)
{
    return handle->link.fd;
}

const char *pgnear_version(void)
{
    return PGNEAR_VERSION;
}

pgnear_code handle_enter(pgnear *handle, pgnear_error *error)
{
    CHECK(handle != NULL);
    if (handle->pid != getpid()) {
        return outcome_set(error, PGNEAR_FORKED,
                           "the handle was opened before fork(): open a new one in this process");
    }
    arena_deinit(&handle->results);
    buffer_consume(&handle->events, handle->lent_event_bytes);
    handle->lent_event_bytes = 0;
    return PGNEAR_OK;
}

void handle_disconnect(pgnear *handle)
{
    link_break(&handle->link);
    handle->resync = handle->resync || buffer_len(&handle->watched) > 0;
}

// Asks for the prefixes again. A connection that cannot have them is given up.
static pgnear_code watch_again(pgnear *handle, int64_t deadline_us, pgnear_error *error)
{
    struct mpack_cursor cursor = mpack_cursor_of(buffer_slice(&handle->watched));
    struct buffer frame = {0};
    pgnear_code code = PGNEAR_OK;
    struct slice prefix;
    while (code == PGNEAR_OK && mpack_read_str(&cursor, &prefix)) {
        buffer_clear(&frame, SIZE_MAX);
        msgpack_packer packer;
        mpack_packer_init(&packer, &frame);
        uint32_t msgid = exchange_pack_head(&packer, handle, "watch", 1);
        mpack_pack_slice(&packer, prefix);
        code = exchange_once(handle, buffer_slice(&frame), msgid, deadline_us, error);
    }
    buffer_deinit(&frame);
    return code;
}

pgnear_code handle_connect(pgnear *handle, int64_t deadline_us, pgnear_error *error)
{
    if (link_is_open(&handle->link)) {
        return PGNEAR_OK;
    }
    int64_t own_deadline_us =
        clock_boot_us() + handle->connect_timeout_ms * (int64_t)CLOCK_US_PER_MS;
    deadline_us = deadline_us < own_deadline_us ? deadline_us : own_deadline_us;
    enum link_result result = link_connect(&handle->link, handle->socket_path, deadline_us);
    if (result != LINK_OK) {
        return outcome_set(error, PGNEAR_UNREACHABLE, "cannot connect to pgneard at %s: %s",
                           handle->socket_path,
                           result == LINK_LATE ? "it does not accept connections in time"
                                               : strerrordesc_np(errno));
    }
    pgnear_code code = watch_again(handle, deadline_us, error);
    if (code != PGNEAR_OK) {
        handle_disconnect(handle);
    }
    return code;
}

void handle_keep_event(pgnear *handle, struct slice frame)
{
    if (buffer_len(&handle->events) + frame.len > EVENTS_BYTES_MAX) {
        buffer_clear(&handle->events, 0);
        handle->resync = true;
        return;
    }
    buffer_append_slice(&handle->events, frame);
}
