// What tells bytes that the disk or somebody else changed from those that were written: XXH3 of the
// package libxxhash. No protection against who wants to be believed. Pure; any thread.
#pragma once

#include "base/slice.h"

// Of the bytes and of `seed`, which is the checksum of what belongs before them, or 0.
uint64_t checksum(struct slice bytes, uint64_t seed);
