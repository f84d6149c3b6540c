// The log at the start of the outbox: what the last run acknowledged from it is appended, in the
// one commit that every start makes. Then it serves this run; where it cannot, a new one is made
// after that commit, by which the old one counts no more.
//
// A log counts only where the outbox says so (outbox_layout_logs; APART is of a release before),
// which an orderly stop takes back. What the outbox has of it already is passed over. One that
// counts and is missing, damaged or another outbox's may have held acknowledged writes: the start
// stops, until somebody says that they are lost. So it does where one that does not count went on
// after the outbox: that is an old copy, from an orderly stop, put back alone.
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "cache/outbox.h"

// Made by the operator beside a log that is lost.
static const char LOST_NAME[] = "outbox.log.lost";

enum { OUTBOX_PART = 8, LOG_BYTES_MIN = 1 << 18, LOG_BYTES_MAX = 4 << 20 };

static size_t log_bytes(size_t outbox_bytes)
{
    size_t bytes = outbox_bytes / OUTBOX_PART;
    return bytes < LOG_BYTES_MIN ? LOG_BYTES_MIN : bytes > LOG_BYTES_MAX ? LOG_BYTES_MAX : bytes;
}

// ---- what the last run left

struct takeover {
    struct outbox *outbox;
    bool is_newer; // than the outbox, which is an old copy
};

static enum error append_entry(void *context, const struct entry *entry)
{
    struct takeover *takeover = context;
    struct outbox *outbox = takeover->outbox;
    // Moved by a commit that left the log as it was. A release that makes none would have taken it
    // over with whatever went beyond it.
    if (entry->seq <= outbox->state.last_seq && outbox->state.layout != OUTBOX_LAYOUT_APART) {
        outbox->moved++;
        return ERROR_NONE;
    }
    // Only another life of this outbox can have used numbers that this start gives out.
    takeover->is_newer = entry->seq >= outbox->next_seq;
    if (entry->seq <= outbox->state.last_seq || takeover->is_newer) {
        return ERROR_CORRUPT;
    }
    enum error error = outbox_append(outbox, entry);
    if (error == ERROR_NONE) {
        outbox->taken_over++;
    }
    return error;
}

static bool is_given_up(const struct outbox *outbox)
{
    char *path = directory_path(&outbox->directory, LOST_NAME);
    bool given_up = access(path, F_OK) == 0;
    free(path);
    return given_up;
}

// ERROR_NONE where somebody has said that what is lost is lost.
static enum error judge(const struct outbox *outbox, const char *what, struct failure *failure)
{
    const char *dir = outbox->directory.path;
    if (is_given_up(outbox)) {
        LOG_ERROR("outbox log given up", LOG_TEXT("dir", dir), LOG_TEXT("because", what));
        return ERROR_NONE;
    }
    return failure_set(failure, ERROR_CORRUPT,
                       "%s/%s %s: it may hold acknowledged writes that %s does not. Put the two "
                       "files that belong together in their place; where that cannot be, make an "
                       "empty file %s/%s to start without those writes",
                       dir, OUTBOX_LOG_FILE, what, "outbox.mdb", dir, LOST_NAME);
}

static const char *words_of(enum outbox_log_damage damage)
{
    switch (damage) {
    case OUTBOX_LOG_DAMAGED:
        return "is damaged in its midst";
    case OUTBOX_LOG_NEWER:
        return "is newer than outbox.mdb, which is an old copy";
    case OUTBOX_LOG_UNREADABLE:
        return "cannot be read";
    case OUTBOX_LOG_WHOLE:
        break;
    }
    return "is older than outbox.mdb, which went on without it";
}

// The start stops, or goes on without it.
static enum error give_up(struct outbox *outbox, enum outbox_log_damage damage,
                          struct failure *failure)
{
    enum error error = judge(outbox, words_of(damage), failure);
    outbox_log_close(&outbox->log);
    outbox->taken_over = 0;
    outbox->moved = 0;
    return error;
}

