// What the operands and options of the command line mean.
#pragma once

#include "cli/command.h"

// The MessagePack of a JSON text, or of the JSON on standard input where it is "-". Appends to
// `out`. EXIT_DONE, or how to exit after what has been said.
enum exit_status read_json(const char *text, struct buffer *out);

// The MessagePack of a number as JSON has it, appended to `out`; says so where it is none.
bool read_number(const char *text, struct buffer *out);

// A whole number; says so where it is none. `what` names it.
bool read_integer_operand(const char *what, const char *text, int64_t min, int64_t *value);

// A time with a unit, of at least a millisecond.
bool read_ttl(const char *text, int64_t *ttl_ms);

// A point in time as RFC 3339 has it, to the second, on a day that there is: microseconds since
// 1970.
bool read_time(const char *text, int64_t *time_us);

// The options of a write: --ack, --ttl, --expires-at, --if-version, --if-absent, --id. False where
// they are wrong; it has been said then.
bool read_write_options(const struct invocation *invocation, pgnear_write_options *options);
