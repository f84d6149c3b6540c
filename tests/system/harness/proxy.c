// One thread polls all links. A link is a pair of sockets, with the bytes that one end has sent and
// the other has not yet taken; an end is read only while nothing waits for the other, so a slow
// reader is felt through the proxy. Controls are set under the mutex and the thread is woken.

#include "system/harness/proxy.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/memory.h"

enum { LINKS_MAX = 256, READ_BYTES = 64 * 1024, BACKLOG = 64, PORT = 5432, WORD_BYTES_MAX = 8 };
enum { TICK_MS = 10 };
enum { POLL_WAKE, POLL_LISTEN, POLL_LINKS };

enum link_mode {
    LINK_FORWARD,
    LINK_FROZEN,       // both ends are read and nothing is passed on
    LINK_AWAIT_COMMIT, // what the server answers is swallowed; once it says COMMIT both are closed
    LINK_STRANDED,     // the client's end is closed; the server's stays until the server closes it
    LINK_UNREAD,       // the same, and what the server answers is not read
    LINK_LATE, // the client's end is closed; what is kept goes to the server at late_boot_us
    LINK_HELD, // the server's end is not read before late_boot_us
};

static const char COMMIT_QUERY[] = "COMMIT"; // with the NUL behind it: not that of READ COMMITTED

struct link {
    bool used;
    enum link_mode mode;
    bool listens;
    int client; // -1: closed
    int server;
    int64_t late_boot_us;
    int64_t tick_boot_us; // more goes to the server from then on
    struct buffer to_client;
    struct buffer to_server;
    char client_tail[WORD_BYTES_MAX]; // the last bytes of what passed, for words cut in two
    char server_tail[WORD_BYTES_MAX];
};

struct proxy {
    struct proxy *next;
    struct scenario *scenario;
    const char *url;
    const char *directory;
    char server_path[sizeof((struct sockaddr_un *)NULL)->sun_path];
    pthread_t thread;
    int wake_fd;
    int listen_fd;
    struct link links[LINKS_MAX]; // of the thread, but under mutex where a control looks at them
    pthread_mutex_t mutex;
    // Shared, under mutex:
    bool stopping;
    bool closed;
    size_t bytes_a_tick; // of TICK_MS, to the server; 0: as many as come
    enum proxy_cut armed;
    bool holds;
    int fired;
};

static struct proxy *proxies; // of the main thread

static void close_end(int *fd)
{
    if (*fd >= 0) {
        close(*fd);
        *fd = -1;
    }
}

static void link_close(struct link *link)
{
    close_end(&link->client);
    close_end(&link->server);
    buffer_deinit(&link->to_client);
    buffer_deinit(&link->to_server);
    *link = (struct link){.client = -1, .server = -1};
}

// Whether `word` ends inside `bytes`, its beginning perhaps in the tail of the bytes before. Where
// it does, `at` is the offset in `bytes` of its first byte, 0 if that came before.
static bool find_bytes(char tail[WORD_BYTES_MAX], struct slice bytes, struct slice word, size_t *at)
{
    struct buffer joined = {0};
    buffer_append(&joined, tail, WORD_BYTES_MAX);
    buffer_append_slice(&joined, bytes);
    struct slice all = buffer_slice(&joined);
    const uint8_t *found = memmem(all.at, all.len, word.at, word.len);
    size_t offset = found == NULL ? 0 : (size_t)(found - all.at);
    *at = offset > WORD_BYTES_MAX ? offset - WORD_BYTES_MAX : 0;
    buffer_deinit(&joined);
    return found != NULL;
}

static bool find_word(char tail[WORD_BYTES_MAX], struct slice bytes, const char *word, size_t *at)
{
    return find_bytes(tail, bytes, slice_of_string(word), at);
}

static bool find_commit(struct link *link, struct slice bytes, size_t *at)
{
    struct slice word = slice_of((const uint8_t *)COMMIT_QUERY, sizeof COMMIT_QUERY);
    return find_bytes(link->client_tail, bytes, word, at);
}

static void keep_tail(char tail[WORD_BYTES_MAX], struct slice bytes)
{
    size_t len = bytes.len < WORD_BYTES_MAX ? bytes.len : WORD_BYTES_MAX;
    memmove(tail, tail + len, WORD_BYTES_MAX - len);
    memcpy(tail + WORD_BYTES_MAX - len, bytes.at + bytes.len - len, len);
}

