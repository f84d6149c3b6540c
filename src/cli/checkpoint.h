// Where an import stands, in a small file, so that one that was killed goes on there. Everything in
// front of the place has been acknowledged by the node.
#pragma once

#include "cli/pairs.h"

struct checkpoint {
    enum pairs_form form;
    struct pairs_position position;
    int64_t input_bytes; // of the whole input; -1: not known, it was a pipe
    int64_t imported;    // so far
    int64_t skipped;
    int64_t expired;
    int64_t bad;
};

// Reads the file. ERROR_NOT_FOUND where there is none, ERROR_CORRUPT where it is something else.
enum error checkpoint_read(const char *path, struct checkpoint *checkpoint,
                           struct failure *failure);

// Replaces the file as a whole, synced: after a crash it is the old or the new one.
enum error checkpoint_write(const char *path, const struct checkpoint *checkpoint,
                            struct failure *failure);
