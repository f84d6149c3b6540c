// What `check` says of the directories, the disk, the file systems and the reader slots.
#pragma once

#include "base/request.h"

struct writer;

// Adds its items to `reply->checks`. Any thread.
void inspect(struct writer *writer, struct reply *reply);
