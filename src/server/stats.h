// What `stats` and `hello` answer, in no wire format.
#pragma once

#include "base/status.h"
#include "server/latency.h"

// One look at all the counters, and what is made of them.
struct stats {
    int64_t items[STATUS_COUNT];
    int64_t outbox_age_us; // since the oldest unflushed write came; 0 where there is none
    double flush_rate;     // writes a second, over the last ten
    struct latency_summary lag;
    struct latency_summary latency[METHOD_COUNT];
};

// Any thread; waits for nobody. `board` may be NULL; `now_us` is cache_port.now_us.
void stats_take(struct status *status, const struct latency_board *board, int64_t now_us,
                struct stats *stats);

// What `stats` calls "size": one decimal, 1024-based, "512.0 B", "2.3 MB".
enum { SIZE_TEXT_BYTES = 24 };
struct size_text {
    char text[SIZE_TEXT_BYTES];
};
struct size_text stats_size_text(int64_t bytes);

// What a node says of itself. The strings are main's and outlive the server.
struct node_facts {
    const char *version;
    const char *node; // UUID
    const char *table;
    const char *cache_dir;
};

struct hello {
    const struct node_facts *facts;
    bool read_only; // this connection
    enum node_state state;
    bool has_error;
    struct failure last_error;
};

void hello_take(const struct node_facts *facts, bool read_only, struct status *status,
                struct hello *hello);