// Sends without waiting what the socket takes now, at most so much. False where the peer is gone.
static bool drain_some(int fd, struct buffer *pending, size_t bytes_max)
{
    while (buffer_len(pending) > 0 && bytes_max > 0) {
        struct slice bytes = buffer_slice(pending);
        size_t len = bytes.len < bytes_max ? bytes.len : bytes_max;
        ssize_t sent = send(fd, bytes.at, len, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent < 0) {
            return errno == EAGAIN || errno == EINTR;
        }
        buffer_consume(pending, (size_t)sent);
        bytes_max -= (size_t)sent;
    }
    return true;
}

static bool drain(int fd, struct buffer *pending)
{
    return drain_some(fd, pending, SIZE_MAX);
}

static bool drain_to_server(struct proxy *proxy, struct link *link)
{
    if (proxy->bytes_a_tick == 0) {
        return drain(link->server, &link->to_server);
    }
    if (clock_boot_us() < link->tick_boot_us) {
        return true;
    }
    link->tick_boot_us = clock_boot_us() + TICK_MS * CLOCK_US_PER_MS;
    return drain_some(link->server, &link->to_server, proxy->bytes_a_tick);
}

// The armed cut fires on this link, whose client has just sent `bytes` with a COMMIT at `at`.
static void fire(struct proxy *proxy, struct link *link, struct slice bytes, size_t at)
{
    enum proxy_cut cut = proxy->armed;
    proxy->armed = PROXY_CUT_NONE;
    proxy->fired++;
    switch (cut) {
    case PROXY_CUT_BEFORE:
        buffer_append(&link->to_server, bytes.at, at);
        drain(link->server, &link->to_server);
        link_close(link);
        return;
    case PROXY_CUT_DURING:
        buffer_append_slice(&link->to_server, bytes);
        drain(link->server, &link->to_server);
        link_close(link);
        return;
    case PROXY_CUT_AFTER:
        buffer_append_slice(&link->to_server, bytes);
        link->mode = LINK_AWAIT_COMMIT;
        return;
    case PROXY_CUT_STRANDED:
        buffer_append(&link->to_server, bytes.at, at);
        drain(link->server, &link->to_server);
        close_end(&link->client);
        link->mode = LINK_STRANDED;
        return;
    case PROXY_CUT_UNREAD:
        buffer_append_slice(&link->to_server, bytes);
        drain(link->server, &link->to_server);
        close_end(&link->client);
        link->mode = LINK_UNREAD;
        return;
    default:
        buffer_append_slice(&link->to_server, bytes);
        close_end(&link->client);
        link->mode = LINK_LATE;
        link->late_boot_us = clock_boot_us() + PROXY_LATE_MS * CLOCK_US_PER_MS;
        return;
    }
}

static void hold(struct proxy *proxy, struct link *link)
{
    proxy->holds = false;
    proxy->fired++;
    link->mode = LINK_HELD;
    link->late_boot_us = clock_boot_us() + PROXY_LATE_MS * CLOCK_US_PER_MS;
}

static void from_client(struct proxy *proxy, struct link *link)
{
    uint8_t bytes[READ_BYTES];
    ssize_t len = recv(link->client, bytes, sizeof bytes, MSG_DONTWAIT);
    if (len < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (len <= 0) {
        link_close(link);
        return;
    }
    struct slice received = slice_of(bytes, (size_t)len);
    if (link->mode == LINK_FROZEN) {
        return;
    }
    size_t at;
    link->listens = link->listens || find_word(link->client_tail, received, "LISTEN", &at);
    if (link->mode == LINK_FORWARD && proxy->armed != PROXY_CUT_NONE &&
        find_commit(link, received, &at)) {
        fire(proxy, link, received, at);
        return;
    }
    if (link->mode == LINK_FORWARD && proxy->holds && find_commit(link, received, &at)) {
        hold(proxy, link);
    }
    keep_tail(link->client_tail, received);
    buffer_append_slice(&link->to_server, received);
}

static void from_server(struct link *link)
{
    uint8_t bytes[READ_BYTES];
    ssize_t len = recv(link->server, bytes, sizeof bytes, MSG_DONTWAIT);
    if (len < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (len <= 0) {
        link_close(link);
        return;
    }
    struct slice received = slice_of(bytes, (size_t)len);
    size_t at;
    switch (link->mode) {
    case LINK_FORWARD:
    case LINK_HELD:
        buffer_append_slice(&link->to_client, received);
        return;
    case LINK_AWAIT_COMMIT:
        if (find_word(link->server_tail, received, "COMMIT", &at) ||
            find_word(link->server_tail, received, "ROLLBA", &at)) {
            link_close(link);
            return;
        }
        keep_tail(link->server_tail, received);
        return;
    default:
        return;
    }
}

static int connect_to(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) != 0) {
        close_end(&fd);
    }
    return fd;
}

