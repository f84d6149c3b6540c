// Reads JSON text with simdjson's on-demand parser and tells the builder. On demand, a number is
// handed out as it is spelled, to the last digit; the parser sees to UTF-8, escapes, surrogates and
// structure, and what is spelled where a number may be is number.c's to judge. Walks the text with
// a stack of its own: no recursion, and never deeper than JSON_DEPTH_MAX, which the builder sees
// to.
//
// The text is copied between a '[' and a ']', with room behind for what simdjson reads beyond its
// end. So a scalar by itself is an element like any other (simdjson has rules of its own for a
// scalar document, and 3.0.1 takes "nullx" for null), and one value is an array of just one.
//
// Each thread owns its workspace, the copy and simdjson's index of it. Nothing throws.
#include "json/text.h"

#include "json/bytes.h"
#include "json/text_error.h"

#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <string_view>

namespace
{

namespace ondemand = simdjson::ondemand;
using simdjson::error_code;

constexpr std::size_t keep_bytes_max =
    std::size_t{64} * 1024;                      // of text that a workspace is kept for
constexpr int levels_max = EVENTS_DEPTH_MAX + 1; // and the array around it all
constexpr std::size_t added_bytes = 2;           // the brackets

// Of a string, looked at word by word; less than the padding.
constexpr std::ptrdiff_t short_string_bytes = 24;
static_assert(short_string_bytes <= simdjson::SIMDJSON_PADDING, "it may begin at the end");

// Of an integer that is within 64 bits whatever they are.
constexpr std::ptrdiff_t small_digits_max = 18;

// An array or object that the walk is in.
struct level {
    bool is_object;
    bool is_begun; // its iterator has been looked at
    ondemand::array_iterator elements;
    ondemand::object_iterator fields;
};

struct workspace {
    ondemand::parser parser;
    std::unique_ptr<char[]> copy;
    std::size_t capacity = 0;
    level levels[levels_max];
};

thread_local workspace kept;

// Ends the process where there is no memory, as base/memory.h does.
void prepare(workspace &space, const std::uint8_t *text, std::size_t len)
{
    std::size_t capacity = len + added_bytes + simdjson::SIMDJSON_PADDING;
    if (space.capacity < capacity) {
        space.copy.reset(new (std::nothrow) char[capacity]);
        space.capacity = capacity;
        if (space.copy == nullptr) {
            std::abort();
        }
    }
    char *at = space.copy.get();
    *at++ = '[';
    if (len > 0) {
        std::memcpy(at, text, len);
    }
    at += len;
    *at++ = ']';
    std::memset(at, ' ', simdjson::SIMDJSON_PADDING);
}

void give_back(workspace &space)
{
    if (space.capacity > keep_bytes_max) {
        space.parser = ondemand::parser();
        space.copy.reset();
        space.capacity = 0;
    }
}

// One walk through one text. Where a step is false, `error` or `has_nul` says why, or the builder
// does.
class walk
{
  public:
    walk(workspace &in, struct builder *of) : space(in), builder(of)
    {
    }

    bool run(std::size_t text_len);

    // Where it stopped, in the copy; null where that is not known.
    const char *place();

    error_code error = simdjson::SUCCESS;
    bool has_nul = false; // in a string

  private:
    // Keeps what went wrong, if anything did.
    bool ok(error_code result)
    {
        error = result;
        return result == simdjson::SUCCESS;
    }

    bool begin(std::size_t text_len);
    bool finish();
    template <typename iterator> bool next(level &in, iterator &at);
    bool read_elements(level &in);
    bool read_fields(level &in);
    bool read_key(ondemand::field &field);
    bool read(ondemand::value &value);
    bool read_array(ondemand::value &value);
    bool read_object(ondemand::value &value);
    bool read_string(ondemand::value &value);
    bool is_plain_string(const char *quote, std::string_view &text);
    bool has_no_nul(std::string_view text);
    bool read_number();
    bool read_bool(ondemand::value &value);
    bool read_null(ondemand::value &value);
    void push(bool is_object);
    void pop();

