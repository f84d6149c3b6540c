// JSON text of a MessagePack value: what PostgreSQL, the command line and people read. Runs on any
// thread; what was appended is taken back where the value turns out to be none.
#include "json/bytes.h"
#include "json/json.h"
#include "json/value.h"

enum { INDENT = 2 };

struct printer {
    struct buffer *out;
    bool is_pretty;
    bool is_first;  // nothing printed yet in the container around
    bool after_key; // a key and its colon were the last
    int depth;
};

// Most of what is printed is short: worth keeping in sight of the compiler.
static inline uint8_t *room_for(struct printer *printer, size_t len)
{
    struct buffer *out = printer->out;
    if (out->capacity - out->end <= len) {
        buffer_reserve(out, len + 1);
    }
    return out->bytes + out->end;
}

static inline void put(struct printer *printer, const void *text, size_t len)
{
    memcpy(room_for(printer, len), text, len);
    printer->out->end += len;
}

static void break_line(struct printer *printer)
{
    put(printer, "\n", 1);
    size_t len = (size_t)printer->depth * INDENT;
    memset(buffer_reserve(printer->out, len), ' ', len);
    buffer_commit(printer->out, len);
}

// What stands between the last token and the one that comes: a comma, a line break, nothing.
static void separate(struct printer *printer)
{
    if (printer->after_key || printer->depth == 0) {
        printer->after_key = false;
        return;
    }
    if (!printer->is_first) {
        put(printer, ",", 1);
    }
    printer->is_first = false;
    if (printer->is_pretty) {
        break_line(printer);
    }
}

// The bytes that RFC 8259, section 7, wants escaped: their letter, 'u' for \u00XX; 0: as it is.
static const char ESCAPES[256] = {
    [0 ... 7] = 'u', ['\b'] = 'b', ['\t'] = 't',      ['\n'] = 'n', ['\v'] = 'u',
    ['\f'] = 'f',    ['\r'] = 'r', [14 ... 31] = 'u', ['"'] = '"',  ['\\'] = '\\',
};

static void print_escape(struct printer *printer, uint8_t byte)
{
    if (ESCAPES[byte] == 'u') {
        buffer_printf(printer->out, "\\u%04x", byte);
    } else {
        char escape[2] = {'\\', ESCAPES[byte]};
        put(printer, escape, sizeof escape);
    }
}

static void print_with_escapes(struct printer *printer, struct slice text)
{
    size_t run = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (ESCAPES[text.at[i]] != 0) {
            put(printer, text.at + run, i - run);
            print_escape(printer, text.at[i]);
            run = i + 1;
        }
    }
    put(printer, text.at + run, text.len - run);
}

static void print_string(struct printer *printer, struct slice text)
{
    if (!bytes_have_none(text, bytes_to_escape)) {
        put(printer, "\"", 1);
        print_with_escapes(printer, text);
        put(printer, "\"", 1);
        return;
    }
    uint8_t *at = room_for(printer, text.len + 2);
    at[0] = '"';
    memcpy(at + 1, text.at, text.len);
    at[1 + text.len] = '"';
    printer->out->end += text.len + 2;
}

static void print_open(struct printer *printer, const char *bracket)
{
    put(printer, bracket, 1);
    printer->is_first = true;
    printer->depth++;
}

static void print_close(struct printer *printer, const char *bracket)
{
    printer->depth--;
    if (printer->is_pretty && !printer->is_first) {
        break_line(printer);
    }
    printer->is_first = false;
    put(printer, bracket, 1);
}

static void print_key(struct printer *printer, struct slice text)
{
    print_string(printer, text);
    put(printer, ": ", printer->is_pretty ? 2 : 1);
    printer->after_key = true;
}

static void print_token(struct printer *printer, const struct value_token *token)
{
    switch (token->type) {
    case VALUE_NULL:
        put(printer, "null", 4);
        break;
    case VALUE_BOOL:
        put(printer, token->boolean ? "true" : "false", token->boolean ? 4 : 5);
        break;
    case VALUE_NUMBER:
        number_print(&token->number, printer->out);
        break;
    case VALUE_STRING:
        print_string(printer, token->text);
        break;
    case VALUE_KEY:
        print_key(printer, token->text);
        break;
    case VALUE_OPEN_ARRAY:
        print_open(printer, "[");
        break;
    case VALUE_OPEN_MAP:
        print_open(printer, "{");
        break;
    case VALUE_CLOSE:
        print_close(printer, token->of_map ? "}" : "]");
        break;
    case VALUE_END:
        break;
    }
}

static bool print_value(struct printer *printer, struct slice msgpack, struct complaint *complaint)
{
    struct value_reader reader;
    struct value_token token;
    value_reader_init(&reader, msgpack);
    do {
        if (!value_next(&reader, &token, complaint)) {
            return false;
        }
        if (token.type != VALUE_CLOSE && token.type != VALUE_END) {
            separate(printer);
        }
        print_token(printer, &token);
    } while (token.type != VALUE_END);
    return true;
}

enum error json_from_msgpack(struct slice msgpack, bool pretty, struct buffer *out,
                             struct failure *failure)
{
    size_t len_before = buffer_len(out);
    struct printer printer = {.out = out, .is_pretty = pretty};
    struct complaint complaint;
    if (!print_value(&printer, msgpack, &complaint)) {
        out->end = out->start + len_before;
        return failure_set(failure, complaint.error, "%s at byte %zu", complaint.reason,
                           complaint.offset);
    }
    return ERROR_NONE;
}

enum error json_number_text(struct slice msgpack, struct buffer *out, struct failure *failure)
{
    struct value_reader reader;
    struct value_token number;
    struct value_token end;
    struct complaint complaint;
    value_reader_init(&reader, msgpack);
    if (!value_next(&reader, &number, &complaint)) {
        return failure_set(failure, complaint.error, "%s", complaint.reason);
    }
    if (number.type != VALUE_NUMBER) {
        return failure_set(failure, ERROR_INVALID_VALUE, "not a number");
    }
    if (!value_next(&reader, &end, &complaint)) {
        return failure_set(failure, complaint.error, "%s", complaint.reason);
    }
    number_print(&number.number, out);
    return ERROR_NONE;
}
