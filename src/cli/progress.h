// A progress bar on standard error, where that is a terminal; else nothing. One thread.
//
//      import [############------------]  51 %   1.2 GiB   4123456 pairs   81234/s   0:14 left
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct progress {
    const char *verb;
    bool is_shown;
    bool is_bytes; // what is counted: bytes, or pairs
    int64_t total; // of what is counted; 0: not known
    int64_t begun_us;
    int64_t drawn_us;
    bool has_bar; // on the terminal now
};

void progress_begin(struct progress *progress, const char *verb, bool is_bytes, int64_t total);

// How far it has come: draws at most ten times a second.
void progress_show(struct progress *progress, int64_t bytes, int64_t pairs);

// Takes the bar off the terminal, so that a message can be printed, or at the end.
void progress_clear(struct progress *progress);
