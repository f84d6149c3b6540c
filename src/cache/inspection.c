// The items of `check` that can be seen from the cache's side.
#include "cache/inspection.h"

#include <stdio.h>
#include <string.h>

#include "cache/writer_state.h"

enum { ITEMS = 9, TEXT_BYTES = 320, DISK_LOW_PERCENT = 5 };

static void add(struct reply *reply, const char *item, bool ok, const char *text)
{
    reply->checks[reply->checks_count++] = (struct check_item){
        .item = arena_copy(&reply->arena, slice_of_string(item)),
        .message = arena_copy(&reply->arena, slice_of_string(text)),
        .ok = ok,
    };
}

// Room for what is there and our own.
static void grow(struct reply *reply)
{
    struct check_item *checks =
        arena_alloc(&reply->arena, (reply->checks_count + ITEMS) * sizeof *checks);
    for (size_t i = 0; i < reply->checks_count; i++) {
        checks[i] = reply->checks[i];
    }
    reply->checks = checks;
}

static void inspect_directory(struct reply *reply, const char *item, const char *path,
                              enum directory_use use)
{
    char text[TEXT_BYTES];
    const char *refused = directory_refused_file_system(path, use);
    int64_t free_bytes = directory_free_bytes(path);
    if (refused != NULL) {
        snprintf(text, sizeof text, "%s is on %s", path, refused);
    } else if (free_bytes < 0) {
        snprintf(text, sizeof text, "%s cannot be reached: was it deleted?", path);
    } else {
        snprintf(text, sizeof text, "%s, %lld MiB free", path, (long long)(free_bytes >> 20));
    }
    add(reply, item, refused == NULL && free_bytes >= 0, text);
}

static void inspect_room(struct writer *writer, struct reply *reply)
{
    char text[TEXT_BYTES];
    int64_t used = (int64_t)outbox_held_bytes(
        &writer->outbox, (size_t)status_get(writer->status, STATUS_OUTBOX_DEPTH));
    int64_t capacity = (int64_t)writer->settings->writes.outbox_bytes;
    int64_t free_bytes = directory_free_bytes(writer->settings->writes.dir);
    int64_t grown = status_get(writer->status, STATUS_OUTBOX_BYTES);
    bool tight = free_bytes >= 0 && free_bytes < capacity - grown;
    bool full = used > capacity / 100 * (100 - DISK_LOW_PERCENT);
    snprintf(text, sizeof text, "%lld of %lld KiB in use%s%s", (long long)(used >> 10),
             (long long)(capacity >> 10),
             tight ? "; the disk has less room than writes.outbox_size still allows" : "",
             full ? "; writes are OVERLOADED until PostgreSQL takes some (flush), or dead letters "
                    "are dealt with"
                  : "");
    add(reply, "outbox room", !tight && !full, text);
}

static void inspect_place(const struct writer *writer, struct reply *reply)
{
    bool is_lost = outbox_is_lost(&writer->outbox);
    add(reply, "outbox file", !is_lost,
        is_lost
            ? "outbox.mdb was deleted or moved away while the daemon runs: what is acknowledged "
              "and not in PostgreSQL is lost when it ends; put it back, or wait for `pgnear "
              "flush` and restart the daemon"
            : "outbox.mdb is in its place");
}

// A file that the outbox can go without.
static void inspect_use(struct writer *writer, struct reply *reply, enum status_item use,
                        const char *item, const char *otherwise)
{
    bool in_use = status_get(writer->status, use) == 1;
    add(reply, item, in_use, in_use ? "in use" : otherwise);
}

static void inspect_letters(struct writer *writer, struct reply *reply)
{
    char text[TEXT_BYTES];
    int64_t letters = status_get(writer->status, STATUS_OUTBOX_DEAD_LETTERS);
    snprintf(text, sizeof text, "%lld dead letters%s", (long long)letters,
             letters > 0 ? "; `pgnear dead-letters` lists them, to be retried or discarded" : "");
    add(reply, "dead letters", letters == 0, text);
}

// A line of LMDB's list of readers; one that is a reader begins with its pid.
static int on_reader_line(const char *line, void *context)
{
    unsigned *count = context;
    line += strspn(line, " ");
    *count += line[0] >= '0' && line[0] <= '9';
    return 0;
}

// LMDB's own figure (me_numreaders) is how many slots were ever taken at once, so they are counted.
static void inspect_readers(struct writer *writer, struct reply *reply)
{
    char text[TEXT_BYTES];
    MDB_envinfo info;
    unsigned count = 0;
    struct store_files *files = store_acquire(&writer->store);
    bool good = mdb_env_info(files->env, &info) == MDB_SUCCESS &&
                mdb_reader_list(files->env, on_reader_line, &count) >= 0;
    store_release(&writer->store, files);
    if (!good) {
        return;
    }
    snprintf(text, sizeof text, "%u of %u reader slots taken", count, info.me_maxreaders);
    add(reply, "reader slots", count < info.me_maxreaders / 10 * 9, text);
}

void inspect(struct writer *writer, struct reply *reply)
{
    grow(reply);
    inspect_directory(reply, "cache directory", writer->settings->cache.dir, DIRECTORY_DISPOSABLE);
    inspect_directory(reply, "outbox directory", writer->settings->writes.dir, DIRECTORY_DURABLE);
    inspect_place(writer, reply);
    inspect_room(writer, reply);
    inspect_use(writer, reply, STATUS_OUTBOX_LOG, "outbox log",
                "not in use: it could not be made or written, as the daemon's log says; each "
                "journaled write waits for a commit of the outbox");
    inspect_use(writer, reply, STATUS_OUTBOX_RING, "outbox ring",
                "not in use: it could not be made, as the daemon's log says; writes that are "
                "acknowledged in memory are synced as journaled ones");
    inspect_letters(writer, reply);
    inspect_readers(writer, reply);
}
