// One number out of the node's stats.
#pragma once

#include <pgnear.h>

#include <stdint.h>

// The counter of that name, "count" or "outbox.dead_letters"; -1 where the node does not know it.
int64_t ask_counter(pgnear *node, const char *path);
