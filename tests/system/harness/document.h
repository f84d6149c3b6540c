// An application's schema of which one row serves as the store (layout "document"), and nodes on
// it: the table game_sessions, whose game_name in the row DOCUMENT_ID holds the pairs.
#pragma once

#include "system/harness/node.h"

#define DOCUMENT_ID "'00000000-0000-0000-0000-000000000000'"

// Makes the tables and the row, whose text is '{}'.
void document_make_schema(struct pg *pg);

// A node on it; `config` as in node_options.
struct node *document_node(struct scenario *scenario, struct pg *pg, const char *name,
                           const char *config);
