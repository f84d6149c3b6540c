#include "json/text_error.h"

const char *text_error_reason(simdjson::error_code error)
{
    switch (error) {
    case simdjson::UTF8_ERROR:
        return "invalid UTF-8";
    case simdjson::UNESCAPED_CHARS:
        return "control character in a string";
    case simdjson::UNCLOSED_STRING:
        return "unclosed string";
    case simdjson::STRING_ERROR:
        return "invalid escape or lone surrogate in a string";
    case simdjson::EMPTY:
        return "no value";
    case simdjson::INCOMPLETE_ARRAY_OR_OBJECT:
        return "unclosed array or object";
    default:
        return "invalid JSON";
    }
}

bool text_error_is_of_strings(simdjson::error_code error)
{
    return error == simdjson::UTF8_ERROR || error == simdjson::UNESCAPED_CHARS ||
           error == simdjson::UNCLOSED_STRING;
}

std::size_t text_error_find(simdjson::error_code error, std::string_view text)
{
    std::size_t string_at = text.size();
    bool in_string = false;
    for (std::size_t i = 0; i < text.size(); i++) {
        unsigned char byte = static_cast<unsigned char>(text[i]);
        if (error == simdjson::UTF8_ERROR) {
            std::size_t len = byte < 0x80 ? 1 : byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : 4;
            bool is_cut = len > text.size() - i;
            if (is_cut || (len > 1 && !simdjson::validate_utf8(text.data() + i, len))) {
                return i;
            }
            i += len - 1;
        } else if (byte == '"') {
            in_string = !in_string;
            string_at = i;
        } else if (in_string && byte == '\\') {
            i++;
        } else if (in_string && byte < ' ' && error == simdjson::UNESCAPED_CHARS) {
            return i;
        }
    }
    return string_at;
}
