// The requests of a session that are not decided yet: what is asked of the writer or of PostgreSQL,
// and what waits for an earlier request on its key. On the session's loop.
#pragma once

#include "server/session.h"

// Answers the call at once where that can be; else sends it, or has it wait for its turn.
void undecided_submit(struct session *session, uint32_t msgid, const struct call *call);

// A request came home to the loop: encodes its answer, lets those run that waited for it, and
// frees it. Returns the session, which may have been abandoned.
struct session *undecided_take_home(struct request *request);

// Answers the requests whose deadline passed before their turn came.
void undecided_expire(struct session *session);

// Frees those that no request stands for elsewhere; `sent_too`: all of them, whose requests must
// never come home then.
void undecided_free(struct session *session, bool sent_too);
