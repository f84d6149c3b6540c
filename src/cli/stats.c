// stats: the node's own map as JSON, for Prometheus, or as a table for people.
//
//      count            12
//      cache
//        hits           3
//
// The node decides which counters there are, so nothing here names one.

#include <stdio.h>

#include "cli/output.h"
#include "cli/prometheus.h"
#include "cli/stats_map.h"
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
        bool is_json = json_from_msgpack(value, false, &json, NULL) == ERROR_NONE;
        text = is_json ? buffer_slice(&json) : slice_of_string("-");
    }
    printf("%.*s\n", SLICE_FORMAT(text));
    buffer_deinit(&json);
}

static bool is_map(struct slice value)
{
    struct mpack_cursor cursor = mpack_cursor_of(value);
    uint32_t members;
    return mpack_read_map(&cursor, &members);
}

enum { DEPTH_MAX = 4 };

// What is printed: the scalars of a map first, then the maps in it, each under its name.
struct printing {
    int depth;
    bool maps;
};

static void print_map(struct slice map, int depth);

static void print_member(void *context, struct slice name, struct slice value)
{
    const struct printing *printing = context;
    int indent = 2 * printing->depth;
    if (is_map(value) != printing->maps) {
        return;
    }
    if (!printing->maps) {
        printf("%*s%-*.*s ", indent, "", NAME_COLUMNS - indent, SLICE_FORMAT(name));
        print_value(value);
    } else if (printing->depth + 1 < DEPTH_MAX) {
        printf("%*s%.*s\n", indent, "", SLICE_FORMAT(name));
        print_map(value, printing->depth + 1);
    }
}

// Goes no deeper than DEPTH_MAX, whatever the node sends.
static void print_map(struct slice map, int depth)
{
    for (int maps = 0; maps < 2; maps++) {
        struct printing printing = {.depth = depth, .maps = maps == 1};
        stats_map_each(map, "", print_member, &printing);
    }
}

enum exit_status run_stats(struct invocation *invocation)
{
    enum exit_status status;
    bool is_json =
        option_is_given(invocation, OPTION_JSON) || option_is_given(invocation, OPTION_PRETTY);
    if (is_json && option_is_given(invocation, OPTION_PROMETHEUS)) {
        return complain_usage("--prometheus is a form of its own, without --json and --pretty");
    }
    if (!command_connect(invocation, &status)) {
        return status;
    }
    pgnear_bytes stats;
    pgnear_error error;
    if (pgnear_stats(invocation->node, NULL, &stats, &error) != PGNEAR_OK) {
        return complain_of_call(&error);
    }
    if (is_json) {
        return print_msgpack(stats, invocation);
    }
    struct slice map = slice_of(stats.at, stats.len);
    if (!is_map(map)) {
        return complain(EXIT_REFUSED, "the node's answer to stats is not of its protocol");
    }
    if (option_is_given(invocation, OPTION_PROMETHEUS)) {
        prometheus_print(stdout, map);
    } else {
        print_map(map, 0);
    }
    return EXIT_DONE;
}
