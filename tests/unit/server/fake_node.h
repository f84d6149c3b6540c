// A server with stand-ins behind it: a cache that holds what the test says, and mailboxes of the
// writer and the worker that the test reads itself. Clients speak JSON here, which is turned into
// MessagePack and back by json/json.h.
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/memory.h"
#include "base/mpack.h"
#include "server/server.h"
#include "json/json.h"

enum { DEADLINE_MS = 10000, RECORDS_MAX = 64 };
static const int64_t DEADLINE_US = 10000000;

struct fake_record {
    const char *key;
    enum lookup found;
    struct cached cached;
    bool is_hot; // found without a snapshot
};

struct fake_box {
    struct mailbox mailbox;
    struct message *taken; // and not yet handed out
};

struct fake_node {
    struct settings settings;
    struct status status;
    struct fake_box writer;
    struct fake_box pg;
    struct server *server;
    size_t not_taken_bytes_max; // of the server's options
    char directory[64];
    char socket[96];
    char read_only_socket[96];
    bool started;
    // Shared, under mutex:
    pthread_mutex_t mutex;
    struct fake_record records[RECORDS_MAX];
    size_t records_count;
    // Any thread:
    _Atomic int readers;
    _Atomic int reading; // between begin and end
    _Atomic int begins;
    _Atomic int hot_records;
    _Atomic int looks;         // for a key alone, begun
    _Atomic bool has_moved;    // whether an open snapshot is behind
    _Atomic int expected;      // keys that are to be looked up and were not yet
    _Atomic int expected_most; // at a time
    enum error reader_error;
    _Atomic int own_asks; // a loop would have asked PostgreSQL itself
    _Atomic int own_asks_reading;
};

struct client {
    int fd;
    struct buffer in;
    struct buffer text; // of the last message received
};

// ---- The cache

static inline enum error fake_reader_open(void *cache, struct cache_reader **reader)
{
    struct fake_node *node = cache;
    *reader = cache;
    if (node->reader_error == ERROR_NONE) {
        atomic_fetch_add(&node->readers, 1);
    }
    return node->reader_error;
}

static inline void fake_reader_close(struct cache_reader *reader)
{
    struct fake_node *node = (struct fake_node *)reader;
    CHECK(atomic_load(&node->reading) == 0);
    atomic_fetch_sub(&node->readers, 1);
}

static inline void fake_begin(struct cache_reader *reader)
{
    atomic_fetch_add(&((struct fake_node *)reader)->reading, 1);
    atomic_fetch_add(&((struct fake_node *)reader)->begins, 1);
}

static inline bool fake_is_torn(struct cache_reader *reader)
{
    (void)reader;
    return false;
}

static inline bool fake_is_current(struct cache_reader *reader)
{
    return !atomic_load(&((struct fake_node *)reader)->has_moved);
}

// Tells keys from each other, so that one that goes with another key is found out.
static inline uint64_t fake_hash(struct slice key)
{
    uint64_t hash = 1;
    for (size_t i = 0; i < key.len; i++) {
        hash = hash * 31 + key.at[i];
    }
    return hash | 1;
}

static inline bool fake_look_up_hot(struct cache_reader *reader, struct slice key, uint64_t hash,
                                    int64_t now_boot_us, enum lookup *found, struct cached *cached)
{
    struct fake_node *node = (struct fake_node *)reader;
    bool is_hot = false;
    atomic_fetch_add(&node->looks, 1);
    CHECK_VALUES(now_boot_us > 0, "%lld", (long long)now_boot_us);
    CHECK_VALUES(hash == 0 || hash == fake_hash(key), "%llu", (unsigned long long)hash);
    if (hash != 0) {
        atomic_fetch_sub(&node->expected, 1);
    }
    if (atomic_load(&node->hot_records) == 0) {
        return false;
    }
    pthread_mutex_lock(&node->mutex);
    for (size_t i = 0; i < node->records_count; i++) {
        if (node->records[i].is_hot && slice_equal(key, slice_of_string(node->records[i].key))) {
            *cached = node->records[i].cached;
            *found = node->records[i].found;
            is_hot = true;
        }
    }
    pthread_mutex_unlock(&node->mutex);
    return is_hot;
}

static inline uint64_t fake_prefetch(struct cache_reader *reader, struct slice key)
{
    struct fake_node *node = (struct fake_node *)reader;
    int expected = atomic_fetch_add(&node->expected, 1) + 1;
    if (expected > atomic_load(&node->expected_most)) {
        atomic_store(&node->expected_most, expected);
    }
    return fake_hash(key);
}

