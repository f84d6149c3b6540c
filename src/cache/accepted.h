// Every write that this node has acknowledged and may still owe PostgreSQL: the entries of the
// outbox, and the writes that are on their way there.
#pragma once

#include "cache/writer_state.h"

// In order of seq from the first greater than `after_seq`, each once, while `visit` answers true:
// all whose seq STATUS_OUTBOX_LAST_SEQ has reached before the call, and perhaps newer ones that are
// in the outbox, also such as are not answered yet. Slices live during the visit. Any thread.
// ERROR_CORRUPT where an entry cannot be decoded.
enum error accepted_visit(struct writer *writer, uint64_t after_seq,
                          bool (*visit)(void *context, const struct entry *entry), void *context);