    workspace &space;
    struct builder *builder;
    ondemand::document document;
    int depth = 0;
    bool has_value = false;
    bool has_document = false;
    const char *token = nullptr; // told to the builder last
    const char *end_of_copy = nullptr;
};

bool walk::run(std::size_t text_len)
{
    if (!begin(text_len)) {
        return false;
    }
    while (depth > 0) {
        level &in = space.levels[depth - 1];
        if (!(in.is_object ? read_fields(in) : read_elements(in))) {
            return false;
        }
    }
    return finish();
}

bool walk::begin(std::size_t text_len)
{
    simdjson::padded_string_view view(space.copy.get(), text_len + added_bytes, space.capacity);
    ondemand::array outermost;
    end_of_copy = space.copy.get() + text_len + added_bytes;
    has_document = ok(space.parser.iterate(view).get(document));
    if (!has_document || !ok(document.get_array().get(outermost)) ||
        !ok(outermost.begin().get(space.levels[0].elements))) {
        return false;
    }
    push(false);
    return true;
}

// The one value has been; nothing may follow it.
bool walk::finish()
{
    if (!has_value) {
        return ok(simdjson::EMPTY);
    }
    bool at_end = document.current_location().error() == simdjson::OUT_OF_BOUNDS;
    return at_end || ok(simdjson::TRAILING_CONTENT);
}

void walk::push(bool is_object)
{
    space.levels[depth].is_object = is_object;
    space.levels[depth].is_begun = false;
    depth++;
}

void walk::pop()
{
    depth--;
    if (depth > 0) {
        builder_close(builder);
    }
}

// Steps to what comes next in the level; at its end leaves it and is false.
template <typename iterator> bool walk::next(level &in, iterator &at)
{
    if (in.is_begun) {
        ++at;
    }
    in.is_begun = true;
    if (at == iterator()) {
        pop();
        return false;
    }
    return true;
}

// Up to the end of the array, or up to what is opened in it.
bool walk::read_elements(level &in)
{
    for (int inside = depth; depth == inside;) {
        if (!next(in, in.elements)) {
            return true;
        }
        ondemand::value value;
        if (!ok((*in.elements).get(value))) {
            return false;
        }
        if (depth == 1 && has_value) {
            return ok(simdjson::TRAILING_CONTENT);
        }
        has_value = true;
        if (!read(value)) {
            return false;
        }
    }
    return true;
}

// The same of an object.
bool walk::read_fields(level &in)
{
    for (int inside = depth; depth == inside;) {
        if (!next(in, in.fields)) {
            return true;
        }
        ondemand::field field;
        if (!ok((*in.fields).get(field)) || !read_key(field) || !read(field.value())) {
            return false;
        }
    }
    return true;
}

bool walk::read_key(ondemand::field &field)
{
    std::string_view key;
    token = field.key().raw() - 1;
    return (is_plain_string(token, key) ||
            (ok(field.unescaped_key().get(key)) && has_no_nul(key))) &&
           builder_key(builder, key.data(), key.size());
}

bool walk::read(ondemand::value &value)
{
    token = value.raw_json_token().data();
    switch (*token) {
    case '"':
        return read_string(value);
    case '[':
        return read_array(value);
    case '{':
        return read_object(value);
    case 't':
    case 'f':
        return read_bool(value);
    case 'n':
        return read_null(value);
    default:
        return read_number();
    }
}

bool is_digit(char byte)
{
    return byte >= '0' && byte <= '9';
}

// The bytes that may stand behind an element.
bool ends_element(char byte)
{
    return byte == ',' || byte == ']' || byte == '}' || byte == ' ' || byte == '\n' ||
           byte == '\t' || byte == '\r';
}

bool walk::read_array(ondemand::value &value)
{
    ondemand::array array;
    if (!builder_open_array(builder, 0) || !ok(value.get_array().get(array)) ||
        !ok(array.begin().get(space.levels[depth].elements))) {
        return false;
    }
    push(false);
    return true;
}

bool walk::read_object(ondemand::value &value)
{
    ondemand::object object;
    if (!builder_open_map(builder, 0) || !ok(value.get_object().get(object)) ||
        !ok(object.begin().get(space.levels[depth].fields))) {
        return false;
    }
    push(true);
    return true;
}

bool walk::read_string(ondemand::value &value)
{
    std::string_view text;
    if (is_plain_string(token, text)) {
        // Steps over it. Left to simdjson, a string with a colon behind it would pass for a key.
        ondemand::raw_json_string raw;
        if (!ok(value.get_raw_json_string().get(raw))) {
            return false;
        }
    } else if (!ok(value.get_string().get(text)) || !has_no_nul(text)) {
        return false;
    }
    return builder_string(builder, text.data(), text.size());
}

// Where nothing is escaped, the string is in the text as it is; simdjson has checked its UTF-8, and
// that it has an end and no control character. Most are shorter than a call of memchr is worth. May
// look at bytes of the padding.
bool walk::is_plain_string(const char *quote, std::string_view &text)
{
    static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the first byte is the lowest");
    const char *begin = quote + 1;
    const char *at = begin;
    for (; at < begin + short_string_bytes; at += sizeof(std::uint64_t)) {
        std::uint64_t word;
        std::memcpy(&word, at, sizeof word);
        std::uint64_t marks = bytes_equal(word, '"') | bytes_equal(word, '\\');
        if (marks != 0) {
            const char *end = at + __builtin_ctzll(marks) / 8;
            text = std::string_view(begin, static_cast<std::size_t>(end - begin));
            return *end == '"';
        }
    }
    if (at >= end_of_copy) {
        return false;
    }
    const char *end =
        static_cast<const char *>(std::memchr(at, '"', static_cast<std::size_t>(end_of_copy - at)));
    text = std::string_view(begin, end != nullptr ? static_cast<std::size_t>(end - begin) : 0);
    return end != nullptr && std::memchr(at, '\\', static_cast<std::size_t>(end - at)) == nullptr;
}

bool walk::has_no_nul(std::string_view text)
{
    has_nul = std::memchr(text.data(), '\0', text.size()) != nullptr;
    return !has_nul;
}

// Takes what stands up to the end of the element, of which number.c makes a number or not, but for
// the plain integers that most are. simdjson steps over it by itself.
bool walk::read_number()
{
    if (*token != '-' && !is_digit(*token)) {
        return ok(simdjson::TAPE_ERROR);
    }
    const char *end = token;
    std::uint64_t value = 0;
    while (is_digit(*end) && end - token < small_digits_max) {
        value = value * 10 + static_cast<std::uint64_t>(*end - '0');
        end++;
    }
    if (ends_element(*end) && (*token != '0' || end == token + 1)) {
        return builder_uint(builder, value);
    }
    while (!ends_element(*end)) {
        end++;
    }
    return builder_number_text(builder, token, static_cast<std::size_t>(end - token));
}

bool walk::read_bool(ondemand::value &value)
{
    bool is_true;
    return ok(value.get_bool().get(is_true)) && builder_bool(builder, is_true);
}

bool walk::read_null(ondemand::value &value)
{
    bool is_null;
    return ok(value.is_null().get(is_null)) && builder_null(builder);
}

const char *walk::place()
{
    const char *location;
    if (error == simdjson::SUCCESS || error == simdjson::STRING_ERROR) {
        return token;
    }
    return has_document && document.current_location().get(location) == simdjson::SUCCESS ? location
                                                                                          : nullptr;
}

std::size_t offset_of(walk &walk, const workspace &space, std::size_t text_len)
{
    const char *begin = space.copy.get() + 1;
    if (text_error_is_of_strings(walk.error)) {
        return text_error_find(walk.error, std::string_view(begin, text_len));
    }
    const char *place = walk.place();
    std::size_t offset =
        place != nullptr && place > begin ? static_cast<std::size_t>(place - begin) : 0;
    return offset < text_len ? offset : text_len;
}

} // namespace

bool text_read(const std::uint8_t *text, std::size_t len, struct builder *builder,
               struct complaint *complaint)
{
    workspace &space = kept;
    prepare(space, text, len);
    walk walk(space, builder);
    bool done = walk.run(len);
    if (walk.error == simdjson::MEMALLOC) {
        std::abort();
    }
    if (!done) {
        if (walk.error != simdjson::SUCCESS || walk.has_nul) {
            complaint->error = ERROR_INVALID_VALUE;
            complaint->reason =
                walk.has_nul ? "\\u0000 cannot be in a string" : text_error_reason(walk.error);
        }
        complaint->offset = offset_of(walk, space, len);
    }
    give_back(space);
    return done;
}

bool text_is_utf8(const std::uint8_t *text, std::size_t len)
{
    return simdjson::validate_utf8(reinterpret_cast<const char *>(text), len);
}
