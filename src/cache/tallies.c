// Each look reads the whole table and adds, row by row, what has come since the one before. Rows
// whose figures move have an owner that lives; the others' are asked for.
#include "cache/tallies.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "base/memory.h"
#include "cachefile/tally.h"

// No reader is faster: a read takes some 300 ns.
enum { READS_PER_US_MAX = 20 };
// Looks at /proc in one look; a process whose id came back to use is found out in the end.
enum { THOROUGH_MAX = 16 };

struct tally_seen {
    uint64_t owner;
    bool is_gone; // that owner
    uint64_t hot_hits;
    uint64_t other_hits;
    uint64_t misses;
};

static uint64_t figure(const _Atomic uint64_t *word)
{
    return atomic_load_explicit(word, memory_order_relaxed);
}

static void note(struct tally_seen *seen, const struct tally_row *row)
{
    seen->hot_hits = figure(&row->hot_hits);
    seen->other_hits = figure(&row->other_hits);
    seen->misses = figure(&row->misses);
}

void tallies_open(struct tallies *tallies, const struct store *store, int64_t now_boot_us)
{
    *tallies = (struct tallies){.fd = tally_open(&store->directory)};
    if (tallies->fd < 0) {
        LOG_WARNING("direct reads are not counted", LOG_TEXT("dir", store->directory.path),
                    LOG_TEXT("error", strerrordesc_np(errno)));
        return;
    }
    store_give_right(store, "tally", 0660);
    // Zeroed: of a table that cannot be read nothing is known to have come.
    tallies->rows = memory_zeroed(TALLY_ROWS, sizeof *tallies->rows);
    tallies->seen = memory_zeroed(TALLY_ROWS, sizeof *tallies->seen);
    tallies->looked_boot_us = now_boot_us;
    tally_read(tallies->fd, tallies->rows);
    for (size_t i = 0; i < TALLY_ROWS; i++) {
        note(&tallies->seen[i], &tallies->rows[i]);
    }
}

void tallies_close(struct tallies *tallies)
{
    if (tallies->rows != NULL) {
        close(tallies->fd);
    }
    free(tallies->rows);
    free(tallies->seen);
    *tallies = (struct tallies){.fd = -1};
}

// ---- a look

struct look {
    struct tallies *tallies;
    uint64_t most; // that one figure can have grown by
    size_t thorough_left;
    int64_t readers;
    int64_t hot_hits;
    int64_t other_hits;
    int64_t misses;
};

// What was set back, or leaps, was not counted by reading.
static int64_t grown(const struct look *look, uint64_t before, uint64_t now)
{
    return now - before <= look->most ? (int64_t)(now - before) : 0;
}

static bool is_still(const struct tally_seen *seen, const struct tally_row *row)
{
    return seen->hot_hits == figure(&row->hot_hits) &&
           seen->other_hits == figure(&row->other_hits) && seen->misses == figure(&row->misses);
}

static bool has_owner(struct look *look, struct tally_seen *seen, const struct tally_row *row)
{
    uint64_t owner = figure(&row->owner);
    if (owner != seen->owner) {
        seen->owner = owner;
        seen->is_gone = false;
    }
    if (owner == 0 || seen->is_gone) {
        return false;
    }
    if (is_still(seen, row)) {
        bool thorough = look->thorough_left > 0;
        look->thorough_left -= thorough;
        seen->is_gone = tally_is_gone(owner, thorough);
    }
    return !seen->is_gone;
}

static void look_at(struct look *look, size_t place)
{
    struct tally_seen *seen = &look->tallies->seen[place];
    const struct tally_row *row = &look->tallies->rows[place];
    look->readers += has_owner(look, seen, row);
    look->hot_hits += grown(look, seen->hot_hits, figure(&row->hot_hits));
    look->other_hits += grown(look, seen->other_hits, figure(&row->other_hits));
    look->misses += grown(look, seen->misses, figure(&row->misses));
    note(seen, row);
    if (look->thorough_left > 0) {
        look->tallies->thorough = (place + 1) % TALLY_ROWS;
    }
}

void tallies_look(struct tallies *tallies, struct status *status, int64_t now_boot_us)
{
    if (tallies->fd < 0 || !tally_read(tallies->fd, tallies->rows)) {
        return;
    }
    int64_t elapsed_us = now_boot_us - tallies->looked_boot_us;
    struct look look = {
        .tallies = tallies,
        .most = elapsed_us > 0 ? (uint64_t)elapsed_us * READS_PER_US_MAX : 0,
        .thorough_left = THOROUGH_MAX,
    };
    size_t first = tallies->thorough;
    for (size_t i = 0; i < TALLY_ROWS; i++) {
        look_at(&look, (first + i) % TALLY_ROWS);
    }
    tallies->looked_boot_us = now_boot_us;
    status_add(status, STATUS_CACHE_DIRECT_HITS, look.hot_hits + look.other_hits);
    status_add(status, STATUS_CACHE_DIRECT_HOT_HITS, look.hot_hits);
    status_add(status, STATUS_CACHE_DIRECT_MISSES, look.misses);
    status_set(status, STATUS_CACHE_DIRECT_READERS, look.readers);
}
