// A conversation as a table: requests with their answers, and SQL in between.
//
//      {"set", "[\"k\", 1]", "{\"seq\": \"*\"}"}       the answer must match
//      {"get", "[\"k\", {\"at\": 1}]", "!BAD_REQUEST"} it must be this error, with a message
//      {SQL, "UPDATE kv_store SET value = '2'", NULL}
//      {SQL_VALUE, "SELECT value FROM kv_store", "2"}  NULL: there must be no row
//      {KEEP, "SELECT version FROM kv_store", NULL}    from now on $v stands for it
//      {AWAIT, "get [\"k\"]", "null"}                  asked until the answer matches
//
// $v is replaced in all that follows.
#pragma once

#include "system/harness/node.h"

#define SQL       "sql"
#define SQL_VALUE "value"
#define KEEP      "keep"
#define AWAIT     "await"

// What acknowledged writes and pending reads look like.
#define ACKED "{\"seq\": \"*\"}"

struct step {
    const char *what; // a method or one of the words above
    const char *text;
    const char *expected;
};

// The steps one after the other on the node's own connection; the first that fails is named.
void run_steps(struct node *node, struct pg *pg, const struct step *steps, size_t count);

#define RUN_STEPS(node, pg, steps) run_steps(node, pg, steps, sizeof(steps) / sizeof((steps)[0]))
