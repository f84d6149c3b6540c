#include "load/mix.h"

#include <string.h>

static const struct mix MIXES[] = {
    {"get", {[OPERATION_READ] = 1}, DISTRIBUTION_UNIFORM},
    {"set", {[OPERATION_UPDATE] = 1}, DISTRIBUTION_UNIFORM},
    {"a", {[OPERATION_READ] = 0.5, [OPERATION_UPDATE] = 0.5}, DISTRIBUTION_ZIPF},
    {"b", {[OPERATION_READ] = 0.95, [OPERATION_UPDATE] = 0.05}, DISTRIBUTION_ZIPF},
    {"c", {[OPERATION_READ] = 1}, DISTRIBUTION_ZIPF},
    {"d", {[OPERATION_READ] = 0.95, [OPERATION_INSERT] = 0.05}, DISTRIBUTION_LATEST},
    {"e", {[OPERATION_SCAN] = 0.95, [OPERATION_INSERT] = 0.05}, DISTRIBUTION_ZIPF},
    {"f", {[OPERATION_READ] = 0.5, [OPERATION_READ_MODIFY_WRITE] = 0.5}, DISTRIBUTION_ZIPF},
};

const struct mix *mix_of_name(const char *name)
{
    for (size_t i = 0; i < sizeof MIXES / sizeof *MIXES; i++) {
        if (strcmp(MIXES[i].name, name) == 0) {
            return &MIXES[i];
        }
    }
    return NULL;
}

enum operation mix_draw(const struct mix *mix, struct key_chooser *chooser)
{
    for (int i = 0; i < OPERATION_COUNT; i++) {
        if (mix->shares[i] == 1) {
            return (enum operation)i;
        }
    }
    double left = keys_random(chooser);
    int last = 0;
    for (int i = 0; i < OPERATION_COUNT; i++) {
        if (mix->shares[i] > 0) {
            last = i;
            if (left < mix->shares[i]) {
                break;
            }
            left -= mix->shares[i];
        }
    }
    return (enum operation)last;
}
