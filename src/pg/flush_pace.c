#include "pg/flush_pace.h"

// Of the time, that a thread waited for a processor: a thread that is alone on its own waits for
// some microseconds at each wake-up.
enum { CONTENDED_PART = 10 };
// A wait counts once it is over, so that a look in the midst of it sees none.
enum { CONTENDED_FOR_US = 5 * FLUSH_PACE_LOOK_US };
enum { OUTBOX_PART = 4 };

bool flush_pace_is_due(const struct flush_pace *pace, int64_t now_boot_us)
{
    return now_boot_us - pace->looked_boot_us >= FLUSH_PACE_LOOK_US;
}

void flush_pace_look(struct flush_pace *pace, const int64_t *waited_us, size_t count,
                     int64_t now_boot_us)
{
    int64_t longest_us = 0;
    for (size_t i = 0; i < count; i++) {
        int64_t waited = waited_us[i] - pace->waited_us[i];
        longest_us = waited > longest_us ? waited : longest_us;
        pace->waited_us[i] = waited_us[i];
    }
    // Nothing is known yet at the first look.
    if (pace->looked_boot_us != 0 &&
        longest_us * CONTENDED_PART > now_boot_us - pace->looked_boot_us) {
        pace->contended_boot_us = now_boot_us;
    }
    pace->looked_boot_us = now_boot_us;
}

void flush_pace_rest(struct flush_pace *pace)
{
    pace->since_boot_us = 0;
}

// More than what waits, never less: what was accepted since a mark that is applied by now.
static int64_t waiting_bytes(struct flush_pace *pace, const struct flush_backlog *backlog)
{
    if (backlog->applied_seq >= pace->mark_seq) {
        pace->base_bytes = pace->mark_bytes;
        pace->mark_bytes = backlog->accepted_bytes;
        pace->mark_seq = backlog->last_seq;
    }
    return backlog->accepted_bytes - pace->base_bytes;
}

bool flush_pace_yields(struct flush_pace *pace, const struct flush_backlog *backlog,
                       int64_t now_boot_us)
{
    bool has_room = waiting_bytes(pace, backlog) <= backlog->outbox_bytes / OUTBOX_PART;
    if (backlog->applied_seq < pace->due_seq) {
        return false;
    }
    bool is_contended =
        pace->contended_boot_us != 0 && now_boot_us - pace->contended_boot_us < CONTENDED_FOR_US;
    if (!is_contended || !has_room) {
        pace->since_boot_us = 0;
        return false;
    }
    if (pace->since_boot_us == 0) {
        pace->since_boot_us = now_boot_us;
    }
    if (now_boot_us - pace->since_boot_us < FLUSH_PACE_YIELD_MAX_US) {
        return true;
    }
    pace->since_boot_us = 0;
    pace->due_seq = backlog->journaled_seq;
    return false;
}
