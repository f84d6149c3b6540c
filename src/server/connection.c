// Bytes that came are taken and answered in one go, as far as the cache knows the answers. All else
// (answers that came home by mail, a backlog, room to write) only notes that there is something to
// do, and ends in connection_turn: there the connection takes what it may of its backlog, writes
// once, and settles what it waits for next. So it is written to once however many answers came
// home.
//
//   recv() -> [reception or in] -> session_take -> session.out -> send()
//
// Events are edge-triggered, which spares the kernel a second look at each socket that was read:
// one tells that bytes came or room was made, not that there are some. So after a read that may
// have left some behind, the connection asks for a turn to read on. An event that is added anew
// tells what is there at that moment.
//
// A read also stops behind a message that descriptors came with, which are closed unseen since no
// read asks for them, and before a byte sent out of band. Nothing in the protocol does so and no
// flag of recv() tells; so a while after its last read each connection is read once more.
//
// A client in the middle of sending what is refused would find its send broken and never read why
// (EPIPE). So it gets the answer and the end, and what it still sends is thrown away for a while.
//
// What was read stays in the loop's reception (reception.h) unless something of it is left, and
// answers are made in a buffer that the loop lends to one connection after another, which keeps
// what the socket did not take. So an idle connection holds no buffer of its own, and the
// processor's cache holds the one that all use.
//
// All on the loop's thread.

#include "server/connection.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/memory.h"
#include "server/loop.h"

enum {
    LENT_BYTES_MAX = 64 << 10,   // of the loop's buffer for answers
    READ_BYTES_MAX = 1 << 20,    // at once, into a buffer that is known to get large
    SMALL_INPUT_BYTES = 1 << 20, // what a connection may keep unread whatever the others do
    DISCARD_US_MAX = 5 * CLOCK_US_PER_S,
    DISCARD_BYTES_MAX = 64 << 20,
};

// A client that sends nothing for so long has met the end.
static const struct timeval DISCARD_PAUSE = {.tv_sec = 1};

static void on_readable(evutil_socket_t fd, short what, void *context);
static void on_writable(evutil_socket_t fd, short what, void *context);

struct connection *connection_open(struct loop *loop, int fd, bool read_only)
{
    struct connection *connection = memory_zeroed(1, sizeof *connection);
    connection->loop = loop;
    connection->fd = fd;
    connection->read_event = event_new(loop->base, fd, EV_READ | EV_CLOSED | EV_ET | EV_PERSIST,
                                       on_readable, connection);
    connection->write_event =
        event_new(loop->base, fd, EV_WRITE | EV_ET | EV_PERSIST, on_writable, connection);
    CHECK(connection->read_event != NULL && connection->write_event != NULL);
    session_init(&connection->session, &loop->desk, read_only, connection);
    return connection;
}

bool connection_is_done(const struct connection *connection)
{
    return connection->fd < 0 && connection->session.flights_count == 0;
}

void connection_free(struct connection *connection)
{
    CHECK(connection->fd < 0);
    session_deinit(&connection->session);
    free(connection);
}

static void count_input(struct connection *connection)
{
    size_t len = buffer_len(&connection->in);
    connection->loop->input_bytes += len - connection->in_counted;
    connection->in_counted = len;
}

void connection_close(struct connection *connection)
{
    if (connection->fd < 0) {
        return;
    }
    CHECK(!connection->is_received);
    event_free(connection->read_event);
    event_free(connection->write_event);
    close(connection->fd);
    connection->fd = -1;
    buffer_deinit(&connection->in);
    count_input(connection);
    session_abandon(&connection->session);
    loop_on_closed(connection->loop, connection);
}

// ---- Events

static void set_event(struct event *event, bool *pending, bool wanted)
{
    if (*pending != wanted) {
        int result = wanted ? event_add(event, NULL) : event_del(event);
        CHECK(result == 0);
        *pending = wanted;
    }
}

// Nothing of ours is on its way to the client or to be decided for it.
static bool is_quiet(const struct connection *connection)
{
    return connection->session.flights_count == 0 && buffer_len(&connection->session.out) == 0 &&
           !connection->has_backlog;
}

bool connection_is_idle(const struct connection *connection)
{
    return connection->session.flights_count == 0 && connection->session.watch.count == 0;
}

static void begin_discarding(struct connection *connection)
{
    struct loop *loop = connection->loop;
    if (loop->draining || shutdown(connection->fd, SHUT_WR) < 0) {
        connection_close(connection);
        return;
    }
    connection->discards = true;
    connection->input_left = false;
    connection->discards_until_boot_us = loop->desk.dispatch.now_boot_us + DISCARD_US_MAX;
    set_event(connection->write_event, &connection->writes, false);
    set_event(connection->read_event, &connection->reads, false);
    CHECK(event_add(connection->read_event, &DISCARD_PAUSE) == 0);
    connection->reads = true;
}

