// Which operation comes next: the mixes of YCSB (Cooper et al., "Benchmarking cloud serving systems
// with YCSB", SoCC 2010), and plain reading and writing.
#pragma once

#include "load/keys.h"

enum operation {
    OPERATION_READ,
    OPERATION_UPDATE,
    OPERATION_INSERT,
    OPERATION_SCAN,
    OPERATION_READ_MODIFY_WRITE,
    OPERATION_COUNT
};

struct mix {
    const char *name;
    double shares[OPERATION_COUNT]; // add up to 1
    enum distribution distribution; // where the caller names none
};

// "get", "set", "a" to "f"; NULL for another name.
const struct mix *mix_of_name(const char *name);

enum operation mix_draw(const struct mix *mix, struct key_chooser *chooser);
