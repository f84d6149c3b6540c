#include "base/mailbox.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include "base/check.h"
#include "base/fault.h"

enum { CORKED_MAILBOXES_MAX = 8, CORKED_MESSAGES_MAX = 64 };

// The mailboxes whose readers the thread still has to wake.
static _Thread_local struct cork {
    unsigned depth;
    size_t messages_count; // since they were last woken
    size_t owed_count;
    struct mailbox *owed[CORKED_MAILBOXES_MAX];
} cork;

enum error mailbox_init(struct mailbox *mailbox, size_t count_max, size_t bytes_max)
{
    int wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (wake_fd < 0) {
        return ERROR_SYSTEM;
    }
    *mailbox = (struct mailbox){
        .count_max = count_max,
        .bytes_max = bytes_max,
        .wake_fd = wake_fd,
    };
    mailbox->last = &mailbox->first;
    CHECK(pthread_mutex_init(&mailbox->mutex, NULL) == 0);
    return ERROR_NONE;
}

void mailbox_deinit(struct mailbox *mailbox)
{
    CHECK(mailbox->first == NULL);
    pthread_mutex_destroy(&mailbox->mutex);
    close(mailbox->wake_fd);
}

static void lock(struct mailbox *mailbox)
{
    CHECK(pthread_mutex_lock(&mailbox->mutex) == 0);
}

static void unlock(struct mailbox *mailbox)
{
    CHECK(pthread_mutex_unlock(&mailbox->mutex) == 0);
}

static bool is_full(const struct mailbox *mailbox)
{
    return mailbox->count >= mailbox->count_max || mailbox->bytes >= mailbox->bytes_max;
}

static void append(struct mailbox *mailbox, struct message *message)
{
    message->next = NULL;
    *mailbox->last = message;
    mailbox->last = &message->next;
    mailbox->count++;
    mailbox->bytes += message->bytes;
}

// Says whether the caller has to tell the reader, now or, where it corks, later.
static bool set_woken(struct mailbox *mailbox, bool is_corked)
{
    bool was_woken = mailbox->woken;
    mailbox->woken = true;
    if (was_woken || is_corked) {
        return !was_woken;
    }
    bool was_signaled = mailbox->signaled;
    mailbox->signaled = true;
    return !was_signaled;
}

static void signal_reader(const struct mailbox *mailbox)
{
    uint64_t one = 1;
    ssize_t written = write(mailbox->wake_fd, &one, sizeof one);
    CHECK(written == sizeof one);
}

// Those whose messages were taken meanwhile are awake.
static void pay(void)
{
    for (size_t i = 0; i < cork.owed_count; i++) {
        struct mailbox *mailbox = cork.owed[i];
        lock(mailbox);
        bool waits = mailbox->first != NULL && !mailbox->signaled;
        mailbox->signaled = mailbox->signaled || waits;
        unlock(mailbox);
        if (waits) {
            signal_reader(mailbox);
        }
    }
    cork.owed_count = 0;
    cork.messages_count = 0;
}

// A message was put into the mailbox; `wake`: its reader does not know of any yet.
static void note_message(struct mailbox *mailbox, bool wake)
{
    if (cork.depth == 0) {
        if (wake) {
            signal_reader(mailbox);
        }
        return;
    }
    if (wake) {
        cork.owed[cork.owed_count++] = mailbox;
    }
    if (++cork.messages_count >= CORKED_MESSAGES_MAX || cork.owed_count == CORKED_MAILBOXES_MAX) {
        pay();
    }
}

void mailbox_cork(void)
{
    cork.depth++;
}

void mailbox_uncork(void)
{
    CHECK(cork.depth > 0);
    if (cork.depth == 1) {
        pay();
    }
    cork.depth--;
}

bool mailbox_offer(struct mailbox *mailbox, struct message *message)
{
    if (FAULT_POINT(MAILBOX_FULL)) {
        return false;
    }
    lock(mailbox);
    bool accepted = !is_full(mailbox);
    bool wake = false;
    if (accepted) {
        append(mailbox, message);
        wake = set_woken(mailbox, cork.depth > 0);
    }
    unlock(mailbox);
    if (accepted) {
        note_message(mailbox, wake);
    }
    return accepted;
}

void mailbox_push(struct mailbox *mailbox, struct message *message)
{
    lock(mailbox);
    append(mailbox, message);
    bool wake = set_woken(mailbox, cork.depth > 0);
    unlock(mailbox);
    note_message(mailbox, wake);
}

void mailbox_push_quietly(struct mailbox *mailbox, struct message *message)
{
    lock(mailbox);
    append(mailbox, message);
    unlock(mailbox);
}

void mailbox_nudge(struct mailbox *mailbox)
{
    lock(mailbox);
    bool wake = mailbox->first != NULL && set_woken(mailbox, false);
    unlock(mailbox);
    if (wake) {
        signal_reader(mailbox);
    }
}

void mailbox_wake(struct mailbox *mailbox)
{
    lock(mailbox);
    bool wake = set_woken(mailbox, false);
    unlock(mailbox);
    if (wake) {
        signal_reader(mailbox);
    }
}

bool mailbox_is_full(struct mailbox *mailbox)
{
    lock(mailbox);
    bool full = is_full(mailbox);
    unlock(mailbox);
    return full;
}

bool mailbox_is_empty(struct mailbox *mailbox)
{
    lock(mailbox);
    bool empty = mailbox->first == NULL;
    unlock(mailbox);
    return empty;
}

struct message *mailbox_take(struct mailbox *mailbox)
{
    lock(mailbox);
    struct message *first = mailbox->first;
    if (mailbox->signaled) {
        // Drained under the mutex: outside it, this could swallow the signal of a message that
        // came after the take. A writer that is about to signal costs the reader one empty turn, in
        // which the signal is drained.
        uint64_t signals;
        mailbox->signaled = read(mailbox->wake_fd, &signals, sizeof signals) < 0;
    }
    mailbox->first = NULL;
    mailbox->last = &mailbox->first;
    mailbox->count = 0;
    mailbox->bytes = 0;
    mailbox->woken = false;
    unlock(mailbox);
    return first;
}

int mailbox_fd(const struct mailbox *mailbox)
{
    return mailbox->wake_fd;
}
