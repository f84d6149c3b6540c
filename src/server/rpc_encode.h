// Answers and events -> bytes of MessagePack-RPC, appended to a buffer. Pure; any thread.
#pragma once

#include "base/buffer.h"
#include "base/messages.h"
#include "server/stats.h"

// The response to a decided call: its result, or its error. The shape of the result follows from
// the call's method and options.
void rpc_encode_reply(struct buffer *out, uint32_t msgid, const struct call *call,
                      const struct reply *reply);

// The answer to a get: what rpc_encode_reply makes of a reply with this item.
void rpc_encode_item(struct buffer *out, uint32_t msgid, const struct item *item);

void rpc_encode_failure(struct buffer *out, uint32_t msgid, const struct failure *failure);
void rpc_encode_hello(struct buffer *out, uint32_t msgid, const struct hello *hello);
void rpc_encode_stats(struct buffer *out, uint32_t msgid, const struct stats *stats);

// Notifications for watchers.
void rpc_encode_changed(struct buffer *out, const struct change *change);
void rpc_encode_resync(struct buffer *out);
