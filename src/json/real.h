// float64 <-> decimal digits, by the shortest digits that read back as the same double. A C door to
// C++17's <charconv>: exact, and deaf to the locale. Any thread.
#pragma once

#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { REAL_DIGITS_MAX = 17 };

// A double as d.ddd * 10^exponent.
struct real_digits {
    char digits[REAL_DIGITS_MAX]; // ASCII, the last one not 0
    int count;
    int exponent; // of the first digit
};

// The shortest digits of a finite double other than 0; the sign is the caller's.
void real_to_digits(double real, struct real_digits *digits);

// The double nearest to the digits; false where that is 0 or infinite. `count` <= REAL_DIGITS_MAX,
// and |exponent| < 1000.
bool real_from_digits(const struct real_digits *digits, double *real);

#ifdef __cplusplus
}
#endif