static inline void fake_prefetch_record(struct cache_reader *reader, uint64_t hash)
{
    (void)reader;
    (void)hash;
}

static inline void fake_end(struct cache_reader *reader)
{
    atomic_fetch_sub(&((struct fake_node *)reader)->reading, 1);
}

static inline enum lookup fake_lookup(struct cache_reader *reader, struct slice key,
                                      struct cached *cached)
{
    struct fake_node *node = (struct fake_node *)reader;
    enum lookup found = LOOKUP_MISS;
    CHECK(atomic_load(&node->reading) > 0);
    pthread_mutex_lock(&node->mutex);
    for (size_t i = 0; i < node->records_count; i++) {
        if (slice_equal(key, slice_of_string(node->records[i].key))) {
            *cached = node->records[i].cached;
            found = node->records[i].found;
        }
    }
    pthread_mutex_unlock(&node->mutex);
    return found;
}

// It has to ask the worker after all.
static inline bool fake_ask(void *worker, struct request *request, int epoll)
{
    struct fake_node *node = worker;
    CHECK(request != NULL && epoll >= 0);
    atomic_fetch_add(&node->own_asks, 1);
    atomic_fetch_add(&node->own_asks_reading, atomic_load(&node->reading));
    return false;
}

static inline int64_t fake_now_us(void *cache)
{
    (void)cache;
    return clock_real_us();
}

// Values of records are canonical MessagePack in string literals.
static inline void node_holds(struct fake_node *node, const char *key, enum lookup found,
                              struct cached cached)
{
    pthread_mutex_lock(&node->mutex);
    size_t place = 0;
    while (place < node->records_count && strcmp(node->records[place].key, key) != 0) {
        place++;
    }
    assert_true(place < RECORDS_MAX);
    node->records[place] = (struct fake_record){.key = key, .found = found, .cached = cached};
    node->records_count += place == node->records_count;
    pthread_mutex_unlock(&node->mutex);
}

// The same, found in the hot tier by who asks for it alone.
static inline void node_holds_hot(struct fake_node *node, const char *key, enum lookup found,
                                  struct cached cached)
{
    node_holds(node, key, found, cached);
    pthread_mutex_lock(&node->mutex);
    node->records[node->records_count - 1].is_hot = true;
    atomic_fetch_add(&node->hot_records, 1);
    pthread_mutex_unlock(&node->mutex);
}

static inline struct cached clean(const char *msgpack, int64_t version)
{
    return (struct cached){
        .present = true,
        .version = version,
        .current_boot_us = clock_boot_us(),
        .value = slice_of_string(msgpack),
    };
}

static inline struct cached pending(const char *msgpack, uint64_t seq)
{
    struct cached cached = clean(msgpack, 0);
    cached.pending = true;
    cached.pending_seq = seq;
    return cached;
}

// ---- Life

static inline void node_init(struct fake_node *node)
{
    *node = (struct fake_node){0};
    strcpy(node->directory, "/tmp/pgnear-server-test-XXXXXX");
    assert_non_null(mkdtemp(node->directory));
    snprintf(node->socket, sizeof node->socket, "%s/s", node->directory);
    snprintf(node->read_only_socket, sizeof node->read_only_socket, "%s/r", node->directory);
    node->settings = (struct settings){
        .server = {.socket = node->socket,
                   .socket_mode = 0600,
                   .read_only_socket = node->read_only_socket,
                   .threads = 1,
                   .max_connections = 4096,
                   .max_value_bytes = 1 << 20},
        .writes = {.ack = ACK_JOURNAL, .timeout_us = 5000000},
    };
    status_init(&node->status);
    pthread_mutex_init(&node->mutex, NULL);
    assert_int_equal(mailbox_init(&node->writer.mailbox, 1 << 14, 1 << 28), ERROR_NONE);
    assert_int_equal(mailbox_init(&node->pg.mailbox, 1 << 14, 1 << 28), ERROR_NONE);
}

static inline struct server_options node_options(struct fake_node *node)
{
    return (struct server_options){
        .settings = &node->settings,
        .status = &node->status,
        .cache = {.cache = node,
                  .reader_open = fake_reader_open,
                  .reader_close = fake_reader_close,
                  .begin = fake_begin,
                  .lookup = fake_lookup,
                  .is_current = fake_is_current,
                  .is_torn = fake_is_torn,
                  .look_up_hot = fake_look_up_hot,
                  .prefetch = fake_prefetch,
                  .prefetch_record = fake_prefetch_record,
                  .end = fake_end,
                  .now_us = fake_now_us},
        .writer = &node->writer.mailbox,
        .pg = &node->pg.mailbox,
        .fetch = {.worker = node, .ask = fake_ask},
        .not_taken_bytes_max = node->not_taken_bytes_max,
        .version = "0.1.0",
        .node = "00000000-0000-0000-0000-000000000001",
        .table = "kv_store",
        .cache_dir = "/var/lib/pgnear/cache",
    };
}