static void accept_link(struct proxy *proxy)
{
    int client = accept4(proxy->listen_fd, NULL, NULL, SOCK_CLOEXEC);
    int server = client < 0 || proxy->closed ? -1 : connect_to(proxy->server_path);
    struct link *link = proxy->links;
    while (link < proxy->links + LINKS_MAX && link->used) {
        link++;
    }
    if (server < 0 || link == proxy->links + LINKS_MAX) {
        close_end(&client);
        close_end(&server);
        return;
    }
    *link = (struct link){.used = true, .client = client, .server = server};
}

// What a link waits for; a closed end is left out by its negative descriptor.
static void ask_poll(const struct proxy *proxy, const struct link *link, struct pollfd *client,
                     struct pollfd *server)
{
    *client = (struct pollfd){.fd = link->used ? link->client : -1};
    *server = (struct pollfd){.fd = link->used ? link->server : -1};
    bool late = link->mode == LINK_LATE,
         held = link->mode == LINK_HELD || link->mode == LINK_UNREAD;
    client->events = (short)((buffer_len(&link->to_server) == 0 ? POLLIN : 0) |
                             (buffer_len(&link->to_client) > 0 ? POLLOUT : 0));
    server->events =
        (short)((!held && buffer_len(&link->to_client) == 0 ? POLLIN : 0) |
                (!late && proxy->bytes_a_tick == 0 && buffer_len(&link->to_server) > 0 ? POLLOUT
                                                                                       : 0));
}

static void serve(struct proxy *proxy, struct link *link, short client, short server)
{
    if (link->mode == LINK_LATE) {
        if (clock_boot_us() >= link->late_boot_us) {
            drain(link->server, &link->to_server);
            link_close(link);
        }
        return;
    }
    if (link->mode == LINK_HELD && clock_boot_us() >= link->late_boot_us) {
        link->mode = LINK_FORWARD;
    }
    if ((client & (POLLIN | POLLHUP | POLLERR)) != 0) {
        from_client(proxy, link);
    }
    if (link->used && link->server >= 0 && (server & (POLLIN | POLLHUP | POLLERR)) != 0) {
        from_server(link);
    }
    if (link->used && link->mode != LINK_LATE &&
        (!drain_to_server(proxy, link) || !drain(link->client, &link->to_client))) {
        link_close(link);
    }
}

static void *run(void *argument)
{
    struct proxy *proxy = argument;
    struct pollfd *fds = memory_zeroed(POLL_LINKS + 2 * LINKS_MAX, sizeof *fds);
    pthread_mutex_lock(&proxy->mutex);
    while (!proxy->stopping) {
        int wait_ms = -1;
        fds[POLL_WAKE] = (struct pollfd){.fd = proxy->wake_fd, .events = POLLIN};
        fds[POLL_LISTEN] = (struct pollfd){.fd = proxy->listen_fd, .events = POLLIN};
        for (size_t i = 0; i < LINKS_MAX; i++) {
            struct pollfd *pair = fds + POLL_LINKS + 2 * i;
            ask_poll(proxy, &proxy->links[i], &pair[0], &pair[1]);
            bool waits = proxy->links[i].mode == LINK_LATE || proxy->links[i].mode == LINK_HELD;
            wait_ms = waits ? PROXY_LATE_MS / 10 : wait_ms;
        }
        if (proxy->bytes_a_tick > 0) {
            wait_ms = TICK_MS;
        }
        pthread_mutex_unlock(&proxy->mutex);
        poll(fds, POLL_LINKS + 2 * LINKS_MAX, wait_ms);
        pthread_mutex_lock(&proxy->mutex);
        if (fds[POLL_WAKE].revents != 0) {
            eventfd_t count;
            eventfd_read(proxy->wake_fd, &count);
            continue; // a control may have changed the links: ask anew
        }
        for (size_t i = 0; i < LINKS_MAX; i++) {
            if (proxy->links[i].used) {
                struct pollfd *pair = fds + POLL_LINKS + 2 * i;
                serve(proxy, &proxy->links[i], pair[0].revents, pair[1].revents);
            }
        }
        if (fds[POLL_LISTEN].revents != 0) {
            accept_link(proxy);
        }
    }
    pthread_mutex_unlock(&proxy->mutex);
    free(fds);
    return NULL;
}

static int listen_at(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) != 0 ||
        listen(fd, BACKLOG) != 0) {
        scenario_fail("the proxy cannot listen at %s: %s", path, strerror(errno));
    }
    return fd;
}

