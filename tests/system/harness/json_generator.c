// Random JSON texts. Containers are open in a stack of brackets, so that depth costs nothing.
#include "system/harness/json_generator.h"

enum { DEPTH_MAX = 136, BUDGET_MAX = 120 };

static bool one_in(struct random *random, uint64_t count)
{
    return random_below(random, count) == 0;
}

#define PICK(random, list) ((list)[random_below((random), sizeof(list) / sizeof((list)[0]))])

static void append(struct buffer *out, const char *text)
{
    buffer_append_slice(out, slice_of_string(text));
}

static void append_space(struct random *random, struct buffer *out)
{
    static const char *const SPACES[] = {" ", "\n", "\t", "\r", "  ", "\r\n    "};
    if (one_in(random, 4)) {
        append(out, PICK(random, SPACES));
    }
}

static void append_digits(struct random *random, struct buffer *out, uint64_t count)
{
    static const char *const LIKELY[] = {"0", "00", "9", "99", "1"};
    size_t end = buffer_len(out) + count;
    while (buffer_len(out) < end) {
        if (one_in(random, 3)) {
            append(out, PICK(random, LIKELY));
        } else {
            buffer_printf(out, "%d", (int)random_below(random, 10));
        }
    }
}

static uint64_t digits_count(struct random *random)
{
    static const uint64_t ENDS[] = {2, 2, 4, 8, 16, 20, 25, 60};
    return random_below(random, PICK(random, ENDS));
}

static int exponent(struct random *random)
{
    static const int CENTRES[] = {0, 0, 15, -15, 22, -22, 308, -308, -324, 131071, -16383};
    int centre = one_in(random, 20) ? CENTRES[9 + random_below(random, 2)]
                                    : CENTRES[random_below(random, 9)];
    return centre + (int)random_below(random, 13) - 6;
}

static void append_built_number(struct random *random, struct buffer *out)
{
    static const char *const SIGNS[] = {"", "", "-"};
    static const char *const MARKS[] = {"e", "E", "e+", "E+", "e0", "e+00"};
    append(out, PICK(random, SIGNS));
    if (one_in(random, 3)) {
        append(out, "0");
    } else {
        buffer_printf(out, "%d", 1 + (int)random_below(random, 9));
        append_digits(random, out, digits_count(random));
    }
    if (one_in(random, 2)) {
        append(out, ".");
        append_digits(random, out, 1 + digits_count(random));
    }
    if (one_in(random, 3)) {
        int power = exponent(random);
        if (power < 0) {
            buffer_printf(out, "%s%d", one_in(random, 2) ? "e" : "E", power);
        } else {
            buffer_printf(out, "%s%d", PICK(random, MARKS), power);
        }
    }
}

static void append_number(struct random *random, struct buffer *out)
{
    static const char *const EDGES[] = {
        "0",
        "-0",
        "-0.0",
        "0e5",
        "1.0",
        "1e2",
        "100",
        "0.1",
        "127",
        "128",
        "255",
        "256",
        "65535",
        "65536",
        "-32",
        "-33",
        "-128",
        "-129",
        "-32768",
        "-32769",
        "4294967295",
        "4294967296",
        "9007199254740991",
        "9007199254740993",
        "9223372036854775807",
        "9223372036854775808",
        "-9223372036854775808",
        "-9223372036854775809",
        "18446744073709551615",
        "18446744073709551616",
        "1.8446744073709551615e19",
        "1e19",
        "2e19",
        "1e300",
        "1.7976931348623157e308",
        "1.7976931348623159e308",
        "2.2250738585072014e-308",
        "5e-324",
        "2e-324",
        "0.30000000000000004",
        "0.30000000000000005",
        "1180591620717411303424",
        "12345678901234567890123",
        "1.00000000000000000001",
        "0.1e1",
        "1e-16383",
        "1e-16384",
        "0e1073741822",
        "0e1073741824", // between the two PostgreSQL 16 and 15 differ
        "1e999999999999",
        "0e-16384",
        "0.0e-16383",
    };
    if (one_in(random, 3)) {
        append(out, PICK(random, EDGES));
    } else if (one_in(random, 2)) {
        uint64_t shift = random_below(random, 64);
        buffer_printf(out, "%lld", (long long)(int64_t)random_next(random) >> shift);
    } else if (one_in(random, 3)) {
        uint64_t bits = random_next(random) & ~(1ull << 62); // no infinity, and an exponent below 0
        double real;
        memcpy(&real, &bits, sizeof real);
        buffer_printf(out, "%.*g", 15 + (int)random_below(random, 5), real);
    } else {
        append_built_number(random, out);
    }
}

