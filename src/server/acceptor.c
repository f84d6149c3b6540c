// A bounded number of clients is accepted each time a socket is ready, so that a storm of them does
// not starve those that are connected. Where the process runs out of descriptors, accepting pauses
// and is tried again: the clients wait in the kernel's backlog meanwhile.

#include "server/acceptor.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/memory.h"
#include "server/mail.h"

enum { ACCEPTED_A_TURN_MAX = 64 };

static const int64_t PAUSE_MIN_US = 50000;
static const int64_t PAUSE_MAX_US = 1000000;

struct door {
    struct acceptor *acceptor;
    struct listener listener;
    struct event *event;
    bool read_only;
};

struct acceptor {
    struct acceptor_options options;
    struct door doors[LISTENERS_MAX];
    size_t doors_count;
    struct event *pause_event;
    int64_t pause_us; // 0: nothing is wrong
};

static void on_client(evutil_socket_t fd, short what, void *context);
static void on_pause_over(evutil_socket_t fd, short what, void *context);

static enum error open_door(struct acceptor *acceptor, const char *path, bool read_only,
                            struct failure *failure)
{
    struct door *door = &acceptor->doors[acceptor->doors_count];
    struct event_base *base = acceptor->options.loops[0]->base;
    enum error error =
        listener_open(&door->listener, path, acceptor->options.settings->socket_mode, failure);
    if (error != ERROR_NONE) {
        return failure_of_setting(failure, error,
                                  read_only ? "server.read_only_socket" : "server.socket");
    }
    door->acceptor = acceptor;
    door->read_only = read_only;
    door->event = event_new(base, door->listener.fd, EV_READ | EV_PERSIST, on_client, door);
    CHECK(door->event != NULL && event_add(door->event, NULL) == 0);
    acceptor->doors_count++;
    return ERROR_NONE;
}

enum error acceptor_open(const struct acceptor_options *options, struct acceptor **acceptor,
                         struct failure *failure)
{
    const struct server_settings *settings = options->settings;
    struct acceptor *made = memory_zeroed(1, sizeof *made);
    made->options = *options;
    made->pause_event = event_new(options->loops[0]->base, -1, 0, on_pause_over, made);
    CHECK(made->pause_event != NULL);
    enum error error = open_door(made, settings->socket, false, failure);
    if (error == ERROR_NONE && settings->read_only_socket[0] != '\0') {
        error = open_door(made, settings->read_only_socket, true, failure);
    }
    if (error != ERROR_NONE) {
        acceptor_close(made);
        return error;
    }
    *acceptor = made;
    return ERROR_NONE;
}

void acceptor_close(struct acceptor *acceptor)
{
    for (size_t i = 0; i < acceptor->doors_count; i++) {
        event_free(acceptor->doors[i].event);
        listener_close(&acceptor->doors[i].listener);
    }
    event_free(acceptor->pause_event);
    free(acceptor);
}

static struct loop *least_loaded(const struct acceptor *acceptor)
{
    struct loop *best = acceptor->options.loops[0];
    size_t best_count = atomic_load(&best->connections_count);
    for (size_t i = 1; i < acceptor->options.loops_count; i++) {
        struct loop *loop = acceptor->options.loops[i];
        size_t count = atomic_load(&loop->connections_count);
        if (count < best_count) {
            best = loop;
            best_count = count;
        }
    }
    return best;
}

// The client went away while it waited in the backlog, or a signal came: the next may be well.
static bool is_passing(int error)
{
    return error == ECONNABORTED || error == EINTR || error == EPERM;
}

static void pause_accepting(struct acceptor *acceptor, int error)
{
    if (acceptor->pause_us == 0) {
        LOG_ERROR("accept failed", LOG_TEXT("error", strerrordesc_np(error)));
    }
    int64_t doubled_us = acceptor->pause_us * 2;
    acceptor->pause_us = doubled_us < PAUSE_MIN_US   ? PAUSE_MIN_US
                         : doubled_us > PAUSE_MAX_US ? PAUSE_MAX_US
                                                     : doubled_us;
    for (size_t i = 0; i < acceptor->doors_count; i++) {
        CHECK(event_del(acceptor->doors[i].event) == 0);
    }
    struct timeval after = {.tv_sec = acceptor->pause_us / CLOCK_US_PER_S,
                            .tv_usec = acceptor->pause_us % CLOCK_US_PER_S};
    CHECK(event_add(acceptor->pause_event, &after) == 0);
}

static void on_pause_over(evutil_socket_t fd, short what, void *context)
{
    (void)fd;
    (void)what;
    struct acceptor *acceptor = context;
    for (size_t i = 0; i < acceptor->doors_count; i++) {
        CHECK(event_add(acceptor->doors[i].event, NULL) == 0);
    }
}

static void note_accepting(struct acceptor *acceptor)
{
    if (acceptor->pause_us != 0) {
        LOG_INFO("accepting again");
        acceptor->pause_us = 0;
    }
}

static int accept_client(int listening_fd)
{
    if (FAULT_POINT(ACCEPT)) {
        errno = EMFILE;
        return -1;
    }
    return accept4(listening_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
}

static void on_client(evutil_socket_t listening_fd, short what, void *context)
{
    (void)what;
    struct door *door = context;
    struct acceptor *acceptor = door->acceptor;
    for (int accepted = 0; accepted < ACCEPTED_A_TURN_MAX; accepted++) {
        int fd = accept_client(listening_fd);
        if (fd < 0 && is_passing(errno)) {
            continue;
        }
        if (fd < 0) {
            if (errno != EAGAIN && errno != EWOULDBLOCK) {
                pause_accepting(acceptor, errno);
            }
            return;
        }
        note_accepting(acceptor);
        if (admission_admits(acceptor->options.admission, fd)) {
            mail_socket(least_loaded(acceptor), fd, door->read_only);
        } else {
            close(fd);
        }
    }
}
