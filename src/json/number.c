// Reading and printing numbers without a loss. The text of a number is split into its significant
// digits and a power of ten; from these follow whether numeric can hold it, and which of the
// canonical kinds it is. Pure functions: no thread, nothing owned, nothing allocated.
//
// Invariant: numbers that are equal get the same kind and the same value or spelling, whatever they
// were spelled or encoded like. Everything below is a function of (sign, digits, exponent) only,
// except the range check, which like numeric's looks at the spelling: 1.0e-16383 has one digit too
// many behind the point, although its value has not.
#include "json/number.h"

#include "json/real.h"

// PostgreSQL's numeric, src/backend/utils/adt/numeric.c: the weight of the first base-10000 digit
// and the digits behind the point must fit their fields, and set_var_from_str() stops exponents
// that would make an int overflow; PostgreSQL 16 takes one more.
static const int64_t NUMERIC_FIRST_EXPONENT_MAX = 131071;
static const int64_t NUMERIC_SCALE_MAX = 16383;
static const int64_t NUMERIC_EXPONENT_END = INT32_MAX / 2;

enum {
    UINT64_DIGITS_MAX = 20,
    SAFE_DIGITS_MAX = 15,    // any decimal of so many digits survives the way through a double
    SAFE_EXPONENT_MAX = 22,  // 10^22 is exact in a double
    SMALL_DIGITS_MAX = 18,   // always within int64
    PROPORTIONATE_BYTES = 48 // plain text that a number may take without being counted
};

static const double POWERS_OF_TEN[SAFE_EXPONENT_MAX + 1] = {
    1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
    1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
};

static const char MALFORMED[] = "malformed number";
static const char OUT_OF_RANGE[] = "number beyond the range of numeric";
static const char NOT_FINITE[] = "NaN and Infinity are not JSON";

// The parts of a JSON number as they stand in its text.
struct spelling {
    bool negative;
    struct slice whole;    // at least one digit
    struct slice fraction; // may be empty
    int64_t exponent;
};

static bool is_digit(uint8_t byte)
{
    return byte >= '0' && byte <= '9';
}

// The run of digits at `at`; may be empty.
static struct slice digits_at(const uint8_t *at, const uint8_t *end)
{
    const uint8_t *stop = at;
    while (stop < end && is_digit(*stop)) {
        stop++;
    }
    return slice_of(at, (size_t)(stop - at));
}

// Reads what follows the 'e'; saturates, far beyond what numeric takes.
static bool read_exponent(const uint8_t **at, const uint8_t *end, int64_t *exponent)
{
    bool negative = *at < end && **at == '-';
    if (*at < end && (**at == '-' || **at == '+')) {
        ++*at;
    }
    struct slice digits = digits_at(*at, end);
    int64_t value = 0;
    for (size_t i = 0; i < digits.len && value < NUMERIC_EXPONENT_END; i++) {
        value = value * 10 + (digits.at[i] - '0');
    }
    *exponent = negative ? -value : value;
    *at += digits.len;
    return digits.len > 0;
}

// RFC 8259, section 6.
static bool read_spelling(struct slice text, struct spelling *spelling)
{
    const uint8_t *at = text.at;
    const uint8_t *end = text.at + text.len;
    *spelling = (struct spelling){.negative = at < end && *at == '-'};
    at += spelling->negative;
    spelling->whole = digits_at(at, end);
    at += spelling->whole.len;
    if (spelling->whole.len == 0 || (spelling->whole.len > 1 && spelling->whole.at[0] == '0')) {
        return false;
    }
    spelling->fraction = slice_of(at, 0);
    if (at < end && *at == '.') {
        spelling->fraction = digits_at(at + 1, end);
        at += 1 + spelling->fraction.len;
        if (spelling->fraction.len == 0) {
            return false;
        }
    }
    if (at < end && (*at == 'e' || *at == 'E')) {
        at++;
        if (!read_exponent(&at, end, &spelling->exponent)) {
            return false;
        }
    }
    return at == end;
}

static struct slice without_leading_zeros(struct slice digits)
{
    size_t zeros = 0;
    while (zeros < digits.len && digits.at[zeros] == '0') {
        zeros++;
    }
    return slice_of(digits.at + zeros, digits.len - zeros);
}

static struct slice without_trailing_zeros(struct slice digits)
{
    size_t len = digits.len;
    while (len > 0 && digits.at[len - 1] == '0') {
        len--;
    }
    return slice_of(digits.at, len);
}

// False where the number is 0.
static bool decimal_of(const struct spelling *spelling, struct decimal *decimal)
{
    *decimal = (struct decimal){.negative = spelling->negative, .tail = spelling->fraction};
    decimal->head = without_leading_zeros(spelling->whole);
    decimal->exponent = (int64_t)decimal->head.len - 1 + spelling->exponent;
    if (decimal->head.len == 0) {
        decimal->tail = without_leading_zeros(spelling->fraction);
        decimal->exponent -= (int64_t)(spelling->fraction.len - decimal->tail.len);
    }
    decimal->tail = without_trailing_zeros(decimal->tail);
    if (decimal->tail.len == 0) {
        decimal->head = without_trailing_zeros(decimal->head);
    }
    return decimal->head.len + decimal->tail.len > 0;
}

