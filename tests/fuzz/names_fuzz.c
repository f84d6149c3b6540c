// Any text as what people write in settings and on the command line: a table's name, a duration, a
// size, a percentage. What is taken as a name can be quoted and read again as the same name; what
// is quoted as a literal holds no quote or backslash that ends it.
#include <stdlib.h>

#include "base/check.h"
#include "base/memory.h"
#include "config/units.h"
#include "pg/table_name.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static void check_name(const char *text)
{
    struct table_name name, again;
    struct failure failure = {0};
    char qualified[QUALIFIED_NAME_BYTES];
    if (table_name_parse(text, &name, &failure) != ERROR_NONE) {
        CHECK(failure.message[0] != '\0');
        return;
    }
    CHECK(name.table[0] != '\0');
    quote_qualified(name.schema, name.table, qualified);
    CHECK_VALUES(table_name_parse(qualified, &again, &failure) == ERROR_NONE, "%s", qualified);
    CHECK(strcmp(name.schema, again.schema) == 0 && strcmp(name.table, again.table) == 0);
    char *message = memory_string(slice_of_string(text));
    table_name_shorten(&name, message);
    CHECK(strlen(message) <= strlen(text));
    free(message);
}

// An identifier in quotes ends at its last byte and nowhere before.
static void check_quoted(const char *text)
{
    struct buffer out = {0};
    quote_identifier(&out, text);
    struct slice quoted = buffer_slice(&out);
    CHECK(quoted.len >= 2 && quoted.at[0] == '"' && quoted.at[quoted.len - 1] == '"');
    for (size_t i = 1; i + 1 < quoted.len; i++) {
        if (quoted.at[i] == '"') {
            i++;
            CHECK(i + 1 < quoted.len && quoted.at[i] == '"');
        }
    }
    buffer_deinit(&out);
}

static void check_literal(const char *text)
{
    struct buffer out = {0};
    quote_literal(&out, text);
    struct slice quoted = buffer_slice(&out);
    const uint8_t *quote = memchr(quoted.at, '\'', quoted.len);
    CHECK(quote != NULL && quoted.at[quoted.len - 1] == '\'');
    for (const uint8_t *at = quote + 1; at + 1 < quoted.at + quoted.len; at++) {
        if (*at == '\'' || *at == '\\') {
            at++;
            CHECK(at + 1 < quoted.at + quoted.len && *at == at[-1]);
        }
    }
    buffer_deinit(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    int64_t number = -1;
    struct slice text = slice_of(bytes, len);
    bool is_duration = units_duration_us(text, &number);
    CHECK(!is_duration || number >= 0);
    bool is_size = units_size_bytes(text, &number);
    CHECK(!is_size || number >= 0);
    bool is_percent = units_percent(text, &number);
    CHECK(!is_percent || number >= 0);
    CHECK(is_duration + is_size + is_percent <= 1);
    char *copy = memory_string(slice_of(bytes, len == 0 ? 0 : strnlen((const char *)bytes, len)));
    check_name(copy);
    check_quoted(copy);
    check_literal(copy);
    free(copy);
    return 0;
}
