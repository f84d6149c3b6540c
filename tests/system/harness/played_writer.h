// The writer of a daemon that is played (played_daemon.h): notes what the pg worker tells it,
// returns what is to be returned, and answers what waits for that.
#pragma once

#include "system/harness/played_daemon.h"

// Its thread, for workers_start: `context` is the daemon.
void played_writer_run(void *context, int index);

// All that was posted; on its thread, or where there is none any more.
void played_writer_take_all(struct daemon *daemon);