static inline void node_start(struct fake_node *node)
{
    struct failure failure = {0};
    struct server_options options = node_options(node);
    assert_int_equal(server_create(&options, &node->server, &failure), ERROR_NONE);
    if (server_start(node->server, &failure) != ERROR_NONE) {
        fail_msg("%s", failure.message);
    }
    node->started = true;
}

static inline void empty_box(struct fake_box *box)
{
    while (box->taken != NULL) {
        struct message *next = box->taken->next;
        message_destroy(box->taken);
        box->taken = next;
    }
    box->taken = mailbox_take(&box->mailbox);
    if (box->taken != NULL) {
        empty_box(box);
    }
}

static inline void node_stop(struct fake_node *node)
{
    if (node->started) {
        server_stop(node->server);
        assert_int_equal(atomic_load(&node->readers), 0);
        assert_int_equal(status_get(&node->status, STATUS_SERVER_CONNECTIONS), 0);
        assert_int_equal(status_get(&node->status, STATUS_SERVER_WATCHERS), 0);
        node->started = false;
    }
    empty_box(&node->writer);
    empty_box(&node->pg);
    if (node->server != NULL) {
        server_destroy(node->server);
    }
    mailbox_deinit(&node->writer.mailbox);
    mailbox_deinit(&node->pg.mailbox);
    pthread_mutex_destroy(&node->mutex);
    status_deinit(&node->status);
    unlink(node->socket);
    unlink(node->read_only_socket);
    assert_int_equal(rmdir(node->directory), 0);
}

// Fixtures for cmocka: a node of the default settings.
static inline int setup_node(void **state)
{
    struct fake_node *node = memory_zeroed(1, sizeof *node);
    node_init(node);
    node_start(node);
    *state = node;
    return 0;
}

// A node that the test configures and starts itself.
static inline int setup_unstarted_node(void **state)
{
    struct fake_node *node = memory_zeroed(1, sizeof *node);
    node_init(node);
    *state = node;
    return 0;
}

static inline int teardown_node(void **state)
{
    node_stop(*state);
    free(*state);
    return 0;
}

static inline void await_status(struct fake_node *node, enum status_item item, int64_t value)
{
    int64_t deadline_us = clock_boot_us() + DEADLINE_US;
    while (status_get(&node->status, item) != value) {
        if (clock_boot_us() > deadline_us) {
            fail_msg("%s is %lld, not %lld", status_name(item),
                     (long long)status_get(&node->status, item), (long long)value);
        }
        usleep(1000);
    }
}

// ---- The writer and the worker

// The next request that the server sent there.
static inline struct request *await_request(struct fake_box *box)
{
    int64_t deadline_us = clock_boot_us() + DEADLINE_US;
    while (box->taken == NULL) {
        struct pollfd ready = {.fd = mailbox_fd(&box->mailbox), .events = POLLIN};
        poll(&ready, 1, 100);
        box->taken = mailbox_take(&box->mailbox);
        assert_true(clock_boot_us() < deadline_us);
    }
    struct message *message = box->taken;
    box->taken = message->next;
    assert_int_equal(message->kind, MESSAGE_REQUEST);
    return (struct request *)message;
}

static inline bool nothing_was_sent(struct fake_box *box)
{
    if (box->taken == NULL) {
        box->taken = mailbox_take(&box->mailbox);
    }
    return box->taken == NULL;
}

static inline void assert_call(const struct request *request, enum method method, const char *key)
{
    assert_string_equal(method_name(request->call.method), method_name(method));
    assert_true(request->call.pairs_count > 0);
    if (!slice_equal(request->call.pairs[0].key, slice_of_string(key))) {
        fail_msg("%.*s is not %s", SLICE_FORMAT(request->call.pairs[0].key), key);
    }
}

static inline void finish_with_seq(struct request *request, uint64_t seq)
{
    request->reply.seq = seq;
    request_finish(request);
}

