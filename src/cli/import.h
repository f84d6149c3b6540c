// One way of an import's input into the node: bytes are read as they come, pairs taken off them and
// delivered in batches, the place up to which all is delivered kept in the checkpoint. What is
// wrong is said on standard error with the line that it stands in. One thread.
#pragma once

#include "cli/checkpoint.h"
#include "cli/intake.h"
#include "cli/output.h"
#include "cli/progress.h"

struct import {
    struct invocation *invocation;
    const char *name; // of the input, for messages
    int fd;
    int64_t input_bytes; // -1: not known
    bool is_strict;
    bool is_checked_only; // nothing is written
    struct buffer input;
    struct pairs pairs;
    struct intake intake;
    struct progress progress;
    const char *checkpoint_path;  // NULL: none
    struct checkpoint checkpoint; // counts of earlier runs, and the place of this one
    int64_t saved_us;
    int64_t expired;
    int64_t bad;
    int64_t refused; // by the node
    // What has been taken so far; once the intake is delivered, where to go on:
    struct {
        struct pairs_position position;
        int64_t expired;
        int64_t bad;
    } taken;
    bool is_all_read;
    int64_t letters_before; // dead letters of the node
};

// Reads the place where an earlier run stopped, where --resume names a file for it.
enum exit_status import_read_place(struct import *import);
// Reads the whole input, or what lies behind the place, and delivers it to the node; where that is
// NULL, only looks whether it is good.
enum exit_status import_read(struct import *import, pgnear *node, enum conflict_policy policy,
                             pgnear_ack ack);
// Ends that way, so that another can begin.
void import_end(struct import *import);
