// The C door to <charconv>. Owns nothing, throws nothing.
#include "json/real.h"

#include <charconv>
#include <cstdlib>
#include <cstring>
#include <system_error>

namespace
{

// A digit, the point, 16 digits, "e-308".
constexpr std::size_t text_bytes_max = 32;

} // namespace

void real_to_digits(double real, struct real_digits *digits)
{
    char text[text_bytes_max];
    double magnitude = real < 0 ? -real : real;
    auto end = std::to_chars(text, text + sizeof text, magnitude, std::chars_format::scientific);
    const char *at = text;
    digits->count = 0;
    for (; *at != 'e'; at++) {
        if (*at != '.') {
            digits->digits[digits->count++] = *at;
        }
    }
    at++; // 'e'
    if (*at == '+') {
        at++; // from_chars knows no plus sign
    }
    std::from_chars(at, end.ptr, digits->exponent);
}

bool real_from_digits(const struct real_digits *digits, double *real)
{
    char text[text_bytes_max];
    char *end = text;
    *end++ = digits->digits[0];
    *end++ = '.';
    std::memcpy(end, digits->digits + 1, static_cast<std::size_t>(digits->count - 1));
    end += digits->count - 1;
    *end++ = 'e';
    end = std::to_chars(end, text + sizeof text, digits->exponent).ptr;
    auto result = std::from_chars(text, end, *real);
    return result.ec == std::errc() && *real != 0;
}
