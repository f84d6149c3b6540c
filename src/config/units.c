#include "config/units.h"

#include <stdio.h>

struct unit {
    const char *name;
    int64_t factor;
};

static const struct unit DURATION_UNITS[] = {
    {"us", 1},
    {"ms", 1000},
    {"s", 1000000},
    {"m", 60 * 1000000ll},
    {"h", 3600 * 1000000ll},
    {"d", 86400 * 1000000ll},
};

static const struct unit SIZE_UNITS[] = {
    {"B", 1}, {"KiB", 1ll << 10}, {"MiB", 1ll << 20}, {"GiB", 1ll << 30}, {"TiB", 1ll << 40},
};

// Digits, overflow refused; the rest of the text is left in `rest`.
static bool read_digits(struct slice text, int64_t *number, struct slice *rest)
{
    int64_t value = 0;
    size_t i = 0;
    for (; i < text.len && text.at[i] >= '0' && text.at[i] <= '9'; i++) {
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, text.at[i] - '0', &value)) {
            return false;
        }
    }
    *number = value;
    *rest = slice_of(text.at + i, text.len - i);
    return i > 0;
}

static bool read_quantity(struct slice text, const struct unit *units, size_t units_count,
                          int64_t *quantity)
{
    int64_t number;
    struct slice unit;
    if (!read_digits(text, &number, &unit)) {
        return false;
    }
    for (size_t i = 0; i < units_count; i++) {
        if (slice_equal(unit, slice_of_string(units[i].name))) {
            return !__builtin_mul_overflow(number, units[i].factor, quantity);
        }
    }
    return false;
}

// In the largest unit that leaves no rest.
static void write_quantity(int64_t quantity, const struct unit *units, size_t units_count,
                           const char *none, char *text, size_t bytes)
{
    size_t unit = units_count - 1;
    while (unit > 0 && quantity % units[unit].factor != 0) {
        unit--;
    }
    if (quantity == 0) {
        snprintf(text, bytes, "%s", none);
    } else {
        snprintf(text, bytes, "%lld%s", (long long)(quantity / units[unit].factor),
                 units[unit].name);
    }
}

enum {
    DURATION_UNITS_COUNT = sizeof DURATION_UNITS / sizeof DURATION_UNITS[0],
    SIZE_UNITS_COUNT = sizeof SIZE_UNITS / sizeof SIZE_UNITS[0],
};

bool units_duration_us(struct slice text, int64_t *duration_us)
{
    return read_quantity(text, DURATION_UNITS, DURATION_UNITS_COUNT, duration_us);
}

void units_duration_text(int64_t duration_us, char *text, size_t bytes)
{
    write_quantity(duration_us, DURATION_UNITS, DURATION_UNITS_COUNT, "0s", text, bytes);
}

bool units_size_bytes(struct slice text, int64_t *size_bytes)
{
    return read_quantity(text, SIZE_UNITS, SIZE_UNITS_COUNT, size_bytes);
}

void units_size_text(int64_t size_bytes, char *text, size_t bytes)
{
    write_quantity(size_bytes, SIZE_UNITS, SIZE_UNITS_COUNT, "0B", text, bytes);
}

bool units_percent(struct slice text, int64_t *percent)
{
    struct slice unit;
    return read_digits(text, percent, &unit) && slice_equal(unit, slice_of_string("%"));
}
