// What became of a batch: read from PostgreSQL's answers, or from the results that the node's row
// recorded where the answers were lost; and told as replies to callers and as a FLUSHED message.
#pragma once

#include <libpq-fe.h>

#include "base/messages.h"
#include "pg/batch.h"
#include "json/json.h"

// Takes the rows of a group's query. `is_checked`: others have a say in what is written, so the
// rows of a put were compared. A write whose row is missing stays unknown.
void batch_take_rows(struct batch *batch, const struct batch_group *group, const PGresult *result,
                     bool is_checked, const struct json_limits *limits);

// Takes pgnear_node.results (JSON text) for the writes it speaks of. ERROR_CORRUPT where it is not
// what a batch records; what was read until then holds.
enum error batch_take_recorded(struct batch *batch, struct slice json,
                               const struct json_limits *limits);

// Nothing that was written is known to be what stands there.
void batch_mark_altered(struct batch *batch);

// The answer to the caller of an entry that returns one, into a reply of all zeroes.
void batch_reply(const struct batch_entry *entry, struct reply *reply);

// The writes that did nothing because a condition failed.
bool batch_entry_conflicts(const struct batch_entry *entry);

// FLUSHED up to `applied_seq` with the last state of every key and the answers that carry an id,
// without requests; `epoch` and `feed_was_live` are of the sending.
struct flushed_message *batch_flushed(const struct batch *batch, uint64_t applied_seq,
                                      uint64_t epoch, bool feed_was_live);
