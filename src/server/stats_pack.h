// The map that `stats` answers, as MessagePack (docs/protocol.md, "Statistics"). Pure.
#pragma once

#include "base/mpack.h"
#include "server/stats.h"

void stats_pack(msgpack_packer *packer, const struct stats *stats);