static bool is_in_range(const struct spelling *spelling, const struct decimal *decimal,
                        bool is_zero)
{
    int64_t scale = (int64_t)spelling->fraction.len - spelling->exponent;
    return spelling->exponent < NUMERIC_EXPONENT_END &&
           spelling->exponent > -NUMERIC_EXPONENT_END && scale <= NUMERIC_SCALE_MAX &&
           (is_zero || decimal->exponent <= NUMERIC_FIRST_EXPONENT_MAX);
}

static void set_expanded_bytes(struct number *number, const struct decimal *decimal)
{
    uint64_t bytes = decimal_plain_bytes(decimal);
    number->expanded_bytes = bytes > PROPORTIONATE_BYTES ? bytes : 0;
}

// The digits as an integer, where that is within uint64.
static bool uint_of_digits(const struct decimal *decimal, uint64_t *value)
{
    uint64_t sum = 0;
    bool overflow = false;
    for (size_t i = 0; i < decimal->head.len; i++) {
        overflow |= __builtin_mul_overflow(sum, 10u, &sum);
        overflow |= __builtin_add_overflow(sum, (uint64_t)(decimal->head.at[i] - '0'), &sum);
    }
    for (size_t i = 0; i < decimal->tail.len; i++) {
        overflow |= __builtin_mul_overflow(sum, 10u, &sum);
        overflow |= __builtin_add_overflow(sum, (uint64_t)(decimal->tail.at[i] - '0'), &sum);
    }
    *value = sum;
    return !overflow;
}

// The int for a sign and a magnitude; false where no int64 or uint64 is that.
static bool set_int(bool negative, uint64_t magnitude, struct number *number)
{
    if (!negative || magnitude == 0) {
        *number = (struct number){.kind = NUMBER_UINT, .uint = magnitude};
        return true;
    }
    if (magnitude > (uint64_t)INT64_MAX + 1) {
        return false;
    }
    *number = (struct number){.kind = NUMBER_INT, .sint = (int64_t)(0 - magnitude)};
    return true;
}

static bool try_int(const struct decimal *decimal, struct number *number)
{
    int64_t zeros = decimal_last_exponent(decimal);
    if (zeros < 0 || decimal->exponent >= UINT64_DIGITS_MAX) {
        return false;
    }
    uint64_t magnitude;
    bool fits = uint_of_digits(decimal, &magnitude);
    for (; fits && zeros > 0; zeros--) {
        fits = !__builtin_mul_overflow(magnitude, 10u, &magnitude);
    }
    return fits && set_int(decimal->negative, magnitude, number);
}

static void set_real(const struct decimal *decimal, double magnitude, struct number *number)
{
    *number =
        (struct number){.kind = NUMBER_REAL, .real = decimal->negative ? -magnitude : magnitude};
    set_expanded_bytes(number, decimal);
}

// So few digits that no other decimal of so few is nearest to the same double (DBL_DIG), scaled in
// one step that rounds once (W. Clinger, How to read floating point numbers accurately, 1990).
static bool try_safe_real(const struct decimal *decimal, struct number *number)
{
    int64_t last = decimal_last_exponent(decimal);
    if (decimal_digits_count(decimal) > SAFE_DIGITS_MAX || last < -SAFE_EXPONENT_MAX ||
        last > SAFE_EXPONENT_MAX) {
        return false;
    }
    uint64_t digits;
    uint_of_digits(decimal, &digits);
    double real =
        last < 0 ? (double)digits / POWERS_OF_TEN[-last] : (double)digits * POWERS_OF_TEN[last];
    set_real(decimal, real, number);
    return true;
}

static void digits_of(const struct decimal *decimal, struct real_digits *digits)
{
    memset(digits, 0, sizeof *digits);
    digits->count = (int)decimal_digits_count(decimal);
    digits->exponent = (int)decimal->exponent;
    memcpy(digits->digits, decimal->head.at, decimal->head.len);
    if (decimal->tail.len > 0) {
        memcpy(digits->digits + decimal->head.len, decimal->tail.at, decimal->tail.len);
    }
}

// A real is what its shortest digits say: the nearest double must print as these very digits.
static bool try_real(const struct decimal *decimal, struct number *number)
{
    if (decimal_digits_count(decimal) > REAL_DIGITS_MAX || decimal->exponent > 400 ||
        decimal->exponent < -400) {
        return false;
    }
    struct real_digits digits;
    digits_of(decimal, &digits);
    double real;
    if (!real_from_digits(&digits, &real)) {
        return false;
    }
    struct real_digits shortest;
    real_to_digits(real, &shortest);
    if (shortest.count != digits.count || shortest.exponent != digits.exponent ||
        memcmp(shortest.digits, digits.digits, (size_t)digits.count) != 0) {
        return false;
    }
    set_real(decimal, real, number);
    return true;
}

