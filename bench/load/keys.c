// Zipf ranks are scattered over the keys by a hash, so that hot keys do not lie side by side.
#include "load/keys.h"

#include <math.h>
#include <string.h>

#include "base/check.h"

static const double ZIPF_THETA = 0.99; // YCSB's

bool distribution_of_name(const char *name, enum distribution *distribution)
{
    static const char *const NAMES[DISTRIBUTION_COUNT] = {
        [DISTRIBUTION_UNIFORM] = "uniform",
        [DISTRIBUTION_ZIPF] = "zipf",
        [DISTRIBUTION_SEQUENTIAL] = "sequential",
        [DISTRIBUTION_LATEST] = "latest",
        [DISTRIBUTION_ONE] = "one",
        [DISTRIBUTION_SCANS] = "scans",
    };
    for (int i = 0; i < DISTRIBUTION_COUNT; i++) {
        if (strcmp(NAMES[i], name) == 0) {
            *distribution = (enum distribution)i;
            return true;
        }
    }
    return false;
}

// Sebastiano Vigna's splitmix64: one addition and a mix for each number, good enough for loads.
static uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
    return x ^ (x >> 31);
}

static uint64_t draw(struct key_chooser *chooser)
{
    chooser->random += 0x9e3779b97f4a7c15ULL;
    return mix(chooser->random);
}

static uint64_t draw_below(struct key_chooser *chooser, uint64_t limit)
{
    return (uint64_t)(((unsigned __int128)draw(chooser) * limit) >> 64);
}

double keys_random(struct key_chooser *chooser)
{
    return (double)(draw(chooser) >> 11) * 0x1.0p-53;
}

static void prepare_zipf(struct key_chooser *chooser)
{
    double theta = ZIPF_THETA;
    double zeta = 0;
    for (uint64_t i = 1; i <= chooser->count; i++) {
        zeta += pow((double)i, -theta);
    }
    double zeta2 = 1 + pow(2, -theta);
    chooser->theta = theta;
    chooser->zeta = zeta;
    chooser->alpha = 1 / (1 - theta);
    chooser->eta = (1 - pow(2 / (double)chooser->count, 1 - theta)) / (1 - zeta2 / zeta);
}

void keys_init(struct key_chooser *chooser, enum distribution distribution, uint64_t count,
               uint64_t first, uint64_t seed)
{
    CHECK(count > 0);
    *chooser = (struct key_chooser){.distribution = distribution,
                                    .count = count,
                                    .first = first,
                                    .next = first,
                                    .random = seed};
    if (distribution == DISTRIBUTION_ZIPF || distribution == DISTRIBUTION_LATEST ||
        distribution == DISTRIBUTION_SCANS) {
        prepare_zipf(chooser);
    }
}

static uint64_t zipf_rank(struct key_chooser *chooser)
{
    double u = keys_random(chooser);
    double uz = u * chooser->zeta;
    if (uz < 1) {
        return 0;
    }
    if (uz < 1 + pow(0.5, chooser->theta)) {
        return 1;
    }
    double spread = pow(chooser->eta * u - chooser->eta + 1, chooser->alpha);
    uint64_t rank = (uint64_t)((double)chooser->count * spread);
    return rank < chooser->count ? rank : chooser->count - 1;
}

// A scan is of a twentieth of all keys; a third of all draws are a scan's.
static uint64_t next_of_scans(struct key_chooser *chooser)
{
    uint64_t length = chooser->count / 20 + 1;
    if (chooser->scan_left == 0 && keys_random(chooser) * 2 * (double)length < 1) {
        chooser->scan_left = length;
        chooser->next = draw_below(chooser, chooser->count);
    }
    if (chooser->scan_left > 0) {
        chooser->scan_left--;
        return chooser->next++ % chooser->count;
    }
    return mix(zipf_rank(chooser) + 1) % chooser->count;
}

uint64_t keys_next(struct key_chooser *chooser)
{
    switch (chooser->distribution) {
    case DISTRIBUTION_ZIPF:
        return mix(zipf_rank(chooser) + 1) % chooser->count;
    case DISTRIBUTION_LATEST:
        return chooser->count - 1 - zipf_rank(chooser);
    case DISTRIBUTION_SEQUENTIAL:
        return chooser->next++;
    case DISTRIBUTION_SCANS:
        return next_of_scans(chooser);
    case DISTRIBUTION_ONE:
        return chooser->first;
    case DISTRIBUTION_UNIFORM:
    case DISTRIBUTION_COUNT:
        break;
    }
    return draw_below(chooser, chooser->count);
}

uint64_t keys_insert(struct key_chooser *chooser)
{
    return chooser->count++;
}

void key_format(uint64_t number, char text[KEY_TEXT_BYTES])
{
    text[0] = 'k';
    for (int i = KEY_TEXT_BYTES - 1; i > 0; i--) {
        text[i] = (char)('0' + number % 10);
        number /= 10;
    }
}

static size_t header_of(size_t bytes, uint8_t header[VALUE_HEADER_MAX])
{
    if (bytes - 2 <= UINT8_MAX) {
        header[0] = 0xd9;
        header[1] = (uint8_t)(bytes - 2);
        return 2;
    }
    size_t body = bytes - 3;
    CHECK_VALUES(body <= UINT16_MAX, "%zu bytes", bytes);
    header[0] = 0xda;
    header[1] = (uint8_t)(body >> 8);
    header[2] = (uint8_t)body;
    return 3;
}

void value_format(uint64_t number, uint8_t *out, size_t bytes)
{
    CHECK_VALUES(bytes >= KEY_TEXT_BYTES + VALUE_HEADER_MAX, "%zu bytes", bytes);
    size_t header_bytes = header_of(bytes, out);
    key_format(number, (char *)out + header_bytes);
    size_t filled = header_bytes + KEY_TEXT_BYTES;
    memset(out + filled, 'x', bytes - filled);
}

bool value_is_of(const char key[KEY_TEXT_BYTES], const uint8_t *value, size_t len, size_t bytes)
{
    uint8_t header[VALUE_HEADER_MAX];
    size_t header_bytes = header_of(bytes, header);
    return len == bytes && memcmp(value, header, header_bytes) == 0 &&
           memcmp(value + header_bytes, key, KEY_TEXT_BYTES) == 0;
}
