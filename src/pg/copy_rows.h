// Rows as COPY TO STDOUT (FORMAT binary) sends them, in one run of bytes:
//
//      "PGCOPY\n\377\r\n\0"   int32 flags   int32 length of what follows in the header, and that
//      for each row:  int16 count of its fields;  for each: int32 length (-1: NULL)  its bytes
//      int16 -1
//
// All big-endian (PostgreSQL's manual, COPY, "Binary Format"). Pure; any thread.
#pragma once

#include <stdbool.h>

#include "base/slice.h"

enum copy_step {
    COPY_ROW,
    COPY_END, // behind the last row, with nothing after it
    COPY_BAD, // these are no such rows, or not all of them
};

struct copy_rows {
    struct slice left;
};

// Steps over the header. False where it is not COPY's, or says of the rows what is not known here.
bool copy_rows_begin(struct copy_rows *rows, struct slice bytes);

// The next row's fields, of which it must have `count`; they lie in the bytes. A NULL has no
// address.
enum copy_step copy_rows_next(struct copy_rows *rows, struct slice *fields, size_t count);
