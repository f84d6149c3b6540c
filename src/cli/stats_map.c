#include "cli/stats_map.h"

static bool find_member(struct slice map, struct slice name, struct slice *value)
{
    struct mpack_cursor cursor = mpack_cursor_of(map);
    uint32_t count;
    if (!mpack_read_map(&cursor, &count)) {
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        struct slice member;
        if (!mpack_read_str(&cursor, &member) || mpack_skip(&cursor, value) != DECODE_OK) {
            return false;
        }
        if (slice_equal(member, name)) {
            return true;
        }
    }
    return false;
}

bool stats_map_find(struct slice map, const char *path, struct slice *value)
{
    *value = map;
    while (*path != '\0') {
        size_t len = strcspn(path, ".");
        if (!find_member(*value, slice_of(path, len), value)) {
            return false;
        }
        path += len + (path[len] == '.');
    }
    return true;
}

bool stats_map_number(struct slice map, const char *path, double *number)
{
    struct slice value;
    struct mpack_token token;
    if (!stats_map_find(map, path, &value)) {
        return false;
    }
    struct mpack_cursor cursor = mpack_cursor_of(value);
    if (mpack_next(&cursor, &token) != DECODE_OK) {
        return false;
    }
    switch (token.type) {
    case MPACK_UINT:
        *number = (double)token.uint;
        return true;
    case MPACK_INT:
        *number = (double)token.sint;
        return true;
    case MPACK_FLOAT:
        *number = token.real;
        return true;
    default:
        return false;
    }
}

void stats_map_each(struct slice map, const char *path,
                    void (*each)(void *context, struct slice name, struct slice value),
                    void *context)
{
    struct slice inner;
    uint32_t count;
    if (!stats_map_find(map, path, &inner)) {
        return;
    }
    struct mpack_cursor cursor = mpack_cursor_of(inner);
    bool good = mpack_read_map(&cursor, &count);
    for (uint32_t i = 0; good && i < count; i++) {
        struct slice name, value;
        good = mpack_read_str(&cursor, &name) && mpack_skip(&cursor, &value) == DECODE_OK;
        if (good) {
            each(context, name, value);
        }
    }
}
