// A decimal number other than 0, as the digits that matter and a power of ten, and its canonical
// spelling (see json.h). Pure; any thread.
#pragma once

#include "base/buffer.h"
#include "json/real.h"

// The significant digits, the first and the last not 0, in the one or two runs that the point makes
// of them, and the power of ten of the first.
struct decimal {
    bool negative;
    struct slice head; // both point into the text that was read
    struct slice tail;
    int64_t exponent;
};

size_t decimal_digits_count(const struct decimal *decimal);

// The power of ten of the last digit: the number is its digits, as an integer, times that.
int64_t decimal_last_exponent(const struct decimal *decimal);

// The bytes of the plain text, without an exponent: -123000, 0.000123.
uint64_t decimal_plain_bytes(const struct decimal *decimal);

// The decimal that a double stands for, its shortest; neither integral within 1e9 nor 0. Points to
// `digits`.
struct decimal decimal_of_real(double real, struct real_digits *digits);

// Appends it: plainly where that takes but a few zeros, else with an exponent.
void decimal_print(const struct decimal *decimal, struct buffer *out);