// The answer of PostgreSQL to a read of one key; NULL: absent.
static inline void finish_with_value(struct request *request, const char *msgpack, int64_t version)
{
    struct item *item = reply_items(&request->reply, 1);
    item->present = msgpack != NULL;
    item->has_version = true;
    item->version = version;
    if (msgpack != NULL) {
        item->value = arena_copy(&request->reply.arena, slice_of_string(msgpack));
    }
    request_finish(request);
}

// ---- Clients

static inline struct client client_at(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    struct client client = {.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    assert_true(client.fd >= 0);
    struct timeval deadline = {.tv_sec = DEADLINE_MS / 1000};
    setsockopt(client.fd, SOL_SOCKET, SO_RCVTIMEO, &deadline, sizeof deadline);
    setsockopt(client.fd, SOL_SOCKET, SO_SNDTIMEO, &deadline, sizeof deadline);
    if (connect(client.fd, (struct sockaddr *)&address, sizeof address) != 0) {
        fail_msg("%s: %s", path, strerrordesc_np(errno));
    }
    return client;
}

static inline struct client client_of(struct fake_node *node)
{
    return client_at(node->socket);
}

static inline void client_close(struct client *client)
{
    if (client->fd >= 0) {
        close(client->fd);
    }
    client->fd = -1;
    buffer_deinit(&client->in);
    buffer_deinit(&client->text);
}

static inline void client_send_bytes(struct client *client, const void *bytes, size_t len)
{
    const uint8_t *at = bytes;
    while (len > 0) {
        ssize_t sent = send(client->fd, at, len, MSG_NOSIGNAL);
        assert_true(sent > 0);
        at += sent;
        len -= (size_t)sent;
    }
}

// Appends one JSON text as MessagePack.
static inline void append_json(struct buffer *out, const char *json)
{
    struct failure failure;
    struct json_limits limits = {.value_bytes_max = 64 << 20};
    if (json_to_msgpack(slice_of_string(json), &limits, out, &failure) != ERROR_NONE) {
        fail_msg("%s: %s", json, failure.message);
    }
}

static inline void client_send(struct client *client, const char *json)
{
    struct buffer out = {0};
    append_json(&out, json);
    client_send_bytes(client, buffer_slice(&out).at, buffer_len(&out));
    buffer_deinit(&out);
}

// False where the server closed the connection.
static inline bool client_fill(struct client *client)
{
    uint8_t *room = buffer_reserve(&client->in, 65536);
    ssize_t len = recv(client->fd, room, 65536, 0);
    if (len < 0 && errno != ECONNRESET) {
        fail_msg("no answer in time: %s", strerrordesc_np(errno));
    }
    if (len <= 0) {
        return false;
    }
    buffer_commit(&client->in, (size_t)len);
    return true;
}

// The next message as JSON text, valid until the next one; "" where the connection was closed.
static inline const char *client_receive(struct client *client)
{
    struct mpack_scan scan = {0};
    while (buffer_len(&client->in) == 0 ||
           mpack_scan_more(&scan, buffer_slice(&client->in)) == DECODE_NEED_MORE) {
        if (!client_fill(client)) {
            assert_int_equal(buffer_len(&client->in), 0);
            return "";
        }
    }
    struct slice message = slice_of(buffer_slice(&client->in).at, scan.scanned);
    struct failure failure;
    buffer_clear(&client->text, SIZE_MAX);
    if (json_from_msgpack(message, false, &client->text, &failure) != ERROR_NONE) {
        fail_msg("%s", failure.message);
    }
    buffer_append(&client->text, "", 1);
    buffer_consume(&client->in, scan.scanned);
    return (const char *)buffer_slice(&client->text).at;
}

#define assert_received(client, json) assert_string_equal(client_receive(client), json)

static inline const char *client_ask(struct client *client, const char *json)
{
    client_send(client, json);
    return client_receive(client);
}

#define assert_answer(client, request, response)                                                   \
    assert_string_equal(client_ask(client, request), response)

// An error answer with this code whose message holds these words.
static inline void assert_failure_at(const char *response, const char *code, const char *words,
                                     const char *file, int line)
{
    char quoted[64];
    snprintf(quoted, sizeof quoted, "\"code\":\"%s\"", code);
    if (strstr(response, quoted) == NULL || strstr(response, words) == NULL) {
        print_error("%s is no %s with %s\n", response, code, words);
        _fail(file, line);
    }
}

#define assert_fails(client, request, code, words)                                                 \
    assert_failure_at(client_ask(client, request), code, words, __FILE__, __LINE__)
#define assert_received_failure(client, code, words)                                               \
    assert_failure_at(client_receive(client), code, words, __FILE__, __LINE__)
