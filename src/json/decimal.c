// Decimals: their size, their spelling, and those that doubles stand for. Pure functions: no
// thread, nothing owned but what is printed.
#include "json/decimal.h"

#include <inttypes.h>

enum {
    PLAIN_ZEROS_MAX = 6,    // beyond so many zeros that are not digits, print an exponent
    FRACTION_TRIED_MAX = 6, // digits behind the point
};

static const double POWERS_TRIED[FRACTION_TRIED_MAX + 1] = {1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6};

size_t decimal_digits_count(const struct decimal *decimal)
{
    return decimal->head.len + decimal->tail.len;
}

int64_t decimal_last_exponent(const struct decimal *decimal)
{
    return decimal->exponent - (int64_t)decimal_digits_count(decimal) + 1;
}

uint64_t decimal_plain_bytes(const struct decimal *decimal)
{
    int64_t last = decimal_last_exponent(decimal);
    int64_t whole = decimal->exponent >= 0 ? decimal->exponent + 1 : 1;
    int64_t fraction = last < 0 ? 1 - last : 0;
    return (uint64_t)(decimal->negative + whole + fraction);
}

// The shortest digits of a real with at most FRACTION_TRIED_MAX digits behind the point and
// 15 in all, which is what prices and coordinates have: if an integer of so few
// digits, divided by the power of ten, is the real, then no other decimal of so few is.
static bool try_few_digits(double real, struct real_digits *digits)
{
    double magnitude = real < 0 ? -real : real;
    if (magnitude >= 1e9 || magnitude < 1e-4) {
        return false;
    }
    for (int fraction = 1; fraction <= FRACTION_TRIED_MAX; fraction++) {
        uint64_t scaled = (uint64_t)(magnitude * POWERS_TRIED[fraction] + 0.5);
        if ((double)scaled / POWERS_TRIED[fraction] == magnitude) {
            int count = 1;
            for (uint64_t rest = scaled; rest >= 10; rest /= 10) {
                count++;
            }
            digits->count = count;
            digits->exponent = count - 1 - fraction;
            for (; count > 0; scaled /= 10) {
                digits->digits[--count] = (char)('0' + scaled % 10);
            }
            return true;
        }
    }
    return false;
}

struct decimal decimal_of_real(double real, struct real_digits *digits)
{
    if (!try_few_digits(real, digits)) {
        real_to_digits(real, digits);
    }
    return (struct decimal){.negative = real < 0,
                            .head = slice_of(digits->digits, (size_t)digits->count),
                            .exponent = digits->exponent};
}

static void print_zeros(int64_t count, struct buffer *out)
{
    static const char ZEROS[PLAIN_ZEROS_MAX] = "000000";
    buffer_append(out, ZEROS, (size_t)count);
}

// Appends `count` of the digits from the `first` on.
static void print_digits(const struct decimal *decimal, size_t first, size_t count,
                         struct buffer *out)
{
    size_t head = first < decimal->head.len ? decimal->head.len - first : 0;
    head = head < count ? head : count;
    if (head > 0) {
        buffer_append(out, decimal->head.at + first, head);
    }
    if (count > head) {
        buffer_append(out, decimal->tail.at + (first + head - decimal->head.len), count - head);
    }
}

static void print_with_exponent(const struct decimal *decimal, struct buffer *out)
{
    print_digits(decimal, 0, 1, out);
    if (decimal_digits_count(decimal) > 1) {
        buffer_append(out, ".", 1);
        print_digits(decimal, 1, decimal_digits_count(decimal) - 1, out);
    }
    buffer_append(out, "e", 1);
    buffer_printf(out, "%" PRId64, decimal->exponent);
}

void decimal_print(const struct decimal *decimal, struct buffer *out)
{
    size_t count = decimal_digits_count(decimal);
    int64_t last = decimal_last_exponent(decimal);
    if (decimal->negative) {
        buffer_append(out, "-", 1);
    }
    if (last > PLAIN_ZEROS_MAX || decimal->exponent < -PLAIN_ZEROS_MAX) {
        print_with_exponent(decimal, out);
    } else if (last >= 0) {
        print_digits(decimal, 0, count, out);
        print_zeros(last, out);
    } else if (decimal->exponent >= 0) {
        size_t whole = (size_t)decimal->exponent + 1;
        print_digits(decimal, 0, whole, out);
        buffer_append(out, ".", 1);
        print_digits(decimal, whole, count - whole, out);
    } else {
        buffer_append(out, "0.", 2);
        print_zeros(-decimal->exponent - 1, out);
        print_digits(decimal, 0, count, out);
    }
}
