// The ring at the start of the outbox: what the last run of this boot acknowledged in memory alone
// is appended, in the one commit that every start makes, after what was in the log, which is older.
//
// What is not there is no reason to stop: a memory acknowledgement survives the process and nothing
// else, and nobody could mend it. It is counted, as is what another boot took with it, of which the
// disk knows the least number, and the outbox goes on with what came before: what comes behind
// something missing is not applied, since PostgreSQL is to hold a prefix of what was acknowledged.
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "cache/outbox.h"

enum { OUTBOX_PART = 16, RING_BYTES_MIN = 1 << 18, RING_BYTES_MAX = 16 << 20, FREE_PART = 8 };

struct takeover {
    struct outbox *outbox;
    size_t count;
    bool is_newer; // than the outbox, which is an old copy
};

// What is in the outbox already is passed over; what does not follow what is there ends it.
static enum error append_record(void *context, uint64_t before_seq, uint64_t seq,
                                struct slice entry)
{
    struct takeover *takeover = context;
    struct outbox *outbox = takeover->outbox;
    if (seq <= outbox->state.last_seq) {
        return ERROR_NONE;
    }
    // Only another life of this outbox can have used numbers that this start gives out.
    if (before_seq > outbox->state.last_seq || seq >= outbox->next_seq) {
        takeover->is_newer = true;
        return ERROR_NOT_FOUND;
    }
    enum error error = outbox_append_encoded(outbox, seq, entry);
    takeover->count += error == ERROR_NONE;
    return error;
}

static uint64_t lost_of(const struct outbox *outbox, const struct outbox_ring_found *found)
{
    uint64_t last_seq = outbox->state.last_seq;
    uint64_t lost = found->last_seq > last_seq ? found->last_seq - last_seq : 0;
    return lost < found->count ? lost : found->count;
}

static enum error append_records(struct outbox *outbox, struct outbox_ring_found *found)
{
    struct takeover takeover = {.outbox = outbox};
    enum error error = outbox_ring_replay(&outbox->directory, append_record, &takeover);
    if (takeover.count > 0) {
        LOG_INFO("memory-acknowledged writes recovered", LOG_INT("count", takeover.count),
                 LOG_INT("newest_seq", outbox->state.last_seq));
    }
    found->count -= takeover.count < found->count ? takeover.count : found->count;
    outbox->lost_count = lost_of(outbox, found);
    if (outbox->lost_count > 0) {
        outbox->puts_ring_aside = true;
        LOG_ERROR("memory-acknowledged writes lost", LOG_INT("count", outbox->lost_count),
                  LOG_INT("newest_seq", found->last_seq),
                  LOG_TEXT("because", takeover.is_newer
                                          ? "the ring of the outbox is newer than the outbox"
                                          : "the ring of the outbox is damaged"));
    }
    return error == ERROR_NOT_FOUND ? ERROR_NONE : error;
}

// Nobody knows what was in it.
static void tell_unknown(const struct outbox *outbox, const char *what)
{
    if (outbox_layout_rings(outbox->state.layout)) {
        LOG_ERROR("ring of the outbox lost", LOG_TEXT("file", OUTBOX_RING_FILE),
                  LOG_TEXT("because", what), LOG_TEXT("dir", outbox->directory.path));
    }
}

// What the disk has of it is of whenever the kernel wrote it out: all that was in it since is not
// counted. A stop in order left nothing in it, whatever the disk says.
static void tell_machine_down(struct outbox *outbox, const struct outbox_ring_found *found)
{
    if (!outbox_layout_rings(outbox->state.layout)) {
        return;
    }
    outbox->lost_count = found->state == OUTBOX_RING_PAST ? lost_of(outbox, found) : 0;
    LOG_WARNING("machine went down: writes acknowledged in memory just before may be lost",
                LOG_INT("at_least", outbox->lost_count), LOG_TEXT("dir", outbox->directory.path));
}

static enum error take_over(struct outbox *outbox, struct outbox_ring_found *found)
{
    switch (found->state) {
    case OUTBOX_RING_PRESENT:
        // Whatever the header says of the newest: that has no checksum, and the records have.
        return append_records(outbox, found);
    case OUTBOX_RING_BLANK: // it was made, and the disk heard nothing of its first use
    case OUTBOX_RING_PAST:
        tell_machine_down(outbox, found);
        break;
    case OUTBOX_RING_FOREIGN:
        tell_unknown(outbox, "it is another outbox's");
        outbox->puts_ring_aside = true;
        break;
    case OUTBOX_RING_DAMAGED:
        tell_unknown(outbox, "it is damaged");
        outbox->puts_ring_aside = true;
        break;
    }
    return ERROR_NONE;
}

