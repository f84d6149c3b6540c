#include "system/harness/compare.h"

enum { KEYS_A_REQUEST = 500 };

static void compare_keys(struct node *node, struct pg *pg, const char *prefix, int first, int last)
{
    const char *params = pg_value(pg,
                                  "SELECT json_build_array(json_agg('%s' || i ORDER BY i))"
                                  " FROM generate_series(%d, %d) i",
                                  prefix, first, last);
    const char *expected =
        pg_value(pg,
                 "SELECT jsonb_agg(CASE WHEN key IS NOT NULL"
                 " THEN jsonb_build_array(value, version) END ORDER BY i)"
                 " FROM generate_series(%d, %d) i LEFT JOIN kv_store ON key = '%s' || i",
                 first, last, prefix);
    const char *found = rpc(node, "mget", params);
    if (json_matches(found, expected)) {
        return;
    }
    for (int i = first; i <= last; i++) {
        const char *path = scenario_text(node->scenario, "%d", i - first);
        const char *have = json_at(node->scenario, found, path);
        const char *want = json_at(node->scenario, expected, path);
        if (have == NULL || !json_matches(have, want)) {
            scenario_fail("%s%d read through %s is %s; in PostgreSQL it is %s", prefix, i,
                          node->name, have == NULL ? found : have, want);
        }
    }
}

void assert_node_equals_table(struct node *node, struct pg *pg, const char *prefix, int count)
{
    for (int first = 1; first <= count; first += KEYS_A_REQUEST) {
        int last = first + KEYS_A_REQUEST - 1;
        compare_keys(node, pg, prefix, first, last < count ? last : count);
    }
}

void assert_synced_nodes_equal_table(struct node *const *nodes, int nodes_count, struct pg *pg,
                                     const char *prefix, int count)
{
    for (int i = 0; i < nodes_count; i++) {
        assert_rpc(nodes[i], "sync", "[{\"timeout_ms\": 30000}]", "true");
        assert_node_equals_table(nodes[i], pg, prefix, count);
    }
}
