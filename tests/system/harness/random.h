// Random numbers of a test (splitmix64, Steele et al. 2014): the seed is printed, and
// PGNEAR_TEST_SEED sets it to run the same choices again.
#pragma once

#include <stddef.h>
#include <stdint.h>

struct random {
    uint64_t state;
};

// The seed of this run; printed when it is first asked for. Main thread.
uint64_t random_seed(void);

// A sequence of its own for every `stream`, such as the index of a worker.
struct random random_of(uint64_t seed, uint64_t stream);

uint64_t random_next(struct random *random);
// 0 to count - 1.
uint64_t random_below(struct random *random, uint64_t count);
void random_fill(struct random *random, void *bytes, size_t len);

// How often a test repeats what it repeats: $PGNEAR_TEST_ROUNDS, else `full`, or a fifth of it
// under a sanitizer.
int test_rounds(int full);
