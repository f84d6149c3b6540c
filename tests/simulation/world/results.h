// PGresults made by hand, and parameters taken apart: the two ends of libpq's binary format.
#pragma once

#include <libpq-fe.h>

#include "base/buffer.h"

// An empty result of `columns` columns, as PQgetResult would give it.
PGresult *result_create(int columns);
PGresult *result_create_done(void); // a command without rows
// In the row `row`, which is the last or the next.
void result_text(PGresult *result, int row, int column, const char *text);
void result_bytes(PGresult *result, int row, int column, const void *bytes, size_t len);
void result_int8(PGresult *result, int row, int column, int64_t value); // binary
void result_bool(PGresult *result, int row, int column, bool value);    // binary
void result_null(PGresult *result, int row, int column);

// Appends the rows as COPY TO STDOUT (FORMAT binary) sends them.
void result_copy(const PGresult *result, struct buffer *out);

// The elements of a one-dimensional array of a binary parameter; a NULL element has .at == NULL.
size_t array_read(struct slice bytes, struct slice *elements, size_t count_max);
int64_t array_int8(struct slice element);
// A parameter in text.
int64_t param_number(struct slice param);
