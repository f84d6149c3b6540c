// The filling in of SQL templates: @name@ stands for a value. A value is put in once and never
// looked at again, so it may contain what looks like a placeholder. Any thread.
#pragma once

#include "base/buffer.h"

enum { PLACEHOLDERS_MAX = 96 };

struct placeholder {
    const char *name;
    struct buffer value;
};

// The caller's memory; zero is empty.
struct placeholders {
    struct placeholder rows[PLACEHOLDERS_MAX];
    size_t count;
};

void placeholders_deinit(struct placeholders *placeholders);

// A new placeholder, whose value is what the caller appends. `name` outlives `placeholders`.
struct buffer *placeholders_add(struct placeholders *placeholders, const char *name);
// One whose value is the text as it is, and one whose value is the text as an SQL literal.
void placeholders_text(struct placeholders *placeholders, const char *name, const char *value);
void placeholders_literal(struct placeholders *placeholders, const char *name, const char *value);

// Appends `text` with its placeholders filled in. An unknown name is a programmer's error.
void placeholders_expand(const struct placeholders *placeholders, const char *text,
                         struct buffer *out);
// The same, as a literal.
void placeholders_expand_literal(const struct placeholders *placeholders, const char *text,
                                 struct buffer *out);
