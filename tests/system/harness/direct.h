// Reading through libpgnear in tests: values are small integers, and a read's way can be told.
#pragma once

#include <pgnear.h>

#include "system/harness/node.h"

// A handle of the caller's.
pgnear *direct_open(const struct node *node);

// Fails the test where the code is not PGNEAR_OK.
void direct_must(pgnear_code code, const pgnear_error *error);

void direct_set_int(pgnear *handle, const char *key, int64_t value, pgnear_ack ack);
// The integer that an item holds; -1 where it is absent.
int64_t direct_int(const pgnear_item *item);
int64_t direct_get_int(pgnear *handle, const char *key);

// Whether the handle answered the last of these reads without a request to the node. Nobody else
// may use the node meanwhile.
bool direct_is_hit(struct node *node, pgnear *handle, const char *key);
void direct_assert_hit(struct node *node, pgnear *handle, const char *key);
// From now on the process may exit by SYS_exit_group and is killed at any other call.
void direct_forbid_system_calls(void);
// Waits until the key is read without a request: its write has settled.
void direct_await_hit(struct node *node, const char *key);

// A node whose map answers "present", {"a": [1, "two"]}, and "absent".
struct node *direct_start(struct scenario *scenario);
// A handle that reads nothing directly.
pgnear *direct_open_socket_only(const struct node *node);
// Waits for the end of a child, which is to be exit 0.
void direct_await_child(pid_t child);
