// JSON texts in tests: comparing them by structure and taking them apart.
#pragma once

#include "system/harness/scenario.h"

#include "base/buffer.h"

// Canonical MessagePack of a text that the test wrote; a mistake in it fails the test.
void json_text_to_msgpack(const char *json, struct buffer *out);

// JSON text of what a peer sent; fails the test where that is not JSON. Valid until the scenario
// ends.
const char *json_text_of_msgpack(struct scenario *scenario, struct slice msgpack);

// Whether both say the same: object keys in any order, numbers by value. The string "*" in
// `expected` stands for any value; alone it stands for any answer but an error (rpc.h).
bool json_matches(const char *json, const char *expected);
void assert_json(const char *json, const char *expected);

// The part of a document at a path of object keys and array indexes, "cache.hits" or "1", as JSON
// text; NULL where there is none. Valid until the scenario ends.
const char *json_at(struct scenario *scenario, const char *json, const char *path);
// The same where it must be there and be an integer.
int64_t json_int_at(struct scenario *scenario, const char *json, const char *path);
