// What `pgnear top` shows, made of two answers to stats some time apart. Pure.
#pragma once

#include "base/buffer.h"

// Appends the lines of one snapshot. `before` is the answer of `elapsed_s` seconds earlier.
void top_view(struct slice before, struct slice now, double elapsed_s, struct buffer *out);
