// libpq lets a program make results of its own (PQmakeEmptyPGresult, PQsetvalue); the daemon reads
// these with the functions that it reads PostgreSQL's with.
#include "simulation/world/results.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"

enum { COLUMNS_MAX = 9, ARRAY_HEADER_BYTES = 20, ARRAY_EMPTY_BYTES = 12 };

PGresult *result_create(int columns)
{
    PGresAttDesc names[COLUMNS_MAX] = {0};
    CHECK(columns <= COLUMNS_MAX);
    for (int i = 0; i < columns; i++) {
        names[i].name = (char *)"column";
    }
    PGresult *result = PQmakeEmptyPGresult(NULL, PGRES_TUPLES_OK);
    CHECK(result != NULL && PQsetResultAttrs(result, columns, names) == 1);
    return result;
}

PGresult *result_create_done(void)
{
    return PQmakeEmptyPGresult(NULL, PGRES_COMMAND_OK);
}

void result_bytes(PGresult *result, int row, int column, const void *bytes, size_t len)
{
    CHECK(PQsetvalue(result, row, column, (char *)(uintptr_t)bytes, (int)len) == 1);
}

void result_text(PGresult *result, int row, int column, const char *text)
{
    result_bytes(result, row, column, text, strlen(text));
}

void result_int8(PGresult *result, int row, int column, int64_t value)
{
    uint64_t wire = htobe64((uint64_t)value);
    result_bytes(result, row, column, &wire, sizeof wire);
}

void result_bool(PGresult *result, int row, int column, bool value)
{
    result_bytes(result, row, column, value ? "\1" : "\0", 1);
}

void result_null(PGresult *result, int row, int column)
{
    CHECK(PQsetvalue(result, row, column, NULL, -1) == 1);
}

static void put_int16(struct buffer *out, int number)
{
    uint16_t wire = htobe16((uint16_t)number);
    buffer_append(out, &wire, sizeof wire);
}

static void put_int32(struct buffer *out, int number)
{
    uint32_t wire = htobe32((uint32_t)number);
    buffer_append(out, &wire, sizeof wire);
}

static void copy_field(const PGresult *result, int row, int column, struct buffer *out)
{
    bool is_null = PQgetisnull(result, row, column);
    int len = PQgetlength(result, row, column);
    put_int32(out, is_null ? -1 : len);
    buffer_append(out, PQgetvalue(result, row, column), (size_t)len);
}

void result_copy(const PGresult *result, struct buffer *out)
{
    buffer_append(out, "PGCOPY\n\377\r\n", 11); // with the NUL
    put_int32(out, 0);
    put_int32(out, 0);
    for (int row = 0; row < PQntuples(result); row++) {
        put_int16(out, PQnfields(result));
        for (int column = 0; column < PQnfields(result); column++) {
            copy_field(result, row, column, out);
        }
    }
    put_int16(out, -1);
}

static uint32_t read_int32(const uint8_t *at)
{
    uint32_t wire;
    memcpy(&wire, at, sizeof wire);
    return be32toh(wire);
}

size_t array_read(struct slice bytes, struct slice *elements, size_t count_max)
{
    CHECK_VALUES(bytes.len >= ARRAY_EMPTY_BYTES, "%zu bytes", bytes.len);
    if (read_int32(bytes.at) == 0) {
        return 0;
    }
    size_t count = read_int32(bytes.at + ARRAY_EMPTY_BYTES);
    CHECK_VALUES(count <= count_max, "%zu elements", count);
    const uint8_t *at = bytes.at + ARRAY_HEADER_BYTES;
    for (size_t i = 0; i < count; i++) {
        int32_t len = (int32_t)read_int32(at);
        at += 4;
        elements[i] = len < 0 ? (struct slice){0} : slice_of(at, (size_t)len);
        at += len < 0 ? 0 : len;
    }
    CHECK(at == bytes.at + bytes.len);
    return count;
}

int64_t array_int8(struct slice element)
{
    uint64_t wire;
    CHECK(element.len == sizeof wire);
    memcpy(&wire, element.at, sizeof wire);
    return (int64_t)be64toh(wire);
}

int64_t param_number(struct slice param)
{
    return strtoll((const char *)param.at, NULL, 10);
}
