#include "base/buffer.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/memory.h"

static const size_t CAPACITY_MIN_BYTES = 256;

void buffer_deinit(struct buffer *buffer)
{
    free(buffer->bytes);
    *buffer = (struct buffer){0};
}

static void move_to_front(struct buffer *buffer)
{
    size_t len = buffer_len(buffer);
    if (buffer->start > 0 && len > 0) {
        memmove(buffer->bytes, buffer->bytes + buffer->start, len);
    }
    buffer->start = 0;
    buffer->end = len;
}

uint8_t *buffer_reserve(struct buffer *buffer, size_t len)
{
    CHECK(buffer->start <= buffer->end && buffer->end <= buffer->capacity);
    if (buffer->bytes == NULL || buffer->capacity - buffer->end < len) {
        move_to_front(buffer);
        if (buffer->bytes == NULL || buffer->capacity - buffer->end < len) {
            size_t needed = buffer->end + len;
            CHECK_VALUES(needed >= len, "%zu bytes", len);
            size_t doubled = buffer->capacity * 2;
            size_t capacity = needed > doubled ? needed : doubled;
            capacity = capacity > CAPACITY_MIN_BYTES ? capacity : CAPACITY_MIN_BYTES;
            buffer->bytes = memory_resize(buffer->bytes, capacity);
            buffer->capacity = capacity;
        }
    }
    return buffer->bytes + buffer->end;
}

void buffer_commit(struct buffer *buffer, size_t len)
{
    CHECK_VALUES(len <= buffer->capacity - buffer->end, "%zu bytes", len);
    buffer->end += len;
}

void buffer_append(struct buffer *buffer, const void *bytes, size_t len)
{
    if (len > 0) {
        memcpy(buffer_reserve(buffer, len), bytes, len);
        buffer->end += len;
    }
}

void buffer_append_slice(struct buffer *buffer, struct slice slice)
{
    buffer_append(buffer, slice.at, slice.len);
}

void buffer_printf(struct buffer *buffer, const char *format, ...)
{
    va_list values;
    va_start(values, format);
    va_list again;
    va_copy(again, values);
    int len = vsnprintf(NULL, 0, format, values);
    va_end(values);
    CHECK(len >= 0);
    uint8_t *room = buffer_reserve(buffer, (size_t)len + 1);
    vsnprintf((char *)room, (size_t)len + 1, format, again);
    va_end(again);
    buffer->end += (size_t)len;
}

void buffer_consume(struct buffer *buffer, size_t len)
{
    CHECK_VALUES(len <= buffer_len(buffer), "%zu of %zu", len, buffer_len(buffer));
    buffer->start += len;
    if (buffer->start == buffer->end) {
        buffer->start = buffer->end = 0;
    }
}

void buffer_clear(struct buffer *buffer, size_t keep_bytes_max)
{
    buffer->start = buffer->end = 0;
    if (buffer->capacity > keep_bytes_max) {
        buffer_deinit(buffer);
    }
}
