// Rows as COPY TO STDOUT (FORMAT binary) sends them, in one run of bytes:
//
//      "PGCOPY\n\377\r\n\0"   int32 flags   int32 length of what follows in the header, and that
//      for each row:  int16 count of its fields;  for each: int32 length (-1: NULL)  its bytes
//      int16 -1
//
// All big-endian (PostgreSQL's manual, COPY, "Binary Format"). They may come in pieces that end
// anywhere: what is left is then to be shown again, with what came after it. Pure; any thread.
#pragma once

#include <stdbool.h>

#include "base/slice.h"

enum copy_step {
    COPY_ROW,
    COPY_END,  // behind the last row, with nothing after it
    COPY_MORE, // the bytes end within it
    COPY_BAD,  // these are no such rows
};

// Steps over the header: COPY_ROW where it was there. COPY_BAD where it is not COPY's, or says of
// the rows what is not known here.
enum copy_step copy_rows_begin(struct slice *left);

// Steps over the next row: its fields, of which it must have `count`, lie in the bytes. A NULL has
// no address. Nothing but COPY_ROW changes `left`.
enum copy_step copy_rows_next(struct slice *left, struct slice *fields, size_t count);
