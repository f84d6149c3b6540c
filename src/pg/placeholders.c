// Pure functions; any thread.
#include "pg/placeholders.h"

#include <string.h>

#include "base/check.h"
#include "pg/table_name.h"

struct buffer *placeholders_add(struct placeholders *placeholders, const char *name)
{
    CHECK_VALUES(placeholders->count < PLACEHOLDERS_MAX, "%s", name);
    struct placeholder *row = &placeholders->rows[placeholders->count++];
    *row = (struct placeholder){.name = name};
    return &row->value;
}

void placeholders_text(struct placeholders *placeholders, const char *name, const char *value)
{
    buffer_append_slice(placeholders_add(placeholders, name), slice_of_string(value));
}

void placeholders_literal(struct placeholders *placeholders, const char *name, const char *value)
{
    quote_literal(placeholders_add(placeholders, name), value);
}

void placeholders_deinit(struct placeholders *placeholders)
{
    for (size_t i = 0; i < placeholders->count; i++) {
        buffer_deinit(&placeholders->rows[i].value);
    }
}

static struct slice value_of(const struct placeholders *placeholders, const char *name, size_t len)
{
    for (size_t i = 0; i < placeholders->count; i++) {
        const struct placeholder *row = &placeholders->rows[i];
        if (strlen(row->name) == len && memcmp(row->name, name, len) == 0) {
            return buffer_slice(&row->value);
        }
    }
    CHECK_VALUES(false, "no placeholder %.*s", (int)len, name);
    return slice_of(NULL, 0);
}

void placeholders_expand(const struct placeholders *placeholders, const char *text,
                         struct buffer *out)
{
    for (;;) {
        const char *opening = strchr(text, '@');
        if (opening == NULL) {
            break;
        }
        const char *closing = strchr(opening + 1, '@');
        CHECK_VALUES(closing != NULL, "%s", opening);
        buffer_append(out, text, (size_t)(opening - text));
        size_t len = (size_t)(closing - opening - 1);
        buffer_append_slice(out, value_of(placeholders, opening + 1, len));
        text = closing + 1;
    }
    buffer_append_slice(out, slice_of_string(text));
}

// The expansion of `text` as a literal.
void placeholders_expand_literal(const struct placeholders *placeholders, const char *text,
                                 struct buffer *out)
{
    struct buffer expanded = {0};
    placeholders_expand(placeholders, text, &expanded);
    quote_literal(out, buffer_text(&expanded));
    buffer_deinit(&expanded);
}
