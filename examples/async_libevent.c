// Many requests at once in a loop of libevent.
//
//      cc async_libevent.c $(pkg-config --cflags --libs pgnear libevent_core) -o async_libevent

#include <pgnear/adapters/libevent.h>
#include <stdio.h>

enum { REQUESTS = 100 };

static int answered;
static int failed;

static void on_read(pgnear_async *node, const pgnear_reply *reply, void *context)
{
    (void)context;
    failed += reply->code != PGNEAR_OK || !reply->item.present;
    if (++answered == REQUESTS) {
        pgnear_async_close(node);
    }
}

static void on_written(pgnear_async *node, const pgnear_reply *reply, void *context)
{
    const char *key = (const char *)context;
    pgnear_error error;
    if (reply->code != PGNEAR_OK ||
        pgnear_async_get(node, pgnear_text(key), NULL, on_read, NULL, &error) != PGNEAR_OK) {
        failed++;
        pgnear_async_close(node);
    }
}

static void on_close(pgnear_async *node, const pgnear_error *error, void *context)
{
    (void)context;
    fprintf(stderr, "%s\n", error->message);
    failed++;
    pgnear_async_close(node);
}

int main(void)
{
    static char keys[REQUESTS][32];
    struct event_base *base = event_base_new();
    pgnear_async *node;
    pgnear_error error;
    if (base == NULL || pgnear_async_open(NULL, NULL, &node, &error) != PGNEAR_OK) {
        fprintf(stderr, "%s\n", base == NULL ? "no event base" : error.message);
        return 1;
    }
    pgnear_async_on_close(node, on_close, NULL);
    pgnear_libevent_attach(node, base);
    for (int i = 0; i < REQUESTS; i++) {
        pgnear_bytes value = {"\xc3", 1}; // MessagePack for true
        snprintf(keys[i], sizeof keys[i], "example:async:%d", i);
        if (pgnear_async_set(node, pgnear_text(keys[i]), value, NULL, on_written, keys[i],
                             &error) != PGNEAR_OK) {
            fprintf(stderr, "%s\n", error.message);
            return 1;
        }
    }
    event_base_dispatch(base); // until nothing is left to wait for
    event_base_free(base);
    printf("%d answered, %d failed\n", answered, failed);
    return failed == 0 ? 0 : 1;
}
