#include "pg/flush_pace.h"

// Of the time, that a thread waited for a processor: a thread that is alone on its own waits for
// some microseconds at each wake-up.
enum { CONTENDED_PART = 10 };
// A wait counts once it is over, so that a look in the midst of it sees none. While so many writes
// come between two looks, the processors are wanted: that nobody waits is due to the giving way.
enum { CONTENDED_FOR_US = 5 * FLUSH_PACE_LOOK_US, CONTENDED_IN_LOAD_US = 25 * FLUSH_PACE_LOOK_US };
enum { WRITES_A_LOOK = 10 };
// Of a longer pause in which there was nothing to do a short wait at its end is no part.
enum { REST_US = 10 * FLUSH_PACE_LOOK_US };
// So many writes after a pause are a load: they wait for the second look.
enum { UNKNOWN_WRITES = 100 };
enum { OUTBOX_PART = 4 };

bool flush_pace_is_due(const struct flush_pace *pace, int64_t now_boot_us)
{
    return now_boot_us - pace->looked_boot_us >= FLUSH_PACE_LOOK_US;
}

static int64_t note_waits(struct flush_pace *pace, const int64_t *waited_us, size_t count)
{
    int64_t longest_us = 0;
    for (size_t i = 0; i < count; i++) {
        int64_t waited = waited_us[i] - pace->waited_us[i];
        longest_us = waited > longest_us ? waited : longest_us;
        pace->waited_us[i] = waited_us[i];
    }
    return longest_us;
}

void flush_pace_look(struct flush_pace *pace, const int64_t *waited_us, size_t count,
                     uint64_t last_seq, int64_t now_boot_us)
{
    int64_t longest_us = note_waits(pace, waited_us, count);
    int64_t passed_us = now_boot_us - pace->looked_boot_us;
    int64_t writes = (int64_t)(last_seq - pace->looked_seq);
    pace->is_unknown = pace->looked_boot_us == 0 || (pace->is_resting && passed_us > REST_US);
    pace->writes_come =
        !pace->is_unknown && writes * FLUSH_PACE_LOOK_US >= passed_us * WRITES_A_LOOK;
    if (!pace->is_unknown && longest_us * CONTENDED_PART > passed_us) {
        pace->contended_boot_us = now_boot_us;
    }
    pace->looked_boot_us = now_boot_us;
    pace->looked_seq = last_seq;
    pace->is_resting = false;
}

void flush_pace_rest(struct flush_pace *pace)
{
    pace->since_boot_us = 0;
    pace->is_resting = true;
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

static bool is_contended(const struct flush_pace *pace, const struct flush_backlog *backlog,
                         int64_t now_boot_us)
{
    if (pace->is_unknown) {
        return backlog->last_seq - backlog->applied_seq >= UNKNOWN_WRITES;
    }
    int64_t lasts_us = pace->writes_come ? CONTENDED_IN_LOAD_US : CONTENDED_FOR_US;
    return pace->contended_boot_us != 0 && now_boot_us - pace->contended_boot_us < lasts_us;
}

bool flush_pace_yields(struct flush_pace *pace, const struct flush_backlog *backlog,
                       int64_t now_boot_us)
{
    bool has_room = waiting_bytes(pace, backlog) <= backlog->outbox_bytes / OUTBOX_PART;
    if (backlog->applied_seq < pace->due_seq) {
        return false;
    }
    if (!has_room || backlog->applied_seq >= pace->since_seq) {
        pace->since_boot_us = 0;
    }
    if (!has_room || !is_contended(pace, backlog, now_boot_us)) {
        return false;
    }
    if (pace->since_boot_us == 0) {
        pace->since_boot_us = now_boot_us;
    }
    if (now_boot_us - pace->since_boot_us < FLUSH_PACE_YIELD_MAX_US) {
        pace->since_seq = backlog->journaled_seq;
        return true;
    }
    pace->since_boot_us = 0;
    pace->due_seq = backlog->journaled_seq;
    return false;
}