static void settle(struct connection *connection)
{
    if (connection->input_ended && is_quiet(connection)) {
        if (connection->input_refused) {
            begin_discarding(connection);
        } else {
            connection_close(connection);
        }
        return;
    }
    bool may_read = !connection->input_ended && !connection->has_backlog &&
                    session_may_take(&connection->session);
    set_event(connection->read_event, &connection->reads, may_read);
    set_event(connection->write_event, &connection->writes,
              buffer_len(&connection->session.out) > 0);
    bool may_take_on = connection->has_backlog && session_may_take(&connection->session);
    if (may_take_on || (may_read && connection->input_left)) {
        loop_give_turn(connection->loop, connection);
    }
}

// ---- Input

static void end_input(struct connection *connection)
{
    connection->input_ended = true;
    connection->has_backlog = false;
    buffer_deinit(&connection->in);
    count_input(connection);
}

// A large message that finds the loop's memory for input used up: refused, since to wait for room
// that other half-sent messages hold could be for ever.
static void refuse_input(struct connection *connection)
{
    struct loop *loop = connection->loop;
    if (log_is_due(&loop->input_logged_boot_us, loop->desk.dispatch.now_boot_us)) {
        LOG_WARNING("input refused", LOG_INT("bytes", buffer_len(&connection->in)),
                    LOG_INT("received_bytes", loop->input_bytes),
                    LOG_INT("limit_bytes", LOOP_INPUT_BYTES_MAX));
    }
    session_refuse(&connection->session, buffer_slice(&connection->in));
    connection->input_refused = true;
    end_input(connection);
}

static void borrow_buffer(struct connection *connection)
{
    struct buffer *lent = &connection->loop->answers;
    if (connection->session.out.bytes == NULL) {
        connection->session.out = *lent;
        *lent = (struct buffer){0};
    }
}

// Unless there are answers in it.
static void give_buffer_back(struct connection *connection)
{
    struct buffer *lent = &connection->loop->answers;
    struct buffer *out = &connection->session.out;
    if (buffer_len(out) == 0 && lent->bytes == NULL && out->capacity <= LENT_BYTES_MAX) {
        *lent = *out;
        *out = (struct buffer){0};
    } else if (buffer_len(out) == 0) {
        buffer_deinit(out);
    }
}

// Gives the session what was read, and keeps the rest. Without a receipt it is the backlog.
static void take(struct connection *connection, const struct receipt *receipt)
{
    size_t consumed;
    bool is_in_buffer = receipt == NULL || receipt->bytes.len == 0;
    struct slice bytes = is_in_buffer ? buffer_slice(&connection->in) : receipt->bytes;
    dispatch_catch_up(&connection->loop->desk.dispatch);
    borrow_buffer(connection);
    enum taking taking =
        session_take(&connection->session, bytes, receipt != NULL ? receipt->gets : NULL,
                     receipt != NULL ? receipt->gets_count : 0, &consumed);
    connection->has_backlog = taking == TAKING_PAUSED || taking == TAKING_YIELDS;
    if (is_in_buffer) {
        buffer_consume(&connection->in, consumed);
    } else {
        buffer_append(&connection->in, bytes.at + consumed, bytes.len - consumed);
    }
    if (taking == TAKING_ENDED) {
        connection->input_refused = true;
        end_input(connection);
    }
    if (buffer_len(&connection->in) == 0) {
        buffer_clear(&connection->in, 0);
    }
    count_input(connection);
    if (taking == TAKING_HUNGRY && buffer_len(&connection->in) > SMALL_INPUT_BYTES &&
        connection->loop->input_bytes > LOOP_INPUT_BYTES_MAX) {
        refuse_input(connection);
    }
}

static size_t clamp(size_t value, size_t min, size_t max)
{
    return value < min ? min : value > max ? max : value;
}

