// Fault points: named places (base/fault_points.h) at which a test has the daemon crash, fail, wait
// or stand still. Compiled out unless PGNEAR_FAULT_POINTS is defined; a release has none of it.
//
// They are armed by the environment variable PGNEAR_FAULT at the start, a list of
// name=action[:when]... separated by commas:
//
//   crash       the process ends there, at once, as by kill -9
//   fail        what is done there fails
//   delay       the thread waits there; delay:20ms for so long, else until another action is set
//   stop        the process stands still (SIGSTOP) until somebody sends SIGCONT
//
//   :3          at the third pass from now and at no other
//   :5%         at one pass in twenty, chosen by the number of the pass
//
// PGNEAR_FAULT_PAGE names a file of a struct fault_page, through which another process arms points
// while the daemon runs and counts what was passed, whatever becomes of the daemon.
#pragma once

#include <stdbool.h>

#include "base/error.h"
#include "base/fault_points.h"

#ifdef PGNEAR_FAULT_POINTS

#include <stdatomic.h>
#include <stdint.h>

enum fault_action { FAULT_NONE, FAULT_CRASH, FAULT_FAIL, FAULT_DELAY, FAULT_STOP };

// A point as it is armed. `action` is written last and decides; all else is read where it is not
// FAULT_NONE.
struct fault_slot {
    atomic_ullong passes;  // since the page was made; by the daemon
    atomic_ullong fired;   // how often the action was begun; by the daemon
    atomic_ullong pass;    // the number of the only pass to fire at; 0: every one
    atomic_uint percent;   // of the passes; 0: all of them
    atomic_llong delay_us; // 0: until the action is another one
    atomic_uint action;    // enum fault_action
};

struct fault_page {
    struct fault_slot slots[FAULT_COUNT];
};

// What PGNEAR_FAULT says of one point.
struct fault_order {
    enum fault fault;
    enum fault_action action;
    unsigned long long pass; // from now on; 0: every one
    unsigned percent;        // 0: always
    int64_t delay_us;        // 0: until released
};

const char *fault_name(enum fault fault);
enum fault_kind fault_kind(enum fault fault);

// At the start of the process, before there are threads: maps the page, and arms what the
// environment names. ERROR_CONFIG where it names what there is not.
enum error fault_start(struct failure *failure);

// Disarms all points and arms those of a list as in PGNEAR_FAULT ("": none). Any thread; for tests
// of one component.
enum error fault_arm(const char *list, struct failure *failure);

// Arms one point of a page, or disarms it with FAULT_NONE. Any thread of any process.
void fault_slot_arm(struct fault_page *page, const struct fault_order *order);

// Whether what is done at the point is to fail. Any thread.
bool fault_pass(enum fault fault);

#define FAULT_POINT(id) fault_pass(FAULT_##id)

#else

static inline enum error fault_start(struct failure *failure)
{
    (void)failure;
    return ERROR_NONE;
}

#define FAULT_POINT(id) false

#endif
