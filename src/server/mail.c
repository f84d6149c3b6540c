// Runs on the loop's thread but for mail_socket and mail_call, which are for the others. The
// mailbox takes whatever comes: it is the home of requests, of which there are no more than the
// sessions' bounds let out, and beside them it gets sockets, one a client, and changes for
// watchers.

#include "server/mail.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/check.h"
#include "base/memory.h"
#include "server/undecided.h"

// What only the server puts into a loop's mailbox, beside enum message_kind.
enum { MESSAGE_SOCKET = 1000, MESSAGE_CALL };

struct socket_message {
    struct message message;
    int fd;
    bool read_only;
};

struct call_message {
    struct message message;
    void (*call)(struct loop *loop, void *context);
    void *context;
    bool done; // shared, under the loop's mutex
};

void mail_socket(struct loop *loop, int fd, bool read_only)
{
    struct socket_message *message = memory_zeroed(1, sizeof *message);
    *message = (struct socket_message){
        .message = {.kind = MESSAGE_SOCKET, .bytes = sizeof *message},
        .fd = fd,
        .read_only = read_only,
    };
    atomic_fetch_add(&loop->connections_count, 1);
    status_add(loop->options.status, STATUS_SERVER_CONNECTIONS, 1);
    mailbox_push(&loop->mailbox, &message->message);
}

void mail_call(struct loop *loop, void (*call)(struct loop *loop, void *context), void *context)
{
    if (!loop_is_running(loop)) {
        call(loop, context);
        return;
    }
    struct call_message message = {
        .message = {.kind = MESSAGE_CALL, .bytes = sizeof message},
        .call = call,
        .context = context,
    };
    mailbox_push(&loop->mailbox, &message.message);
    loop_lock(loop);
    while (!message.done) {
        CHECK(pthread_cond_wait(&loop->changed, &loop->mutex) == 0);
    }
    loop_unlock(loop);
}

static void adopt(struct loop *loop, struct socket_message *message)
{
    struct connection *connection = connection_open(loop, message->fd, message->read_only);
    free(message);
    TAILQ_INSERT_TAIL(&loop->connections, connection, in_all);
    loop_note_activity(loop, connection);
    if (loop->draining) {
        connection_close(connection);
    } else {
        loop_give_turn(loop, connection);
    }
}

static void take_home(struct loop *loop, struct request *request)
{
    struct connection *connection = undecided_take_home(request)->owner;
    if (connection_is_done(connection)) {
        TAILQ_REMOVE(&loop->lingering, connection, in_all);
        TAILQ_INSERT_TAIL(&loop->closed, connection, in_all);
    } else if (connection->fd >= 0) {
        loop_give_turn(loop, connection);
    }
}

static void announce(struct loop *loop, struct changes_message *changes)
{
    struct connection *connection;
    TAILQ_FOREACH(connection, &loop->connections, in_all)
    {
        if (connection->session.watch.count > 0) {
            session_announce(&connection->session, changes);
            loop_give_turn(loop, connection);
        }
    }
    message_destroy(&changes->message);
}

static void answer_call(struct loop *loop, struct call_message *message)
{
    message->call(loop, message->context);
    loop_lock(loop);
    message->done = true;
    pthread_cond_broadcast(&loop->changed);
    loop_unlock(loop);
}

void mail_handle(struct loop *loop)
{
    struct message *message = mailbox_take(&loop->mailbox);
    while (message != NULL) {
        struct message *next = message->next;
        if (message->kind == MESSAGE_SOCKET) {
            adopt(loop, (struct socket_message *)message);
        } else if (message->kind == MESSAGE_CALL) {
            answer_call(loop, (struct call_message *)message);
        } else if (message->kind == MESSAGE_CHANGES) {
            announce(loop, (struct changes_message *)message);
        } else {
            CHECK_VALUES(message->kind == MESSAGE_REQUEST, "kind %d", message->kind);
            take_home(loop, (struct request *)message);
        }
        message = next;
    }
}

void mail_discard(struct loop *loop)
{
    struct message *message = mailbox_take(&loop->mailbox);
    while (message != NULL) {
        struct message *next = message->next;
        CHECK(message->kind != MESSAGE_CALL);
        if (message->kind == MESSAGE_SOCKET) {
            close(((struct socket_message *)message)->fd);
            status_add(loop->options.status, STATUS_SERVER_CONNECTIONS, -1);
            free(message);
        } else {
            message_destroy(message);
        }
        message = next;
    }
}
