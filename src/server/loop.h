// One thread that serves connections: libevent tells what is ready, the mailbox brings what other
// threads decided. Other threads reach it only through its mailbox (mail.h).
#pragma once

#include <event2/event.h>
#include <pthread.h>
#include <stdatomic.h>

#include "server/connection.h"
#include "server/own_fetch.h"

enum { LOOP_INPUT_BYTES_MAX = 256 << 20 };

TAILQ_HEAD(connections, connection);

struct loop_options {
    const struct cache_port *cache; // outlives the loop
    struct status *status;
    struct mailbox *writer;
    struct mailbox *pg;
    struct fetch_port fetch; // .worker NULL: none
    const struct node_facts *facts;
    const struct latency_board *latencies; // of all loops
    struct latency *latency;               // of this one
    size_t value_bytes_max;
    size_t not_taken_bytes_max;
    int64_t timeout_ms;
    enum ack ack;
    int64_t busy_poll_us;    // 0: not at all
    int64_t idle_timeout_us; // 0: never
};

struct loop {
    // Constant:
    struct loop_options options;
    struct event_base *base;
    struct event *mail_event;
    struct event *tick_event;
    struct own_fetch own_fetch; // of the loop's thread
    int tick_fd;                // a timer: a timeout of epoll's would be set anew with each sleep
    pthread_t thread;
    // Any thread:
    struct mailbox mailbox;
    _Atomic size_t connections_count; // given to it and not closed
    // Of the loop's thread:
    struct desk desk;
    struct connections connections; // open
    struct connections turns;       // to be looked at before the loop sleeps
    struct connections closed;      // to be freed after this pass
    struct connections lingering;   // closed, with requests out
    struct reception reception;     // bytes just read
    struct buffer answers;          // empty; lent to the connection whose requests are taken
    size_t input_bytes;             // in the connections' own buffers
    int64_t input_logged_boot_us;   // when it was last said that they are full
    bool looks_again;               // bytes came since the connections were last looked at for more
    bool draining;
    bool stopping;
    int64_t served_boot_us; // when bytes or mail last came
    int64_t tick_us;        // after which the tick was set to come; 0: it is not
    // Shared, under mutex:
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool running; // the thread takes its mail
    bool drained; // it was told to drain and has no connection left
    enum error start_error;
};

// No thread yet. ERROR_SYSTEM where file descriptors run out.
enum error loop_create(const struct loop_options *options, struct loop **loop);

// Starts the thread; returns once it serves. ERROR_FULL where the cache has no reader slot.
enum error loop_start(struct loop *loop);

// Reads what clients have sent by now and nothing after it; connections close once answered.
void loop_begin_drain(struct loop *loop);
// True once there is no connection left, false at the deadline.
bool loop_await_drained(struct loop *loop, int64_t deadline_boot_us);

// Ends the thread and closes what connections are left.
void loop_stop(struct loop *loop);

// After loop_stop, or without a start. Frees what lies in the mailbox.
void loop_destroy(struct loop *loop);

// Any thread.
bool loop_is_running(struct loop *loop);
// What is shared, for the modules of the loop.
void loop_lock(struct loop *loop);
void loop_unlock(struct loop *loop);

// For connections, on the loop's thread:

// The present turn of one connection is over when it is told: it is looked at once more before
// the loop sleeps.
void loop_give_turn(struct loop *loop, struct connection *connection);
// Bytes came or went.
void loop_note_activity(struct loop *loop, struct connection *connection);
// Reads the clock for all that follows.
void loop_look_at_clock(struct loop *loop);
// Has all connections in the reception take what they received, and answer it.
void loop_take_received(struct loop *loop);
void loop_on_closed(struct loop *loop, struct connection *connection);
