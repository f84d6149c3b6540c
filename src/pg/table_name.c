// Table names by SQL's rules (PostgreSQL manual, 4.1.1 "Identifiers and Key Words"), as the
// server's own reader of qualified names applies them: key words are names like any other, and
// bytes above 127 are letters. Pure functions without state.

#include "pg/table_name.h"

#include <stdio.h>
#include <string.h>

#include "base/check.h"

static bool is_blank(char byte)
{
    return byte == ' ' || byte == '\t' || byte == '\n' || byte == '\r' || byte == '\f';
}

static bool begins_identifier(char byte)
{
    return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') || byte == '_' ||
           (unsigned char)byte >= 0x80;
}

static bool continues_identifier(char byte)
{
    return begins_identifier(byte) || (byte >= '0' && byte <= '9') || byte == '$';
}

static char folded(char byte)
{
    return byte >= 'A' && byte <= 'Z' ? (char)(byte - 'A' + 'a') : byte;
}

static void skip_blanks(const char **at)
{
    while (is_blank(**at)) {
        (*at)++;
    }
}

struct identifier {
    char bytes[IDENTIFIER_BYTES_MAX + 1];
    size_t len; // counts on beyond the room, which only then is an error
};

static void identifier_add(struct identifier *identifier, char byte)
{
    if (identifier->len < IDENTIFIER_BYTES_MAX) {
        identifier->bytes[identifier->len] = byte;
    }
    identifier->len++;
}

static enum error parse_quoted(const char **at, struct identifier *identifier,
                               struct failure *failure)
{
    for ((*at)++;; (*at)++) {
        if (**at == '\0') {
            return failure_set(failure, ERROR_CONFIG, "a quoted name lacks its closing quote");
        }
        if (**at == '"') {
            (*at)++;
            if (**at != '"') {
                break;
            }
        }
        identifier_add(identifier, **at);
    }
    if (identifier->len == 0) {
        return failure_set(failure, ERROR_CONFIG, "a quoted name is empty");
    }
    return ERROR_NONE;
}

static enum error parse_unquoted(const char **at, struct identifier *identifier,
                                 struct failure *failure)
{
    if (**at == '\0' || **at == '.') {
        return failure_set(failure, ERROR_CONFIG, "a name is missing");
    }
    if (!begins_identifier(**at)) {
        return failure_set(failure, ERROR_CONFIG,
                           "a name that begins with '%c' must stand in double quotes", **at);
    }
    while (continues_identifier(**at)) {
        identifier_add(identifier, folded(**at));
        (*at)++;
    }
    return ERROR_NONE;
}

// Reads one name and the blanks around it; what follows is not looked at.
static enum error parse_identifier(const char **at, char out[IDENTIFIER_BYTES_MAX + 1],
                                   struct failure *failure)
{
    struct identifier identifier = {.len = 0};
    skip_blanks(at);
    enum error error = **at == '"' ? parse_quoted(at, &identifier, failure)
                                   : parse_unquoted(at, &identifier, failure);
    if (error != ERROR_NONE) {
        return error;
    }
    if (identifier.len > IDENTIFIER_BYTES_MAX) {
        return failure_set(failure, ERROR_CONFIG, "a name has %zu bytes, more than %d",
                           identifier.len, IDENTIFIER_BYTES_MAX);
    }
    skip_blanks(at);
    memcpy(out, identifier.bytes, sizeof identifier.bytes);
    return ERROR_NONE;
}

enum error table_name_parse(const char *text, struct table_name *name, struct failure *failure)
{
    const char *at = text;
    struct table_name parsed = {.schema = ""};
    enum error error = parse_identifier(&at, parsed.table, failure);
    if (error == ERROR_NONE && *at == '.') {
        at++;
        memcpy(parsed.schema, parsed.table, sizeof parsed.schema);
        memset(parsed.table, 0, sizeof parsed.table);
        error = parse_identifier(&at, parsed.table, failure);
    }
    if (error != ERROR_NONE) {
        return error;
    }
    if (*at == '.') {
        return failure_set(failure, ERROR_CONFIG, "more than a schema and a table are named");
    }
    if (*at != '\0') {
        return failure_set(failure, ERROR_CONFIG,
                           "'%c' is not allowed here; such a name must stand in double quotes",
                           *at);
    }
    *name = parsed;
    return ERROR_NONE;
}

static void append_doubling(struct buffer *out, const char *text, const char *doubled)
{
    for (const char *at = text; *at != '\0'; at++) {
        if (strchr(doubled, *at) != NULL) {
            buffer_append(out, at, 1);
        }
        buffer_append(out, at, 1);
    }
}

void quote_identifier(struct buffer *out, const char *identifier)
{
    buffer_append(out, "\"", 1);
    append_doubling(out, identifier, "\"");
    buffer_append(out, "\"", 1);
}

void quote_literal(struct buffer *out, const char *text)
{
    // A backslash means itself in '...' only with standard_conforming_strings on; in E'...' two
    // of them always mean one.
    const char *opening = strchr(text, '\\') != NULL ? " E'" : "'";
    buffer_append_slice(out, slice_of_string(opening));
    append_doubling(out, text, "'\\");
    buffer_append(out, "'", 1);
}

void quote_qualified(const char *schema, const char *name, char out[QUALIFIED_NAME_BYTES])
{
    struct buffer quoted = {0};
    if (schema[0] != '\0') {
        quote_identifier(&quoted, schema);
        buffer_append(&quoted, ".", 1);
    }
    quote_identifier(&quoted, name);
    buffer_append(&quoted, "", 1);
    CHECK_VALUES(buffer_len(&quoted) <= QUALIFIED_NAME_BYTES, "%s.%s", schema, name);
    memcpy(out, buffer_slice(&quoted).at, buffer_len(&quoted));
    buffer_deinit(&quoted);
}

void table_name_shorten(const struct table_name *name, char *message)
{
    char qualified[sizeof name->schema + sizeof name->table + 3];
    int len = snprintf(qualified, sizeof qualified, "\"%s.%s\"", name->schema, name->table);
    CHECK(len > 0 && len < (int)sizeof qualified);
    size_t schema_len = strlen(name->schema) + 1; // with the dot
    for (char *at = message; (at = strstr(at, qualified)) != NULL; at++) {
        memmove(at + 1, at + 1 + schema_len, strlen(at + 1 + schema_len) + 1);
    }
}
