#include "cli/counters.h"

#include "base/mpack.h"

// Moves the cursor to the value of that name in the map it is at.
static bool enter(struct mpack_cursor *cursor, struct slice wanted)
{
    uint32_t count;
    if (!mpack_read_map(cursor, &count)) {
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        struct slice name;
        if (!mpack_read_str(cursor, &name)) {
            return false;
        }
        if (slice_equal(name, wanted)) {
            return true;
        }
        if (mpack_skip(cursor, NULL) != DECODE_OK) {
            return false;
        }
    }
    return false;
}

int64_t ask_counter(pgnear *node, const char *path)
{
    pgnear_bytes stats;
    int64_t value = -1;
    if (pgnear_stats(node, NULL, &stats, NULL) != PGNEAR_OK) {
        return -1;
    }
    struct mpack_cursor cursor = mpack_cursor_of(slice_of(stats.at, stats.len));
    const char *dot = strchr(path, '.');
    if (dot != NULL && !enter(&cursor, slice_of(path, (size_t)(dot - path)))) {
        return -1;
    }
    bool found = enter(&cursor, slice_of_string(dot == NULL ? path : dot + 1));
    return found && mpack_read_int(&cursor, &value) ? value : -1;
}