static enum error replay(struct outbox *outbox, struct failure *failure)
{
    enum outbox_log_damage damage;
    struct takeover takeover = {.outbox = outbox};
    enum error error =
        outbox_log_replay(&outbox->log, outbox->state.generation, append_entry, &takeover, &damage);
    if (outbox->taken_over > 0) {
        LOG_INFO("writes taken over from the log", LOG_INT("count", outbox->taken_over),
                 LOG_INT("newest_seq", outbox->state.last_seq));
    }
    if (error != ERROR_CORRUPT) {
        return error;
    }
    // What came before the damage is taken over all the same.
    return give_up(outbox, takeover.is_newer ? OUTBOX_LOG_NEWER : damage, failure);
}

// One that holds nothing that counts goes on being this outbox's. Its next groups must not be of a
// generation that it has seen: one of a later life would be taken for theirs.
static enum error go_on(struct outbox *outbox, struct failure *failure)
{
    enum outbox_log_damage damage = outbox_log_look(&outbox->log, outbox->state.generation);
    if (damage == OUTBOX_LOG_NEWER) {
        return give_up(outbox, damage, failure);
    }
    if (damage == OUTBOX_LOG_UNREADABLE) {
        outbox_log_close(&outbox->log);
        return ERROR_NONE;
    }
    outbox->log.is_touched = true;
    return ERROR_NONE;
}

// What counts of the log is appended. The log is open where it may go on.
static enum error take_over(struct outbox *outbox, struct failure *failure)
{
    bool counts = outbox_layout_logs(outbox->state.layout);
    enum error error = outbox->log_id[0] == '\0'
                           ? ERROR_NOT_FOUND
                           : outbox_log_open(&outbox->log, &outbox->directory, outbox->log_id);
    if (error == ERROR_NONE) {
        return counts ? replay(outbox, failure) : go_on(outbox, failure);
    }
    if (!counts) {
        return ERROR_NONE;
    }
    if (error == ERROR_SYSTEM) {
        return failure_set(failure, error, "cannot open %s/%s: %s", outbox->directory.path,
                           OUTBOX_LOG_FILE, strerrordesc_np(errno));
    }
    return judge(outbox, error == ERROR_NOT_FOUND ? "is missing" : "is damaged or another outbox's",
                 failure);
}

// ---- for this run

// Whatever it holds, somebody may want to look at it, and at those before it.
static void put_aside(const struct outbox *outbox)
{
    char *old_path = directory_put_aside(&outbox->directory, OUTBOX_LOG_FILE);
    if (old_path != NULL) {
        LOG_WARNING("log of another outbox put aside", LOG_TEXT("file", old_path));
    }
    free(old_path);
}

static enum error name_log(struct outbox *outbox)
{
    enum error error = outbox_begin(outbox, 0);
    if (error != ERROR_NONE) {
        return error;
    }
    error = outbox_put_log_id(outbox, outbox->log.id);
    if (error != ERROR_NONE) {
        outbox_abort(outbox);
        return error;
    }
    return outbox_commit(outbox);
}

enum error outbox_make_log(struct outbox *outbox, size_t capacity_bytes)
{
    put_aside(outbox);
    if (outbox_log_make(&outbox->log, &outbox->directory, log_bytes(capacity_bytes)) !=
        ERROR_NONE) {
        LOG_WARNING("outbox goes without its log", LOG_TEXT("dir", outbox->directory.path),
                    LOG_TEXT("error", strerrordesc_np(errno)));
        return ERROR_NONE;
    }
    outbox_log_begin(&outbox->log, outbox->state.generation);
    return name_log(outbox);
}

enum error outbox_take_over_log(struct outbox *outbox, const struct outbox_options *options,
                                struct failure *failure)
{
    enum error error = take_over(outbox, failure);
    if (error == ERROR_NONE && options->goes_without_log) {
        outbox_log_close(&outbox->log);
        outbox->taken_over = 0;
        outbox->moved = 0;
    }
    return error;
}

void outbox_forget_lost_log(const struct outbox *outbox)
{
    char *path = directory_path(&outbox->directory, LOST_NAME);
    if (unlink(path) == 0 && directory_sync(&outbox->directory) != ERROR_NONE) {
        LOG_WARNING("directory not synced", LOG_TEXT("dir", outbox->directory.path));
    }
    free(path);
}
