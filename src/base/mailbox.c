#include "base/mailbox.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include "base/check.h"
#include "base/fault.h"

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

// Says whether the reader has to be woken.
static bool append(struct mailbox *mailbox, struct message *message)
{
    message->next = NULL;
    *mailbox->last = message;
    mailbox->last = &message->next;
    mailbox->count++;
    mailbox->bytes += message->bytes;
    bool was_woken = mailbox->woken;
    mailbox->woken = true;
    return !was_woken;
}

static void signal_reader(const struct mailbox *mailbox)
{
    uint64_t one = 1;
    ssize_t written = write(mailbox->wake_fd, &one, sizeof one);
    CHECK(written == sizeof one);
}

bool mailbox_offer(struct mailbox *mailbox, struct message *message)
{
    if (FAULT_POINT(MAILBOX_FULL)) {
        return false;
    }
    lock(mailbox);
    bool accepted = !is_full(mailbox);
    bool wake = accepted && append(mailbox, message);
    unlock(mailbox);
    if (wake) {
        signal_reader(mailbox);
    }
    return accepted;
}

void mailbox_push(struct mailbox *mailbox, struct message *message)
{
    lock(mailbox);
    bool wake = append(mailbox, message);
    unlock(mailbox);
    if (wake) {
        signal_reader(mailbox);
    }
}

void mailbox_wake(struct mailbox *mailbox)
{
    lock(mailbox);
    bool wake = !mailbox->woken;
    mailbox->woken = true;
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

struct message *mailbox_take(struct mailbox *mailbox)
{
    lock(mailbox);
    struct message *first = mailbox->first;
    if (mailbox->woken) {
        // Drained under the mutex: outside it, this could swallow the signal of a message that
        // came after the take. A writer that set `woken` and has not yet written costs the reader
        // one empty turn.
        uint64_t signals;
        ssize_t drained = read(mailbox->wake_fd, &signals, sizeof signals);
        (void)drained;
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