// A character other than a surrogate, of one to four bytes in UTF-8.
static uint32_t character(struct random *random)
{
    static const struct {
        uint32_t first;
        uint32_t end;
    } RANGES[] = {{0x20, 0x7f},         {'a', 'e'},        {0x7f, 0x81},      {0x80, 0x800},
                  {0x800, 0xd800},      {0xe000, 0x10000}, {0xfffe, 0x10002}, {0x10000, 0x110000},
                  {0x10fffe, 0x110000}, {0x20, 0x7f}};
    size_t range = random_below(random, sizeof RANGES / sizeof RANGES[0]);
    return RANGES[range].first +
           (uint32_t)random_below(random, RANGES[range].end - RANGES[range].first);
}

static void append_utf8(struct buffer *out, uint32_t code)
{
    uint8_t bytes[4];
    size_t len = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    static const uint8_t LEADS[] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (size_t i = len; i > 1; i--) {
        bytes[i - 1] = (uint8_t)(0x80 | (code & 0x3f));
        code >>= 6;
    }
    bytes[0] = (uint8_t)(LEADS[len] | code);
    buffer_append(out, bytes, len);
}

static void append_escaped(struct random *random, struct buffer *out, uint32_t code)
{
    const char *format = one_in(random, 2) ? "\\u%04x" : "\\u%04X";
    if (code >= 0x10000) {
        buffer_printf(out, "\\u%04x\\u%04X", 0xd800 + ((code - 0x10000) >> 10),
                      0xdc00 + ((code - 0x10000) & 0x3ff));
    } else if (format[4] == 'x') {
        buffer_printf(out, "\\u%04x", code);
    } else {
        buffer_printf(out, "\\u%04X", code);
    }
}

static void append_character(struct random *random, struct buffer *out)
{
    static const char *const ESCAPES[] = {"\\\"", "\\\\", "\\/",     "\\b",     "\\f",    "\\n",
                                          "\\r",  "\\t",  "\\u0001", "\\u001f", "\\u007F"};
    static const char *const REFUSED[] = {"\\u0000",        "\\ud800",        "\\uDFFF",
                                          "\\ud800\\ud800", "\\udc00\\ud800", "\\ud83d\\u0041"};
    uint32_t code = character(random);
    if (one_in(random, 6)) {
        append(out, PICK(random, ESCAPES));
    } else if (one_in(random, 600)) {
        append(out, PICK(random, REFUSED));
    } else if (code == '"' || code == '\\' || one_in(random, 6)) {
        append_escaped(random, out, code);
    } else {
        append_utf8(out, code);
    }
}

static void append_string(struct random *random, struct buffer *out)
{
    static const uint64_t ENDS[] = {1, 3, 8, 20, 40, 70};
    append(out, "\"");
    uint64_t count = random_below(random, PICK(random, ENDS));
    if (one_in(random, 300)) {
        count = 200 + random_below(random, 200);
    }
    while (count-- > 0) {
        append_character(random, out);
    }
    append(out, "\"");
}

// Few short keys, so that an object often has one twice; \u0061 is "a" again.
static void append_key(struct random *random, struct buffer *out)
{
    static const char *const KEYS[] = {
        "\"\"",        "\"a\"",        "\"b\"",        "\"aa\"", "\"ab\"",  "\"ba\"", "\"B\"",
        "\"\\u0061\"", "\"\xc3\xa9\"", "\"\xc3\xa8\"", "\"c\"",  "\"abc\"", "\"z\"",  "\"0\""};
    if (one_in(random, 4)) {
        append_string(random, out);
    } else {
        append(out, PICK(random, KEYS));
    }
    append_space(random, out);
    append(out, ":");
    append_space(random, out);
}

static void append_scalar(struct random *random, struct buffer *out)
{
    static const char *const WORDS[] = {"null", "true", "false", "[]", "{}", "\"\""};
    switch (random_below(random, 5)) {
    case 0:
        append(out, PICK(random, WORDS));
        break;
    case 1:
    case 2:
        append_string(random, out);
        break;
    default:
        append_number(random, out);
    }
}

// The containers that are open, outermost first.
struct nesting {
    char closers[DEPTH_MAX];
    size_t depth;
    size_t wanted;   // go straight down to here before anything else
    uint64_t budget; // of values to come
};

static void open_container(struct random *random, struct nesting *nesting, struct buffer *out)
{
    bool is_object = one_in(random, 2);
    append(out, is_object ? "{" : "[");
    append_space(random, out);
    nesting->closers[nesting->depth++] = is_object ? '}' : ']';
    if (is_object) {
        append_key(random, out);
    }
}

