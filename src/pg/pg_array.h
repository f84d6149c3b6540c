// One-dimensional arrays in PostgreSQL's binary form, as parameters of unnest($1::text[]):
//
//      int32 dimensions (1, or 0 where empty)   int32 has NULLs   Oid of the elements
//      int32 count   int32 lower bound (1)
//      for each element:  int32 length (-1: NULL)  its bytes
//
// All big-endian (src/backend/utils/adt/arrayfuncs.c, array_recv).
#pragma once

#include <libpq-fe.h>

#include "base/buffer.h"

// OIDs of pg_type.dat: fixed for ever.
enum {
    PG_OID_INT8 = 20,
    PG_OID_TEXT = 25,
    PG_OID_NUMERIC = 1700,
    PG_OID_TIMESTAMPTZ = 1184,
    PG_OID_JSONB = 3802
};

struct pg_array {
    struct buffer *out;
    size_t header; // where it begins in `out`, from the buffer's start
    uint32_t count;
    bool has_null;
};

// Appends the array's header to `out`; elements follow, then pg_array_end.
void pg_array_begin(struct pg_array *array, struct buffer *out, Oid element);

void pg_array_null(struct pg_array *array);
void pg_array_text(struct pg_array *array, struct slice text);
void pg_array_int8(struct pg_array *array, int64_t value);
// Microseconds since 1970; 0 is NULL.
void pg_array_timestamptz(struct pg_array *array, int64_t time_us);
// JSON text.
void pg_array_jsonb(struct pg_array *array, struct slice json);

void pg_array_end(struct pg_array *array);

// Microseconds between 1970 and PostgreSQL's epoch, 2000-01-01.
#define PG_EPOCH_US 946684800000000LL

// The numbers of binary results.
int64_t pg_read_int8(const char *bytes);
