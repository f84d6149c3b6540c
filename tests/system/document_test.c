// The layout "document": all pairs in one JSON object of one row of somebody else's table, and the
// promises that hold there as in a table of ours.

#include <stdio.h>

#include "system/harness/document.h"
#include "system/harness/steps.h"

static void a_pair_is_set_read_and_edited_by_others(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    document_make_schema(pg);
    struct node *node = document_node(scenario, pg, "node", "");
    static const struct step STEPS[] = {
        {"set", "[\"k\", {\"n\": 1}, {\"ack\": \"postgres\"}]",
         "{\"seq\": \"*\", \"version\": \"*\"}"},
        {SQL_VALUE, "SELECT game_name::jsonb->'k' FROM game_sessions WHERE id = " DOCUMENT_ID,
         "{\"n\": 1}"},
        {"get", "[\"k\"]", "[{\"n\": 1}, \"*\"]"},
        {SQL,
         "UPDATE game_sessions SET game_name = '{\"k\": 2, \"other\": [1.50]}' WHERE id "
         "= " DOCUMENT_ID,
         NULL},
        {AWAIT, "get [\"k\"]", "[2, \"*\"]"},
        {"get", "[\"other\"]", "[[1.5], \"*\"]"},
        {"delete", "[\"k\", {\"ack\": \"postgres\"}]", "\"*\""},
        {SQL_VALUE, "SELECT game_name::jsonb FROM game_sessions WHERE id = " DOCUMENT_ID,
         "{\"other\": [1.50]}"},
        {"get", "[\"k\"]", "null"},
    };
    RUN_STEPS(node, pg, STEPS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCENARIO(a_pair_is_set_read_and_edited_by_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