static bool is_small_uint(struct slice text, uint64_t *uint)
{
    if (text.len == 0 || text.len > SMALL_DIGITS_MAX || (text.at[0] == '0' && text.len > 1)) {
        return false;
    }
    uint64_t value = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (!is_digit(text.at[i])) {
            return false;
        }
        value = value * 10 + (uint64_t)(text.at[i] - '0');
    }
    *uint = value;
    return true;
}

// The plain integers that most numbers are. False where it takes the long way to know.
static bool try_small_int(struct slice text, struct number *number)
{
    bool negative = text.len > 0 && text.at[0] == '-';
    uint64_t magnitude;
    return is_small_uint(slice_of(text.at + negative, text.len - negative), &magnitude) &&
           set_int(negative, magnitude, number);
}

// The same for prices and coordinates: digits with a point among them, so few that the integer they
// make is exact in a double, as is the power of ten it is divided by. The last one is not 0, so
// that it is none of the ints.
static bool try_small_real(struct slice text, struct number *number)
{
    size_t first = text.len > 0 && text.at[0] == '-', point = 0;
    uint64_t digits = 0;
    if (text.len == 0 || text.len - first > SAFE_DIGITS_MAX + 1 || text.at[text.len - 1] == '0') {
        return false;
    }
    for (size_t i = first; i < text.len; i++) {
        if (is_digit(text.at[i])) {
            digits = digits * 10 + (uint64_t)(text.at[i] - '0');
        } else if (text.at[i] == '.' && point == 0) {
            point = i;
        } else {
            return false;
        }
    }
    bool is_wellformed =
        point > first && point + 1 < text.len && (point == first + 1 || text.at[first] != '0');
    if (!is_wellformed) {
        return false;
    }
    double real = (double)digits / POWERS_OF_TEN[text.len - point - 1];
    *number = (struct number){.kind = NUMBER_REAL, .real = first > 0 ? -real : real};
    return true;
}

const char *number_from_text(struct slice text, struct number *number)
{
    if (try_small_int(text, number) || try_small_real(text, number)) {
        return NULL;
    }
    struct spelling spelling;
    if (!read_spelling(text, &spelling)) {
        return MALFORMED;
    }
    struct decimal decimal;
    bool is_zero = !decimal_of(&spelling, &decimal);
    if (!is_in_range(&spelling, &decimal, is_zero)) {
        return OUT_OF_RANGE;
    }
    if (is_zero) {
        *number = (struct number){.kind = NUMBER_UINT};
        return NULL;
    }
    if (!try_int(&decimal, number) && !try_safe_real(&decimal, number) &&
        !try_real(&decimal, number)) {
        *number = (struct number){.kind = NUMBER_DECIMAL, .decimal = decimal};
        set_expanded_bytes(number, &decimal);
    }
    return NULL;
}

const char *number_from_real(double real, struct number *number)
{
    if (!__builtin_isfinite(real)) {
        return NOT_FINITE;
    }
    double magnitude = real < 0 ? -real : real;
    if (magnitude < 0x1p64 && (double)(uint64_t)magnitude == magnitude &&
        set_int(real < 0, (uint64_t)magnitude, number)) {
        return NULL;
    }
    *number = (struct number){.kind = NUMBER_REAL, .real = real};
    // Between these no real is printed in more than PROPORTIONATE_BYTES.
    if (magnitude < 1e-16 || magnitude >= 1e30) {
        struct real_digits digits;
        struct decimal decimal = decimal_of_real(real, &digits);
        set_expanded_bytes(number, &decimal);
    }
    return NULL;
}

static void print_uint(uint64_t value, bool negative, struct buffer *out)
{
    enum { ROOM = 24, SIGN_AND_DIGITS_MAX = UINT64_DIGITS_MAX + 1 };
    uint8_t text[SIGN_AND_DIGITS_MAX + ROOM];
    uint8_t *end = text + SIGN_AND_DIGITS_MAX;
    uint8_t *at = end;
    do {
        *--at = (uint8_t)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    if (negative) {
        *--at = '-';
    }
    // More than there is, since to copy a constant size is to move a register or two.
    memcpy(buffer_reserve(out, ROOM), at, ROOM);
    buffer_commit(out, (size_t)(end - at));
}

void number_print(const struct number *number, struct buffer *out)
{
    switch (number->kind) {
    case NUMBER_UINT:
        print_uint(number->uint, false, out);
        break;
    case NUMBER_INT:
        print_uint(0 - (uint64_t)number->sint, true, out);
        break;
    case NUMBER_REAL: {
        struct real_digits digits;
        struct decimal decimal = decimal_of_real(number->real, &digits);
        decimal_print(&decimal, out);
        break;
    }
    case NUMBER_DECIMAL:
        decimal_print(&number->decimal, out);
        break;
    }
}
