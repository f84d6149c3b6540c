// LMDB tells of its reader table in lines of text only: "pid thread snapshot", a dash for a slot
// that reads nothing.
#include "cache/slots.h"

#include <stdio.h>
#include <unistd.h>

#include "base/log.h"

enum { PIDS_MAX = 64 };

struct listing {
    int ignored_pid;
    size_t last_snapshot;
    struct holder oldest;
    int pids[PIDS_MAX]; // that have a slot; a list that is too long is cut
    size_t pids_count;
};

static bool has_pid(const struct listing *listing, int pid)
{
    for (size_t i = 0; i < listing->pids_count; i++) {
        if (listing->pids[i] == pid) {
            return true;
        }
    }
    return false;
}

static int on_line(const char *line, void *context)
{
    struct listing *listing = context;
    int pid;
    size_t thread;
    size_t snapshot;
    int fields = sscanf(line, "%d %zx %zu", &pid, &thread, &snapshot);
    if (fields < 2 || pid == listing->ignored_pid) {
        return 0;
    }
    if (listing->pids_count < PIDS_MAX && !has_pid(listing, pid)) {
        listing->pids[listing->pids_count++] = pid;
    }
    bool older = fields == 3 && snapshot < listing->last_snapshot &&
                 (listing->oldest.pid == 0 || snapshot < listing->oldest.snapshot);
    if (older) {
        listing->oldest = (struct holder){.pid = pid, .snapshot = snapshot};
    }
    return 0;
}

static void list(const struct store *store, int ignored_pid, struct listing *listing)
{
    MDB_envinfo info;
    *listing = (struct listing){.ignored_pid = ignored_pid};
    if (mdb_env_info(store->env, &info) == MDB_SUCCESS) {
        listing->last_snapshot = info.me_last_txnid;
        mdb_reader_list(store->env, on_line, listing);
    }
}

struct holder slots_oldest(const struct store *store)
{
    int dead = 0;
    mdb_reader_check(store->env, &dead);
    struct listing listing;
    list(store, 0, &listing);
    return listing.oldest;
}

static void tell_dead(const struct listing *before, const struct listing *after)
{
    for (size_t i = 0; i < before->pids_count; i++) {
        if (!has_pid(after, before->pids[i])) {
            LOG_INFO("dead reader's slots taken back", LOG_INT("pid", before->pids[i]));
        }
    }
}

bool slots_look(struct slots *slots, const struct store *store, int64_t now_boot_us)
{
    struct listing listing;
    int dead = 0;
    int own_pid = (int)getpid();
    list(store, own_pid, &listing);
    if (mdb_reader_check(store->env, &dead) == MDB_SUCCESS && dead > 0) {
        struct listing before = listing;
        list(store, own_pid, &listing);
        tell_dead(&before, &listing);
    }
    struct holder oldest = listing.oldest;
    if (oldest.pid != slots->holder.pid || oldest.snapshot != slots->holder.snapshot) {
        *slots = (struct slots){.holder = oldest, .since_boot_us = now_boot_us};
    }
    slots->has_others = listing.pids_count > 0;
    int64_t held_us = now_boot_us - slots->since_boot_us;
    bool long_held = oldest.pid != 0 && held_us >= SLOTS_HELD_LONG_US;
    if (long_held && !slots->told) {
        slots->told = true;
        LOG_WARNING("reader holds the cache's pages", LOG_INT("pid", oldest.pid),
                    LOG_INT("held_ms", held_us / 1000));
    }
    return long_held;
}
