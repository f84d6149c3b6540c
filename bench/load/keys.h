// Which key comes next: uniform, Zipf as YCSB draws it (Gray et al., "Quickly generating
// billion-record synthetic databases", SIGMOD 1994), one after another, or the latest first; and
// what a key and its value look like. One thread.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { KEY_TEXT_BYTES = 16, VALUE_HEADER_MAX = 5 };

enum distribution {
    DISTRIBUTION_UNIFORM,
    DISTRIBUTION_ZIPF,
    DISTRIBUTION_SEQUENTIAL,
    DISTRIBUTION_LATEST,
    DISTRIBUTION_ONE,   // always the first
    DISTRIBUTION_SCANS, // Zipf, and in between, once in a while, many keys in a row
    DISTRIBUTION_COUNT
};

struct key_chooser {
    enum distribution distribution;
    uint64_t count; // keys 0 .. count - 1 exist
    uint64_t first; // DISTRIBUTION_SEQUENTIAL: where it begins
    uint64_t next;
    uint64_t scan_left; // DISTRIBUTION_SCANS: keys of this scan that are still to come
    uint64_t random;    // state
    double theta;
    double zeta;
    double alpha;
    double eta;
};

// False where there is no distribution of this name.
bool distribution_of_name(const char *name, enum distribution *distribution);

// `count` > 0 keys; the work of DISTRIBUTION_ZIPF is linear in it.
void keys_init(struct key_chooser *chooser, enum distribution distribution, uint64_t count,
               uint64_t first, uint64_t seed);
uint64_t keys_next(struct key_chooser *chooser);

// One more key exists, which is returned.
uint64_t keys_insert(struct key_chooser *chooser);

// A number from 0 to 1, exclusive.
double keys_random(struct key_chooser *chooser);

// Sixteen characters, without a NUL. As in bench/run's SQL: 'k' and fifteen digits.
void key_format(uint64_t number, char text[KEY_TEXT_BYTES]);

// A MessagePack string of `bytes` in all, header included, that begins with the key: what every
// contestant stores, to the byte. At least KEY_TEXT_BYTES + VALUE_HEADER_MAX.
void value_format(uint64_t number, uint8_t *out, size_t bytes);

// Whether `len` bytes are what value_format makes of this key in that size.
bool value_is_of(const char key[KEY_TEXT_BYTES], const uint8_t *value, size_t len, size_t bytes);
