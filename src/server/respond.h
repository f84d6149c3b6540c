// The response to one message: put into the session's output, in the order in which they are
// decided, and counted where it is an error. On the session's loop.
#pragma once

#include "server/session.h"

void respond_failure(struct session *session, uint32_t msgid, const struct failure *failure);
void respond_overloaded(struct session *session, uint32_t msgid, const struct call *call);

// A failure or a result.
void respond_reply(struct session *session, uint32_t msgid, const struct call *call,
                   const struct reply *reply);

// Where the loop itself or the cache has the answer. False: the route stands (dispatch_answer).
bool respond_at_once(struct session *session, uint32_t msgid, const struct call *call,
                     struct route *route);
