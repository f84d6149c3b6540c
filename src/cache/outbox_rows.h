// The rows of the outbox's `meta`: a name, and
//
//   value | checksum 8
//
// where the checksum is of the value, seeded with that of the name. Numbers are in the machine's
// byte order, as the files are. All that a start takes for granted stands here (what is applied,
// which numbers were used, what of the log counts), so that a row which somebody or the disk has
// changed, renamed or taken away is damage, and stops the start.
//
// The release before wrote values alone: rows of which none has a checksum are taken as they are.
// The row `layout` keeps its form in every later release, since it is what tells of one.
//
// Within a transaction. The writer's thread; the start's before.
#pragma once

#include "cache/outbox.h"

// At the start, after the layout, before any other row is read. ERROR_CORRUPT where a row is not
// what was written, or is missing. Gives checksums to the rows of the release before.
enum error outbox_rows_check(struct outbox *outbox);

// Of either form; 0 where there is none. ERROR_CORRUPT.
enum error outbox_row_read_layout(struct outbox *outbox, uint64_t *layout);

// `value` is not of the transaction.
enum error outbox_row_put(struct outbox *outbox, const char *name, struct slice value);
enum error outbox_row_put_number(struct outbox *outbox, const char *name, uint64_t number);

// Slices live until something is written. ERROR_NOT_FOUND, ERROR_CORRUPT.
enum error outbox_row_get(struct outbox *outbox, const char *name, struct slice *value);
// Leaves `number` as it is where there is none.
enum error outbox_row_get_number(struct outbox *outbox, const char *name, uint64_t *number);
