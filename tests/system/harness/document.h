// An application's schema of which one row serves as the store (layout "document"), and nodes on
// it: the table game_sessions, whose game_name in the row DOCUMENT_ID holds the pairs.
#pragma once

#include "system/harness/node.h"

#define DOCUMENT_ID "'00000000-0000-0000-0000-000000000000'"

// SQL: the value of a member of the object, and what puts another text in its place.
#define DOCUMENT_PAIR(key)                                                                         \
    "SELECT game_name::jsonb->'" key "' FROM game_sessions WHERE id = " DOCUMENT_ID
#define DOCUMENT_EDIT(text)                                                                        \
    "UPDATE game_sessions SET game_name = '" text "' WHERE id = " DOCUMENT_ID

// Makes the tables and the row, whose text is '{}'.
void document_make_schema(struct pg *pg);

// A node on it; `config` as in node_options, and document_config alone what it is given besides.
const char *document_config(struct scenario *scenario, const char *config);
struct node *document_node(struct scenario *scenario, struct pg *pg, const char *name,
                           const char *config);
