// Holding what a node answers against the table.
#pragma once

#include "system/harness/node.h"

// Reads the keys <prefix>1 to <prefix><count> through the node and in SQL: values, versions and
// absences must be the same. With no write of the node's own on its way.
void assert_node_equals_table(struct node *node, struct pg *pg, const char *prefix, int count);
// The same of nodes, after a sync on each.
void assert_synced_nodes_equal_table(struct node *const *nodes, int nodes_count, struct pg *pg,
                                     const char *prefix, int count);
