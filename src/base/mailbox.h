// Where threads meet: an ordered queue of messages with one reader and any number of writers. A
// message is a heap object that begins with a `struct message`; pushing it hands it over, taking
// it makes the taker its owner. The reader is woken through an eventfd, and only on the edge from
// empty to not empty.
//
// Bounds: mailbox_offer refuses beyond the limit, and its caller must have an answer to that.
// mailbox_push never refuses and is for what is bounded elsewhere: answers to requests (as many as
// there were requests) and messages whose sender stops reading its source while the box is full.
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct message {
    struct message *next; // owned by the mailbox while inside
    int kind;             // enum message_kind, base/messages.h
    size_t bytes;         // counted against the limit
};

struct mailbox {
    pthread_mutex_t mutex;
    // Shared, under mutex:
    struct message *first;
    struct message **last;
    size_t count;
    size_t bytes;
    bool woken;    // its reader is told, or is about to be, and has not taken since
    bool signaled; // the eventfd is readable, or is about to be
    // Constant:
    size_t count_max;
    size_t bytes_max;
    int wake_fd;
};

// ERROR_SYSTEM where no file descriptor is left.
enum error mailbox_init(struct mailbox *mailbox, size_t count_max, size_t bytes_max);

// The mailbox must be empty.
void mailbox_deinit(struct mailbox *mailbox);

// Any thread. False, and the message stays the caller's, where the box is at its limit.
bool mailbox_offer(struct mailbox *mailbox, struct message *message);

// Any thread. Always takes it.
void mailbox_push(struct mailbox *mailbox, struct message *message);

// Any thread. The same without a wake-up, for what is not urgent: its reader finds it, in its
// place, when something else comes, or when it is nudged.
void mailbox_push_quietly(struct mailbox *mailbox, struct message *message);
void mailbox_nudge(struct mailbox *mailbox);

// Any thread: wakes the reader without a message.
void mailbox_wake(struct mailbox *mailbox);

// Any thread: whether mailbox_offer would refuse now.
bool mailbox_is_full(struct mailbox *mailbox);

// Any thread: whether mailbox_take would find nothing now.
bool mailbox_is_empty(struct mailbox *mailbox);

// The reader: everything so far, oldest first, linked by `next`; NULL where there is nothing.
struct message *mailbox_take(struct mailbox *mailbox);

// From here to mailbox_uncork, what the calling thread puts into mailboxes wakes their readers all
// at once: when it uncorks, or after so many messages, so that a long turn does not keep others
// from theirs. Who has many answers to give corks, since a wake-up costs more than an answer. Not
// nested; the thread must not wait for anything that depends on its messages meanwhile.
void mailbox_cork(void);
void mailbox_uncork(void);

// Readable while there is something to take. Only the reader polls it; mailbox_take drains it.
int mailbox_fd(const struct mailbox *mailbox);
