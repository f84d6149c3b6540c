// What `pgnear top` shows, made of two answers to stats some time apart. Pure.
#pragma once

#include "base/buffer.h"

// Appends as much of `text` as a terminal of that size shows: the first `rows` - 1 lines, each cut
// to `columns` characters. A size of 0 is not known and cuts nothing.
void top_fit(struct slice text, size_t rows, size_t columns, struct buffer *out);

// Appends the lines of one snapshot. `before` is the answer of `elapsed_s` seconds earlier;
// `trouble` what keeps the node from its work, in words, or empty.
void top_view(struct slice before, struct slice now, double elapsed_s, struct slice trouble,
              struct buffer *out);
