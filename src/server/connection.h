// One client's socket: moves bytes between it and its session, and decides when to read, to write
// and to close. Made and closed by the loop's thread only; freed by the loop after the pass in
// which it was closed and its last request came home.
#pragma once

#include <event2/event.h>

#include "server/reception.h"

struct loop;

struct connection {
    struct loop *loop;
    int fd; // -1: closed
    struct event *read_event;
    struct event *write_event;
    bool reads;         // read_event is pending
    bool writes;        // write_event is pending
    bool input_left;    // the socket may hold bytes that no event will tell of
    bool end_told;      // the client sends no more: what is left ends with the end
    bool input_ended;   // nothing will be taken any more: close once all is answered
    bool input_refused; // and the client may still be sending what was refused
    bool discards;      // all is answered: what still comes is thrown away
    int64_t discards_until_boot_us;
    size_t discarded_bytes;
    bool has_backlog;  // whole messages may be left in `in`
    bool is_received;  // what was read waits in the loop's reception
    bool may_hide;     // the last read brought something, and may have stopped before the rest
    struct buffer in;  // what was read and not taken yet
    size_t in_counted; // what of it the loop's input_bytes includes
    struct session session;
    int64_t active_boot_us; // bytes last came or went
    // Lists of the loop:
    TAILQ_ENTRY(connection) in_all; // of one of: open, lingering, closed
    TAILQ_ENTRY(connection) in_turns;
    bool has_turn; // is in the list of those to be looked at before the loop sleeps
};

// Takes the socket over.
struct connection *connection_open(struct loop *loop, int fd, bool read_only);

// Its part of the loop's reception is to be taken and answered.
void connection_take(struct connection *connection, const struct receipt *receipt);

// What the loop gives it before it sleeps, to each that asked (loop_give_turn): goes on with its
// backlog, sends what is to be sent, closes what is done with.
void connection_turn(struct connection *connection);

// Reads what has arrived by now and nothing after it.
void connection_drain(struct connection *connection);

// Where the last read may have left bytes behind: reads once more at its next turn.
void connection_look_again(struct connection *connection);

// Closes the socket; the object stays until the loop frees it.
void connection_close(struct connection *connection);

// Owes its client nothing, and does not watch.
bool connection_is_idle(const struct connection *connection);

// Closed, and none of its requests is out.
bool connection_is_done(const struct connection *connection);
void connection_free(struct connection *connection);
