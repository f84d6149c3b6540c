// Durations ("250ms") and sizes ("64KiB") as people write them.
#pragma once

#include "base/slice.h"

// An integer with a unit: us, ms, s, m, h or d. False where it is anything else or does not fit.
bool units_duration_us(struct slice text, int64_t *duration_us);

// An integer with a unit: B, KiB, MiB, GiB or TiB.
bool units_size_bytes(struct slice text, int64_t *size_bytes);
// "10%" as 10.
bool units_percent(struct slice text, int64_t *percent);

// The other way, in the largest unit that leaves no rest.
void units_duration_text(int64_t duration_us, char *text, size_t bytes);
void units_size_text(int64_t size_bytes, char *text, size_t bytes);