struct proxy *proxy_start(struct scenario *scenario, const struct pg *pg, const char *name)
{
    const char *directory = scenario_path(scenario, name);
    if (mkdir(directory, 0755) != 0) {
        scenario_fail("cannot make %s: %s", directory, strerror(errno));
    }
    // Not of the scenario's arena: the thread may outlive a failing body.
    struct proxy *proxy = memory_zeroed(1, sizeof *proxy);
    proxy->scenario = scenario;
    proxy->directory = directory;
    snprintf(proxy->server_path, sizeof proxy->server_path, "%s/.s.PGSQL.%d", pg->directory,
             pg->port);
    proxy->url =
        scenario_text(scenario, "postgresql://postgres@/postgres?host=%s&port=%d", directory, PORT);
    for (size_t i = 0; i < LINKS_MAX; i++) {
        proxy->links[i] = (struct link){.client = -1, .server = -1};
    }
    pthread_mutex_init(&proxy->mutex, NULL);
    proxy->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    proxy->listen_fd = listen_at(scenario_text(scenario, "%s/.s.PGSQL.%d", directory, PORT));
    if (pthread_create(&proxy->thread, NULL, run, proxy) != 0) {
        scenario_fail("cannot start the proxy's thread");
    }
    proxy->next = proxies;
    proxies = proxy;
    return proxy;
}

const char *proxy_url(const struct proxy *proxy)
{
    return proxy->url;
}

const char *proxy_directory(const struct proxy *proxy)
{
    return proxy->directory;
}

static void lock(struct proxy *proxy)
{
    pthread_mutex_lock(&proxy->mutex);
}

static void unlock_and_wake(struct proxy *proxy)
{
    pthread_mutex_unlock(&proxy->mutex);
    eventfd_write(proxy->wake_fd, 1);
}

void proxy_cut_all(struct proxy *proxy)
{
    lock(proxy);
    for (size_t i = 0; i < LINKS_MAX; i++) {
        if (proxy->links[i].used) {
            link_close(&proxy->links[i]);
        }
    }
    unlock_and_wake(proxy);
}

void proxy_set_open(struct proxy *proxy, bool open)
{
    lock(proxy);
    proxy->closed = !open;
    unlock_and_wake(proxy);
}

void proxy_set_rate(struct proxy *proxy, size_t bytes_a_second)
{
    lock(proxy);
    proxy->bytes_a_tick = bytes_a_second / (1000 / TICK_MS);
    unlock_and_wake(proxy);
}

void proxy_cut_at_commit(struct proxy *proxy, enum proxy_cut cut)
{
    lock(proxy);
    proxy->armed = cut;
    unlock_and_wake(proxy);
}

void proxy_hold_at_commit(struct proxy *proxy)
{
    lock(proxy);
    proxy->holds = true;
    unlock_and_wake(proxy);
}

int proxy_cuts_fired(struct proxy *proxy)
{
    lock(proxy);
    int fired = proxy->fired;
    pthread_mutex_unlock(&proxy->mutex);
    return fired;
}

static int freeze(struct proxy *proxy, bool listeners_only)
{
    int count = 0;
    lock(proxy);
    for (size_t i = 0; i < LINKS_MAX; i++) {
        struct link *link = &proxy->links[i];
        if (link->used && link->mode == LINK_FORWARD && (link->listens || !listeners_only)) {
            link->mode = LINK_FROZEN;
            buffer_clear(&link->to_client, READ_BYTES);
            buffer_clear(&link->to_server, READ_BYTES);
            count++;
        }
    }
    unlock_and_wake(proxy);
    return count;
}

int proxy_freeze_listeners(struct proxy *proxy)
{
    return freeze(proxy, true);
}

int proxy_freeze_all(struct proxy *proxy)
{
    return freeze(proxy, false);
}

static void proxy_stop(struct proxy *proxy)
{
    lock(proxy);
    proxy->stopping = true;
    unlock_and_wake(proxy);
    pthread_join(proxy->thread, NULL);
    for (size_t i = 0; i < LINKS_MAX; i++) {
        link_close(&proxy->links[i]);
    }
    close_end(&proxy->listen_fd);
    close_end(&proxy->wake_fd);
    pthread_mutex_destroy(&proxy->mutex);
    free(proxy);
}

void proxy_stop_all(struct scenario *scenario)
{
    struct proxy **link = &proxies;
    while (*link != NULL) {
        struct proxy *proxy = *link;
        if (proxy->scenario == scenario) {
            *link = proxy->next;
            proxy_stop(proxy);
        } else {
            link = &proxy->next;
        }
    }
}
