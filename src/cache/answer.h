// The last part of a turn, see answer.c.
#pragma once

#include "cache/turn.h"

// Hands the item's message on, or frees it. What had to be durable is.
void answer_item(struct turn *turn, struct turn_item *item);

// After a phase failed for good: every request is answered, everything else is freed.
void answer_turn_failed(struct turn *turn);

// Tells the servers that could not be told of a change before.
void answer_owed_resyncs(struct writer *writer);
