// Looking into the map that the node answers to stats, which is its own and may have more or less
// in it than this program knows.
#pragma once

#include "base/mpack.h"

// The value at a path of names with dots between them, such as "postgres.lag.p50_us". False where
// there is none.
bool stats_map_find(struct slice map, const char *path, struct slice *value);

// The number there; false where it is nil, missing or none.
bool stats_map_number(struct slice map, const char *path, double *number);

// Calls `each` for the members of the map at `path`, in order.
void stats_map_each(struct slice map, const char *path,
                    void (*each)(void *context, struct slice name, struct slice value),
                    void *context);
