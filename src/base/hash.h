// uthash, with the memory of memory.h: it has it, or the process ends. The only way in which the
// sources include it.
#pragma once

#include "base/memory.h"

#define uthash_malloc(size) memory_resize(NULL, size)

#include <uthash.h>
