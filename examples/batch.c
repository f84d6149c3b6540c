// Writes a thousand counters in one round trip and reads everything back with an iterator.
//
//      cc batch.c $(pkg-config --cflags --libs pgnear) -o batch && ./batch

#include <pgnear.h>
#include <stdio.h>

enum { COUNTERS = 1000 };

static int fail(const pgnear_error *error)
{
    fprintf(stderr, "%s: %s\n", error->name, error->message);
    return 1;
}

static int write_counters(pgnear *node)
{
    static const pgnear_bytes ZERO = {"\x00", 1}; // MessagePack for 0
    pgnear_batch *batch = pgnear_batch_create(node);
    pgnear_error error;
    const pgnear_reply *replies;
    size_t count;
    for (int i = 0; i < COUNTERS; i++) {
        char key[32];
        snprintf(key, sizeof key, "example:counter:%04d", i);
        if (pgnear_batch_set(batch, pgnear_text(key), ZERO, NULL, &error) != PGNEAR_OK) {
            return fail(&error);
        }
    }
    if (pgnear_batch_run(batch, NULL, &replies, &count, &error) != PGNEAR_OK) {
        return fail(&error);
    }
    for (size_t i = 0; i < count; i++) {
        if (replies[i].code != PGNEAR_OK) {
            return fail(replies[i].error);
        }
    }
    pgnear_batch_destroy(batch);
    return 0;
}

static int count_counters(pgnear *node)
{
    pgnear_scan_options options = PGNEAR_SCAN_OPTIONS_INIT;
    pgnear_iterator *iterator;
    pgnear_item item;
    pgnear_error error;
    int count = 0;
    options.prefix = pgnear_text("example:counter:");
    options.limit = 300;
    if (pgnear_iterator_create(node, &options, &iterator, &error) != PGNEAR_OK) {
        return fail(&error);
    }
    for (;;) {
        if (pgnear_iterator_next(iterator, &item, &error) != PGNEAR_OK) {
            return fail(&error);
        }
        if (!item.present) {
            break;
        }
        count++;
    }
    pgnear_iterator_destroy(iterator);
    printf("%d counters\n", count);
    return 0;
}

int main(void)
{
    pgnear *node;
    pgnear_error error;
    if (pgnear_open(NULL, NULL, &node, &error) != PGNEAR_OK) {
        return fail(&error);
    }
    int status = write_counters(node);
    status = status != 0 ? status : count_counters(node);
    pgnear_close(node);
    return status;
}
