// How long applied entries have been retained, counted in connected time: while PostgreSQL is out
// of reach the clock stands, since it is then that a failover may lose what was applied. Of the
// writer thread.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { RETENTION_MARKS = 64 };

struct retention {
    int64_t retain_us;
    int64_t connected_us; // connected time so far
    int64_t last_boot_us; // of the last tick
    bool connected;       // since then
    // Entries up to `seq` were applied at `at_us` of connected time; oldest first.
    struct {
        uint64_t seq;
        int64_t at_us;
    } marks[RETENTION_MARKS];
    size_t marks_count;
};

void retention_init(struct retention *retention, int64_t retain_us, int64_t now_boot_us);

// Time went on; whether flushing is possible from now on.
void retention_tick(struct retention *retention, int64_t now_boot_us, bool connected);

// Everything up to `seq` is applied.
void retention_note(struct retention *retention, uint64_t seq);
// Nothing after `seq` is applied after all.
void retention_rewind(struct retention *retention, uint64_t seq);

// Entries up to the returned seq have been retained long enough; 0: none.
uint64_t retention_passed_seq(struct retention *retention);