// One read(). True: what came is in the loop's reception, which is to be taken if it is `complete`.
static bool receive(struct connection *connection, bool *complete)
{
    struct reception *reception = &connection->loop->reception;
    bool into_buffer = buffer_len(&connection->in) > 0;
    size_t room = RECEPTION_READ_BYTES;
    uint8_t *at = reception_room(reception);
    if (into_buffer) {
        room = clamp(buffer_len(&connection->in), RECEPTION_READ_BYTES, READ_BYTES_MAX);
        at = buffer_reserve(&connection->in, room);
    }
    ssize_t len = recv(connection->fd, at, room, MSG_DONTWAIT);
    // A read that did not fill the room has emptied the socket (epoll(7), questions and answers),
    // but for its end, which is told of once, together with the bytes before it.
    connection->input_left = (len >= 0 && (size_t)len == room) || (len < 0 && errno == EINTR) ||
                             (len > 0 && connection->end_told);
    connection->may_hide = len > 0;
    if (len < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) {
        return false;
    }
    connection->loop->looks_again = true;
    if (len < 0 || FAULT_POINT(READ)) {
        connection_close(connection);
        return false;
    }
    if (len == 0) {
        // The client may have closed one direction only, and still waits for its answers.
        end_input(connection);
        return false;
    }
    connection->is_received = true;
    if (into_buffer) {
        buffer_commit(&connection->in, (size_t)len);
        *complete = reception_add(reception, connection, 0, &connection->session,
                                  buffer_slice(&connection->in));
    } else {
        *complete = reception_add(reception, connection, (size_t)len, &connection->session,
                                  slice_of(at, (size_t)len));
    }
    return true;
}

static void discard(struct connection *connection)
{
    struct loop *loop = connection->loop;
    ssize_t len =
        recv(connection->fd, reception_room(&loop->reception), RECEPTION_READ_BYTES, MSG_DONTWAIT);
    bool is_passing = len < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR);
    connection->discarded_bytes += len > 0 ? (size_t)len : 0;
    if ((len <= 0 && !is_passing) || connection->discarded_bytes > DISCARD_BYTES_MAX ||
        loop->desk.dispatch.now_boot_us >= connection->discards_until_boot_us) {
        connection_close(connection);
        return;
    }
    connection->input_left = len == RECEPTION_READ_BYTES || (len < 0 && errno == EINTR);
    if (connection->input_left || connection->end_told) {
        loop_give_turn(loop, connection);
    }
}

void connection_look_again(struct connection *connection)
{
    if (connection->may_hide && connection->reads && !connection->discards) {
        connection->input_left = true;
        loop_give_turn(connection->loop, connection);
    }
}

void connection_drain(struct connection *connection)
{
    bool complete;
    if (connection->discards) {
        connection_close(connection);
        return;
    }
    if (connection->fd >= 0 && !connection->has_backlog && !connection->input_ended &&
        receive(connection, &complete)) {
        loop_take_received(connection->loop);
    }
    if (connection->fd >= 0) {
        connection->input_ended = true;
        loop_give_turn(connection->loop, connection);
    }
}

// ---- Output

// One send() of all there is. False: the connection is closed.
static bool write_once(struct connection *connection)
{
    struct buffer *out = &connection->session.out;
    if (buffer_len(out) == 0) {
        return true;
    }
    struct slice bytes = buffer_slice(out);
    ssize_t len = send(connection->fd, bytes.at, bytes.len, MSG_NOSIGNAL | MSG_DONTWAIT);
    bool is_passing = len < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR);
    if (FAULT_POINT(WRITE) || (len < 0 && !is_passing)) {
        connection_close(connection);
        return false;
    }
    if (len > 0) {
        loop_note_activity(connection->loop, connection);
        buffer_consume(out, (size_t)len);
        session_count_out(&connection->session);
        session_settle_watch(&connection->session);
    }
    return true;
}

// What could be answered at once goes out at once: a client on another core reads it while the loop
// is busy with the next one's bytes. What is left of the bytes waits for a turn.
static void answer(struct connection *connection)
{
    if (connection->fd >= 0 && write_once(connection)) {
        give_buffer_back(connection);
        settle(connection);
    }
}

void connection_take(struct connection *connection, const struct receipt *receipt)
{
    CHECK(connection->is_received);
    connection->is_received = false;
    loop_note_activity(connection->loop, connection);
    take(connection, receipt);
    answer(connection);
}

static void on_readable(evutil_socket_t fd, short what, void *context)
{
    (void)fd;
    struct connection *connection = context;
    bool complete;
    connection->end_told |= (what & EV_CLOSED) != 0;
    if (connection->discards && (what & EV_TIMEOUT) != 0) {
        connection_close(connection);
    } else if (connection->discards) {
        loop_look_at_clock(connection->loop);
        discard(connection);
    } else if (!receive(connection, &complete)) {
        answer(connection);
    } else if (complete) {
        loop_take_received(connection->loop);
    }
}

static void on_writable(evutil_socket_t fd, short what, void *context)
{
    (void)fd;
    (void)what;
    struct connection *connection = context;
    loop_give_turn(connection->loop, connection);
}

void connection_turn(struct connection *connection)
{
    if (connection->fd < 0) {
        return;
    }
    bool complete;
    if (connection->discards) {
        discard(connection);
        return;
    }
    if (connection->has_backlog && session_may_take(&connection->session)) {
        take(connection, NULL);
    } else if (connection->reads && connection->input_left && receive(connection, &complete)) {
        loop_take_received(connection->loop);
        return;
    }
    answer(connection);
}
