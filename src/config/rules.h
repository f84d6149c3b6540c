// What single values cannot tell: the keys that have to agree with each other. Part of config_load.
#pragma once

#include "config/reading.h"

// Directories, sizes, sockets, the table and the document.
enum error rules_check(struct reading *reading);
