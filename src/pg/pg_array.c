#include "pg/pg_array.h"

#include <endian.h>

#include "base/check.h"

enum { HEADER_BYTES = 20, JSONB_FORMAT = 1 };

static void put_int32(uint8_t *at, uint32_t value)
{
    uint32_t wire = htobe32(value);
    memcpy(at, &wire, sizeof wire);
}

static void append_int32(struct buffer *out, uint32_t value)
{
    put_int32(buffer_reserve(out, 4), value);
    buffer_commit(out, 4);
}

static void append_int64(struct buffer *out, int64_t value)
{
    uint64_t wire = htobe64((uint64_t)value);
    buffer_append(out, &wire, sizeof wire);
}

void pg_array_begin(struct pg_array *array, struct buffer *out, Oid element)
{
    *array = (struct pg_array){.out = out, .header = buffer_len(out)};
    append_int32(out, 1);
    append_int32(out, 0);
    append_int32(out, element);
    append_int32(out, 0);
    append_int32(out, 1);
}

static void begin_element(struct pg_array *array, size_t len)
{
    CHECK_VALUES(len <= INT32_MAX, "%zu bytes", len);
    array->count++;
    append_int32(array->out, (uint32_t)len);
}

void pg_array_null(struct pg_array *array)
{
    array->count++;
    array->has_null = true;
    append_int32(array->out, UINT32_MAX);
}

void pg_array_text(struct pg_array *array, struct slice text)
{
    begin_element(array, text.len);
    buffer_append_slice(array->out, text);
}

void pg_array_int8(struct pg_array *array, int64_t value)
{
    begin_element(array, sizeof value);
    append_int64(array->out, value);
}

void pg_array_timestamptz(struct pg_array *array, int64_t time_us)
{
    if (time_us == 0) {
        pg_array_null(array);
    } else {
        pg_array_int8(array, time_us - PG_EPOCH_US);
    }
}

void pg_array_jsonb(struct pg_array *array, struct slice json)
{
    uint8_t format = JSONB_FORMAT;
    begin_element(array, json.len + 1);
    buffer_append(array->out, &format, 1);
    buffer_append_slice(array->out, json);
}

void pg_array_end(struct pg_array *array)
{
    uint8_t *header = array->out->bytes + array->out->start + array->header;
    put_int32(header, array->count > 0);
    put_int32(header + 4, array->has_null);
    put_int32(header + 12, array->count);
    if (array->count == 0) {
        // An array without dimensions has neither a count nor a bound.
        array->out->end -= HEADER_BYTES - 12;
    }
}

int64_t pg_read_int8(const char *bytes)
{
    uint64_t wire;
    memcpy(&wire, bytes, sizeof wire);
    return (int64_t)be64toh(wire);
}
