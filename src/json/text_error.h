// What simdjson finds wrong with a text, in the words of this project, and where. Pure; any thread.
#pragma once

#include <cstddef>
#include <string_view>

#define SIMDJSON_EXCEPTIONS 0
#include <simdjson.h>

// Static. simdjson itself knows no better where it says "invalid JSON".
const char *text_error_reason(simdjson::error_code error);

// simdjson checks what is in strings for the whole text at once and does not say where.
bool text_error_is_of_strings(simdjson::error_code error);

// Looks again, at leisure, for such an error: for bad UTF-8, for a control character in a string or
// an unclosed string. The offset in the text.
std::size_t text_error_find(simdjson::error_code error, std::string_view text);
