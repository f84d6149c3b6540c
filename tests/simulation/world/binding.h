// To which cluster a node's outbox is bound, if to any: what a crash must leave alone hangs on it.
#pragma once

#include <stdbool.h>

struct node;

bool binding_is_to(const struct node *node, const char *system_identifier);
// The writer has been told to bind it, and the pg worker waits for that.
bool binding_is_on_its_way(const struct node *node);