// What comes behind a value: the ends of containers, then a comma and perhaps a key. False where
// the outermost value is complete.
static bool go_on(struct random *random, struct nesting *nesting, struct buffer *out)
{
    while (nesting->depth > 0 && (nesting->budget == 0 || one_in(random, 4))) {
        append_space(random, out);
        buffer_append(out, &nesting->closers[--nesting->depth], 1);
    }
    if (nesting->depth == 0) {
        return false;
    }
    append_space(random, out);
    append(out, ",");
    append_space(random, out);
    if (nesting->closers[nesting->depth - 1] == '}') {
        append_key(random, out);
    }
    return true;
}

void json_generate(struct random *random, struct buffer *out)
{
    struct nesting nesting = {.budget = 1 + random_below(random, BUDGET_MAX)};
    if (one_in(random, 40)) {
        nesting.wanted = 100 + random_below(random, DEPTH_MAX - 100);
    }
    append_space(random, out);
    do {
        while (nesting.depth < nesting.wanted ||
               (nesting.depth < 20 && nesting.budget > 0 && one_in(random, 3))) {
            open_container(random, &nesting, out);
            nesting.budget -= nesting.budget > 0;
        }
        nesting.wanted = 0;
        append_scalar(random, out);
        nesting.budget -= nesting.budget > 0;
    } while (go_on(random, &nesting, out));
    append_space(random, out);
}

// Puts `piece` in the place of `len` bytes at `at`.
static void replace(struct buffer *text, size_t at, size_t len, struct slice piece)
{
    struct buffer changed = {0};
    struct slice old = buffer_slice(text);
    buffer_append(&changed, old.at, at);
    buffer_append_slice(&changed, piece);
    buffer_append(&changed, old.at + at + len, old.len - at - len);
    buffer_deinit(text);
    *text = changed;
}

static const struct slice PIECES[] = {
#define PIECE(literal)                                                                             \
    {                                                                                              \
        .at = (const uint8_t *)(literal), .len = sizeof(literal) - 1                               \
    }
    PIECE("\0"),
    PIECE("\t"),
    PIECE("\n"),
    PIECE("\x1f"),
    PIECE("\x7f"),
    PIECE("\f"),
    PIECE("\v"),
    PIECE("\""),
    PIECE("\\"),
    PIECE("\\u"),
    PIECE("\\x"),
    PIECE("\\ud800"),
    PIECE("\\udc00"),
    PIECE("\\u0000"),
    PIECE("\\u00"),
    PIECE("\x80"),
    PIECE("\xc0\x80"),
    PIECE("\xe0\x80\x80"),
    PIECE("\xed\xa0\x80"),
    PIECE("\xf4\x90\x80\x80"),
    PIECE("\xff"),
    PIECE("\xc3"),
    PIECE("\xf0\x9f\x98"),
    PIECE("\xef\xbb\xbf"),
    PIECE("\xc2\xa0"),
    PIECE(","),
    PIECE(":"),
    PIECE("["),
    PIECE("]"),
    PIECE("{"),
    PIECE("}"),
    PIECE("0"),
    PIECE("-"),
    PIECE("+"),
    PIECE("."),
    PIECE("e"),
    PIECE("E"),
    PIECE(" "),
    PIECE("/*x*/"),
    PIECE("//"),
    PIECE("'"),
    PIECE("null"),
    PIECE("true"),
    PIECE("nul"),
    PIECE("NaN"),
    PIECE("Infinity"),
    PIECE("0x1"),
    PIECE("1"),
    PIECE(",,"),
#undef PIECE
};

static void damage_once(struct random *random, struct buffer *text)
{
    size_t len = buffer_len(text);
    size_t at = random_below(random, len + 1);
    size_t rest = len - at;
    size_t run = rest > 0 ? random_below(random, rest < 4 ? rest + 1 : 4) : 0;
    switch (random_below(random, 6)) {
    case 0:
        replace(text, at, run, slice_of("", 0));
        break;
    case 1:
        replace(text, at, rest, slice_of("", 0));
        break;
    case 2: {
        uint8_t byte = (uint8_t)random_next(random);
        replace(text, at, run > 0 ? 1 : 0, slice_of(&byte, 1));
        break;
    }
    default:
        replace(text, at, run, PICK(random, PIECES));
    }
}

void json_damage(struct random *random, struct buffer *text)
{
    uint64_t count = 1 + random_below(random, 3);
    while (count-- > 0) {
        damage_once(random, text);
    }
}
