// stats: the node's own map as JSON, or as a table for people.
//
//      count            12
//      cache
//        hits           3
//
// The node decides which counters there are, so nothing here names one.

#include <stdio.h>

#include "cli/output.h"
#include "json/json.h"

enum { NAME_COLUMNS = 22 };

// A value on one line, strings without their quotes; "-" for nil.
static void print_value(struct slice value)
{
    struct mpack_cursor cursor = mpack_cursor_of(value);
    struct slice text;
    struct buffer json = {0};
    if (mpack_read_nil(&cursor)) {
        text = slice_of_string("-");
    } else if (!mpack_read_str(&cursor, &text)) {
        json_from_msgpack(value, false, &json, NULL);
        text = buffer_slice(&json);
    }
    printf("%.*s\n", SLICE_FORMAT(text));
    buffer_deinit(&json);
}

// The scalars of a map, or the maps in it, each under its name. False where it is no map.
static bool print_members(struct slice map, int indent, bool maps)
{
    struct mpack_cursor cursor = mpack_cursor_of(map);
    uint32_t count;
    bool good = mpack_read_map(&cursor, &count);
    for (uint32_t i = 0; good && i < count; i++) {
        struct slice name;
        struct slice value = {0};
        good = mpack_read_str(&cursor, &name) && mpack_skip(&cursor, &value) == DECODE_OK;
        struct mpack_cursor inside = mpack_cursor_of(value);
        uint32_t members;
        bool is_map = good && mpack_read_map(&inside, &members);
        if (!good || is_map != maps) {
            continue;
        }
        if (is_map) {
            printf("%.*s\n", SLICE_FORMAT(name));
            good = print_members(value, 2, false);
        } else {
            printf("%*s%-*.*s ", indent, "", NAME_COLUMNS - indent, SLICE_FORMAT(name));
            print_value(value);
        }
    }
    return good;
}

enum exit_status run_stats(struct invocation *invocation)
{
    enum exit_status status;
    if (!command_connect(invocation, &status)) {
        return status;
    }
    pgnear_bytes stats;
    pgnear_error error;
    if (pgnear_stats(invocation->node, NULL, &stats, &error) != PGNEAR_OK) {
        return complain_of_call(&error);
    }
    if (option_is_given(invocation, OPTION_JSON) || option_is_given(invocation, OPTION_PRETTY)) {
        return print_msgpack(stats, invocation);
    }
    struct slice map = slice_of(stats.at, stats.len);
    return print_members(map, 0, false) && print_members(map, 0, true)
               ? EXIT_DONE
               : complain(EXIT_REFUSED, "the node's answer to stats is not of its protocol");
}
