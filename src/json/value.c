// MessagePack tokens as JSON tokens. Runs on any thread and owns nothing: the stack of levels lies
// in the reader.
//
// Invariant: a map's `missing` is even where a key comes next.
#include "json/value.h"

#include "json/bytes.h"
#include "json/text.h"

// First bytes of MessagePack that carry a length or a number.
enum { FIXED_INT_MAX = 0x7f, FIXED_STRING = 0xa0, FIXED_LEN_MAX = 0x1f };

static const char CUT_OFF[] = "MessagePack is cut off";
static const char MALFORMED[] = "malformed MessagePack";
static const char TRAILING[] = "bytes behind the value";
static const char TOO_DEEP[] = "nested more than 128 deep";
static const char KEY_NOT_STRING[] = "a key of a map is not a string";
static const char BIN[] = "bin is not in JSON";
static const char EXT[] = "an ext type but 1, a decimal number, is not in JSON";
static const char NOT_UTF8[] = "invalid UTF-8";
static const char NUL_IN_STRING[] = "\\u0000 cannot be in a string";

void value_reader_init(struct value_reader *reader, struct slice msgpack)
{
    reader->cursor = mpack_cursor_of(msgpack);
    reader->begin = msgpack.at;
    reader->has_value = false;
    reader->depth = 0;
}

// NULL, or what is wrong with a string.
static const char *text_complaint(struct slice text)
{
    if (bytes_have_none(text, bytes_not_ascii)) {
        return NULL;
    }
    if (memchr(text.at, '\0', text.len) != NULL) {
        return NUL_IN_STRING;
    }
    return text_is_utf8(text.at, text.len) ? NULL : NOT_UTF8;
}

// Not as a whole: most of a number is room for a decimal.
static void set_uint(struct value_token *token, uint64_t uint)
{
    token->type = VALUE_NUMBER;
    token->number.kind = NUMBER_UINT;
    token->number.uint = uint;
    token->number.expanded_bytes = 0;
}

// Fills a token of what is neither a container nor a key. NULL, or what is wrong with it.
static const char *read_scalar(const struct mpack_token *from, struct value_token *token)
{
    switch (from->type) {
    case MPACK_NIL:
        token->type = VALUE_NULL;
        return NULL;
    case MPACK_BOOL:
        token->type = VALUE_BOOL;
        token->boolean = from->boolean;
        return NULL;
    case MPACK_UINT:
        set_uint(token, from->uint);
        return NULL;
    case MPACK_INT:
        token->type = VALUE_NUMBER;
        token->number = (struct number){.kind = NUMBER_INT, .sint = from->sint};
        return NULL;
    case MPACK_FLOAT:
        token->type = VALUE_NUMBER;
        return number_from_real(from->real, &token->number);
    case MPACK_STR:
        token->type = VALUE_STRING;
        token->text = from->body;
        return text_complaint(from->body);
    case MPACK_EXT:
        token->type = VALUE_NUMBER;
        return from->ext_type == JSON_EXT_DECIMAL ? number_from_text(from->body, &token->number)
                                                  : EXT;
    case MPACK_BIN:
    case MPACK_ARRAY:
    case MPACK_MAP:
        break;
    }
    return BIN;
}

static bool open_level(struct value_reader *reader, const struct mpack_token *from,
                       struct value_token *token, struct complaint *complaint)
{
    if (reader->depth == JSON_DEPTH_MAX + JSON_AROUND_MAX) {
        return complain(complaint, ERROR_TOO_LARGE, TOO_DEEP, token->offset);
    }
    bool is_map = from->type == MPACK_MAP;
    token->type = is_map ? VALUE_OPEN_MAP : VALUE_OPEN_ARRAY;
    token->count = from->count;
    reader->levels[reader->depth].is_map = is_map;
    reader->levels[reader->depth].missing = is_map ? 2 * (uint64_t)from->count : from->count;
    reader->depth++;
    return true;
}

// At the border of a value: ends the level on top if it is full, or the whole. False where there is
// another token to read.
static bool ends_here(struct value_reader *reader, struct value_token *token)
{
    if (reader->depth > 0 && reader->levels[reader->depth - 1].missing == 0) {
        reader->depth--;
        token->type = VALUE_CLOSE;
        token->of_map = reader->levels[reader->depth].is_map;
        return true;
    }
    if (reader->depth == 0 && reader->has_value) {
        token->type = VALUE_END;
        return true;
    }
    return false;
}

// Counts the token that comes next down in its level; whether it must be a key.
static bool take_turn(struct value_reader *reader)
{
    reader->has_value = true;
    if (reader->depth == 0) {
        return false;
    }
    uint64_t missing = reader->levels[reader->depth - 1].missing--;
    return reader->levels[reader->depth - 1].is_map && missing % 2 == 0;
}

// Not inlined, so that what is common needs few registers.
__attribute__((noinline)) static bool
take_any(struct value_reader *reader, struct value_token *token, struct complaint *complaint)
{
    if (ends_here(reader, token)) {
        bool is_behind = token->type == VALUE_END && reader->cursor.at != reader->cursor.end;
        return !is_behind || complain(complaint, ERROR_INVALID_VALUE, TRAILING, token->offset);
    }
    struct mpack_token from;
    enum decode decoded = mpack_next(&reader->cursor, &from);
    if (decoded != DECODE_OK) {
        return complain(complaint, ERROR_INVALID_VALUE,
                        decoded == DECODE_NEED_MORE ? CUT_OFF : MALFORMED, token->offset);
    }
    bool is_key = take_turn(reader);
    if (is_key && from.type != MPACK_STR) {
        return complain(complaint, ERROR_INVALID_VALUE, KEY_NOT_STRING, token->offset);
    }
    if (from.type == MPACK_ARRAY || from.type == MPACK_MAP) {
        return open_level(reader, &from, token, complaint);
    }
    const char *wrong = read_scalar(&from, token);
    if (is_key) {
        token->type = VALUE_KEY;
    }
    return wrong == NULL || complain(complaint, ERROR_INVALID_VALUE, wrong, token->offset);
}

// Short strings and small integers within a container, which most tokens are. False, and nothing
// has happened, where it takes the long way to know.
static bool take_common(struct value_reader *reader, struct value_token *token)
{
    const uint8_t *at = reader->cursor.at;
    if (reader->depth == 0 || reader->levels[reader->depth - 1].missing == 0 ||
        at == reader->cursor.end) {
        return false;
    }
    struct value_level *level = &reader->levels[reader->depth - 1];
    bool is_key = level->is_map && level->missing % 2 == 0;
    if ((*at & ~FIXED_LEN_MAX) == FIXED_STRING) {
        struct slice text = slice_of(at + 1, *at & FIXED_LEN_MAX);
        if ((size_t)(reader->cursor.end - text.at) < text.len ||
            !bytes_have_none(text, bytes_not_ascii)) {
            return false;
        }
        token->type = is_key ? VALUE_KEY : VALUE_STRING;
        token->text = text;
        reader->cursor.at = text.at + text.len;
    } else if (*at <= FIXED_INT_MAX && !is_key) {
        set_uint(token, *at);
        reader->cursor.at++;
    } else {
        return false;
    }
    level->missing--;
    return true;
}

bool value_next(struct value_reader *reader, struct value_token *token, struct complaint *complaint)
{
    token->offset = (size_t)(reader->cursor.at - reader->begin);
    return take_common(reader, token) || take_any(reader, token, complaint);
}