enum error outbox_take_over_ring(struct outbox *outbox, struct failure *failure)
{
    const struct outbox_ring_owner owner = {outbox->identity.node, outbox->boot_id};
    struct outbox_ring_found found;
    enum error error = outbox_ring_look(&outbox->directory, &owner, &found);
    if (error == ERROR_NONE) {
        error = take_over(outbox, &found);
    } else if (error == ERROR_NOT_FOUND) {
        tell_unknown(outbox, "it is missing");
        return ERROR_NONE;
    } else {
        return failure_set(failure, error, "cannot read %s/%s: %s", outbox->directory.path,
                           OUTBOX_RING_FILE, strerrordesc_np(errno));
    }
    if (error == ERROR_NONE && !outbox->puts_ring_aside) {
        // One that does not open is made anew, or done without.
        (void)outbox_ring_open(&outbox->ring, &outbox->directory, RING_BYTES_MAX);
    }
    return error;
}

// A small disk is the outbox's: 0 where there is no room for a ring.
static size_t bytes_of_new(const struct outbox *outbox)
{
    size_t bytes = outbox->capacity_pages * outbox->page_bytes / OUTBOX_PART;
    int64_t free_bytes = directory_free_bytes(outbox->directory.path);
    size_t bytes_max = free_bytes < 0 ? 0 : (size_t)free_bytes / FREE_PART;
    bytes = bytes > RING_BYTES_MAX ? RING_BYTES_MAX : bytes;
    bytes = bytes < RING_BYTES_MIN || bytes > bytes_max ? RING_BYTES_MIN : bytes;
    return bytes > bytes_max ? 0 : bytes / RING_HEADER_BYTES * RING_HEADER_BYTES;
}

static enum error make(struct outbox *outbox)
{
    size_t bytes = bytes_of_new(outbox);
    if (bytes == 0) {
        errno = ENOSPC;
        return ERROR_FULL;
    }
    return outbox_ring_make(&outbox->ring, &outbox->directory, bytes);
}

// Only now, since a start that fails before its commit is to find it again.
static void put_aside(struct outbox *outbox)
{
    char *old_path = directory_put_aside(&outbox->directory, OUTBOX_RING_FILE);
    if (old_path != NULL) {
        LOG_WARNING("ring of the outbox put aside", LOG_TEXT("file", old_path));
    }
    free(old_path);
    outbox->puts_ring_aside = false;
}

// What is in it would be judged again by the next start.
static void forget_judged(const struct outbox *outbox)
{
    if (unlinkat(outbox->directory.fd, OUTBOX_RING_FILE, 0) == 0 &&
        directory_sync(&outbox->directory) != ERROR_NONE) {
        LOG_WARNING("directory not synced", LOG_TEXT("dir", outbox->directory.path));
    }
}

void outbox_make_ring(struct outbox *outbox, bool is_quiet)
{
    const struct outbox_ring_owner owner = {outbox->identity.node, outbox->boot_id};
    if (outbox->puts_ring_aside) {
        put_aside(outbox);
    }
    // What is in one that is there counts no more.
    if (outbox->ring.header != NULL && outbox->ring.capacity_bytes < bytes_of_new(outbox)) {
        outbox_ring_close(&outbox->ring);
    }
    if (outbox->ring.header == NULL && make(outbox) != ERROR_NONE) {
        if (!is_quiet) {
            LOG_WARNING("outbox goes without its ring; what is acknowledged in memory is synced",
                        LOG_TEXT("dir", outbox->directory.path),
                        LOG_TEXT("error", strerrordesc_np(errno)));
        }
        forget_judged(outbox);
        return;
    }
    outbox_ring_begin(&outbox->ring, &owner);
}

bool outbox_leave_lost_ring(struct outbox *outbox)
{
    if (outbox->ring.header == NULL ||
        !directory_has_lost(&outbox->directory, OUTBOX_RING_FILE, outbox->ring.fd)) {
        return false;
    }
    LOG_ERROR("ring of the outbox deleted or moved away; it is made anew",
              LOG_TEXT("file", OUTBOX_RING_FILE), LOG_TEXT("dir", outbox->directory.path));
    outbox_ring_close(&outbox->ring);
    return true;
}
