// Watches a prefix in a loop of one's own around poll(2), and ends with the first change.
//
//      cc async_poll.c $(pkg-config --cflags --libs pgnear) -o async_poll

#include <pgnear/adapters/poll.h>
#include <stdio.h>

static void on_event(pgnear_async *node, const pgnear_event *event, void *context)
{
    (void)context;
    if (event->kind == PGNEAR_EVENT_SET) {
        printf("%.*s was set\n", (int)event->key.len, (const char *)event->key.at);
        pgnear_async_close(node);
    }
}

static void on_watched(pgnear_async *node, const pgnear_reply *reply, void *context)
{
    static const pgnear_bytes ONE = {"\x01", 1};
    (void)context;
    if (reply->code == PGNEAR_OK) {
        pgnear_async_set(node, pgnear_text("example:watched"), ONE, NULL, NULL, NULL, NULL);
    } else {
        fprintf(stderr, "%s\n", reply->error->message);
        pgnear_async_close(node);
    }
}

int main(void)
{
    static const pgnear_bytes PARAMS = {"\x91\xa8"
                                        "example:",
                                        10}; // ["example:"]
    struct pgnear_poll adapter;
    pgnear_async *node;
    pgnear_error error;
    if (pgnear_async_open(NULL, NULL, &node, &error) != PGNEAR_OK) {
        fprintf(stderr, "%s\n", error.message);
        return 1;
    }
    pgnear_poll_attach(node, &adapter);
    pgnear_async_on_event(node, on_event, NULL);
    pgnear_async_call(node, "watch", PARAMS, false, NULL, on_watched, NULL, NULL);
    while (adapter.async != NULL) {
        struct pollfd entry = pgnear_poll_entry(&adapter);
        poll(&entry, 1, pgnear_poll_timeout(&adapter));
        pgnear_poll_handle(&adapter, entry.revents);
    }
    return 0;
}
