// The life of a handle: open, connect again when the connection broke, close. The node's process
// may end and start while a handle is open; the socket's path is what stays.

#include "client/handle.h"

#include <errno.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/memory.h"
#include "client/exchange.h"
#include "client/options.h"
#include "client/process.h"

#define SOCKET_DEFAULT "/run/pgnear/pgnear.sock"

enum { PROTOCOL = 1, CONNECT_TIMEOUT_DEFAULT_MS = 3000 };

// What the library needs of the answer to hello.
struct node_facts {
    uint64_t protocol; // what both sides must agree on; 0: not said
    struct slice cache_dir;
    struct slice node;
};

static bool read_fact(struct mpack_cursor *hello, struct node_facts *facts)
{
    struct slice name;
    if (!mpack_read_str(hello, &name)) {
        return false;
    }
    if (slice_equal(name, slice_of_string("protocol"))) {
        return mpack_read_uint(hello, &facts->protocol);
    }
    if (slice_equal(name, slice_of_string("cache_dir"))) {
        return mpack_read_str(hello, &facts->cache_dir);
    }
    if (slice_equal(name, slice_of_string("node"))) {
        return mpack_read_str(hello, &facts->node);
    }
    return mpack_skip(hello, NULL) == DECODE_OK;
}

// PGNEAR_PROTOCOL where it is not an answer of a node that this library understands: PROTOCOL is
// what both sides must agree on.
static pgnear_code read_hello(struct mpack_cursor hello, struct node_facts *facts,
                              pgnear_error *error)
{
    *facts = (struct node_facts){0};
    uint32_t count = 0;
    bool good = mpack_read_map(&hello, &count);
    for (uint32_t i = 0; good && i < count; i++) {
        good = read_fact(&hello, facts);
    }
    if (!good || facts->protocol == 0) {
        return outcome_set(error, PGNEAR_PROTOCOL,
                           "the peer does not answer hello as pgneard does");
    }
    if (facts->protocol != PROTOCOL) {
        return outcome_set(error, PGNEAR_PROTOCOL,
                           "the node speaks protocol %llu, this library protocol %d",
                           (unsigned long long)facts->protocol, PROTOCOL);
    }
    return PGNEAR_OK;
}

// Takes what the node says of itself, or refuses to talk to it.
static pgnear_code take_hello(pgnear *handle, struct mpack_cursor hello, pgnear_error *error)
{
    struct node_facts facts;
    pgnear_code code = read_hello(hello, &facts, error);
    if (code == PGNEAR_OK && !handle->socket_only && facts.cache_dir.len > 0) {
        direct_set_node(&handle->direct, facts.cache_dir, facts.node);
    }
    return code;
}

pgnear_code handle_take_hello(pgnear *handle, struct slice answer, pgnear_error *error)
{
    return take_hello(handle, mpack_cursor_of(answer), error);
}

static pgnear_code say_hello(pgnear *handle, pgnear_error *error)
{
    msgpack_packer *packer = exchange_begin(handle, "hello", 1);
    mpack_pack_string(packer, handle->client_name);
    const struct exchange exchange = {.timeout_ms = handle->connect_timeout_ms};
    struct mpack_cursor result;
    pgnear_code code = exchange_run(handle, &exchange, &result, error);
    return code != PGNEAR_OK ? code : take_hello(handle, result, error);
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
    code = code != PGNEAR_OK ? code : exchange_check_timeout(own.timeout_ms, error);
    code = code != PGNEAR_OK ? code : exchange_check_timeout(own.connect_timeout_ms, error);
    if (code != PGNEAR_OK) {
        return code;
    }
    const char *name = own.client_name != NULL ? own.client_name : "libpgnear";
    pgnear *opened = memory_zeroed(1, sizeof *opened);
    opened->pid = process_enter();
    opened->socket_only = own.socket_only;
    direct_init(&opened->direct, !own.socket_only);
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
    if (process_is(handle->pid)) {
        direct_deinit(&handle->direct);
    } else {
        direct_forget(&handle->direct);
    }
    link_deinit(&handle->link);
    buffer_deinit(&handle->request);
    buffer_deinit(&handle->opts);
    arena_deinit(&handle->results);
    arena_deinit(&handle->found);
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

pgnear_code handle_check(const pgnear *handle, pgnear_error *error)
{
    CHECK(handle != NULL);
    if (!process_is(handle->pid)) {
        return outcome_set(error, PGNEAR_FORKED,
                           "the handle was opened before fork(): open a new one in this process");
    }
    return PGNEAR_OK;
}

pgnear_code handle_enter(pgnear *handle, pgnear_error *error)
{
    pgnear_code code = handle_check(handle, error);
    if (code == PGNEAR_OK) {
        handle_let_go(handle);
    }
    return code;
}

void handle_free_handed_out(pgnear *handle)
{
    arena_deinit(&handle->results);
    arena_deinit(&handle->found);
    buffer_consume(&handle->events, handle->lent_event_bytes);
    handle->lent_event_bytes = 0;
}

void handle_disconnect(pgnear *handle)
{
    link_break(&handle->link);
    handle->resync = handle->resync || buffer_len(&handle->watched) > 0;
}

// A request of our own on the new connection, and its result.
static pgnear_code ask_first(pgnear *handle, const char *method, struct slice argument,
                             int64_t deadline_us, struct mpack_cursor *result, pgnear_error *error)
{
    struct buffer frame = {0};
    msgpack_packer packer;
    mpack_packer_init(&packer, &frame);
    uint32_t msgid = exchange_pack_head(&packer, handle, method, 1);
    mpack_pack_slice(&packer, argument);
    pgnear_code code =
        exchange_once(handle, buffer_slice(&frame), msgid, deadline_us, result, error);
    buffer_deinit(&frame);
    return code;
}

// The node behind the socket may be another one now, with another cache.
static pgnear_code greet_again(pgnear *handle, int64_t deadline_us, pgnear_error *error)
{
    if (handle->direct.directory == NULL) {
        return PGNEAR_OK;
    }
    struct mpack_cursor hello;
    pgnear_code code = ask_first(handle, "hello", slice_of_string(handle->client_name), deadline_us,
                                 &hello, error);
    return code != PGNEAR_OK ? code : take_hello(handle, hello, error);
}

// Asks for the prefixes again. A connection that cannot have them is given up.
static pgnear_code watch_again(pgnear *handle, int64_t deadline_us, pgnear_error *error)
{
    struct mpack_cursor cursor = mpack_cursor_of(buffer_slice(&handle->watched));
    pgnear_code code = PGNEAR_OK;
    struct slice prefix;
    struct mpack_cursor result;
    while (code == PGNEAR_OK && mpack_read_str(&cursor, &prefix)) {
        code = ask_first(handle, "watch", prefix, deadline_us, &result, error);
    }
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
    pgnear_code code = greet_again(handle, deadline_us, error);
    code = code != PGNEAR_OK ? code : watch_again(handle, deadline_us, error);
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
