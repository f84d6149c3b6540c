// The result of each method in its wire form (docs/protocol.md), and the fields that results and
// errors share. Values are MessagePack already and are copied as they stand. Pure; any thread.
#pragma once

#include <msgpack.h>

#include "base/messages.h"

// Whether the result is {seq} and no more, which the frame's encoder writes by itself.
bool rpc_result_is_seq(const struct call *call);

// Any other result of a call that has succeeded; its shape follows from the method and the options.
void rpc_pack_result(msgpack_packer *packer, const struct call *call, const struct reply *reply);
// `[value, version]`, or nil where absent.
void rpc_pack_item(msgpack_packer *packer, const struct item *item);

void rpc_pack_bool(msgpack_packer *packer, bool value);
void rpc_pack_text_field(msgpack_packer *packer, const char *name, const char *text);
void rpc_pack_seq_field(msgpack_packer *packer, uint64_t seq);
// nil where it is not known.
void rpc_pack_version_field(msgpack_packer *packer, bool known, int64_t version);
