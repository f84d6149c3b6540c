#include "system/harness/random.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { ROUNDS_DIVISOR = 5 };
#else
enum { ROUNDS_DIVISOR = 1 };
#endif

static uint64_t number_of(const char *name)
{
    const char *text = getenv(name);
    return text == NULL ? 0 : strtoull(text, NULL, 10);
}

uint64_t random_seed(void)
{
    static uint64_t seed;
    if (seed == 0) {
        seed = number_of("PGNEAR_TEST_SEED");
        seed = seed != 0 ? seed : (uint64_t)clock_real_us();
        fprintf(stderr, "PGNEAR_TEST_SEED=%llu\n", (unsigned long long)seed);
    }
    return seed;
}

uint64_t random_next(struct random *random)
{
    uint64_t mixed = random->state += 0x9e3779b97f4a7c15u;
    mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9u;
    mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111ebu;
    return mixed ^ (mixed >> 31);
}

struct random random_of(uint64_t seed, uint64_t stream)
{
    struct random mixer = {.state = seed};
    struct random random = {.state = random_next(&mixer) + stream * 0xd1342543de82ef95u};
    random.state = random_next(&random);
    return random;
}

uint64_t random_below(struct random *random, uint64_t count)
{
    return random_next(random) % count;
}

void random_fill(struct random *random, void *bytes, size_t len)
{
    uint8_t *at = bytes;
    while (len > 0) {
        uint64_t number = random_next(random);
        size_t part = len < sizeof number ? len : sizeof number;
        memcpy(at, &number, part);
        at += part;
        len -= part;
    }
}

int test_rounds(int full)
{
    uint64_t asked = number_of("PGNEAR_TEST_ROUNDS");
    if (asked != 0) {
        return (int)asked;
    }
    return full / ROUNDS_DIVISOR > 0 ? full / ROUNDS_DIVISOR : 1;
}
