// A growable run of bytes with one owner: filled at the end, consumed from the front.
//
//      bytes                 start            end              capacity
//      |  consumed, reusable |  readable      |  writable      |
//
// Not for two threads at once. A buffer of all zeroes is a valid empty one.
#pragma once

#include "base/slice.h"

struct buffer {
    uint8_t *bytes;
    size_t start;
    size_t end;
    size_t capacity;
};

// Frees what it holds and leaves it empty and usable.
void buffer_deinit(struct buffer *buffer);

// Room for `len` more bytes at the returned address, to be taken with buffer_commit. Moves the
// readable bytes, so slices into the buffer die. Never fails: out of memory ends the process.
uint8_t *buffer_reserve(struct buffer *buffer, size_t len);
void buffer_commit(struct buffer *buffer, size_t len);

void buffer_append(struct buffer *buffer, const void *bytes, size_t len);
void buffer_append_slice(struct buffer *buffer, struct slice slice);
void buffer_printf(struct buffer *buffer, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

// Takes `len` readable bytes off the front.
void buffer_consume(struct buffer *buffer, size_t len);

// Empties it and keeps its memory, unless that is more than `keep_bytes_max`.
void buffer_clear(struct buffer *buffer, size_t keep_bytes_max);

static inline size_t buffer_len(const struct buffer *buffer)
{
    return buffer->end - buffer->start;
}

// The readable bytes; valid until the buffer is next changed.
static inline struct slice buffer_slice(const struct buffer *buffer)
{
    const uint8_t *at = buffer->bytes == NULL ? NULL : buffer->bytes + buffer->start;
    return slice_of(at, buffer->end - buffer->start);
}

// The readable bytes as a string of C, behind which stands a NUL that is none of them; valid until
// the buffer is next changed.
static inline const char *buffer_text(struct buffer *buffer)
{
    *buffer_reserve(buffer, 1) = '\0';
    return (const char *)buffer->bytes + buffer->start;
}
