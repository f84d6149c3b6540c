// watch: prints events until SIGINT, SIGTERM or the reader of our output goes away. A node that
// restarts is waited for; the resync that follows says that events may have been missed.

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/output.h"
#include "cli/signals.h"

enum { RETRY_MS = 200 };

static enum exit_status print_event(const pgnear_event *event, const struct invocation *invocation)
{
    struct document document;
    document_init(&document);
    bool is_change = event->kind != PGNEAR_EVENT_RESYNC;
    msgpack_pack_map(&document.packer, is_change ? 4 : 1);
    mpack_pack_string(&document.packer, "event");
    mpack_pack_string(&document.packer, is_change ? "changed" : "resync");
    if (is_change) {
        mpack_pack_string(&document.packer, "key");
        document_pack_bytes(&document, event->key);
        mpack_pack_string(&document.packer, "version");
        document_pack_version(&document, event->has_version, event->version);
        mpack_pack_string(&document.packer, "op");
        mpack_pack_string(&document.packer, event->kind == PGNEAR_EVENT_SET ? "set" : "delete");
    }
    enum exit_status status = document_print(&document, invocation);
    if (status == EXIT_DONE && fflush(stdout) != 0) {
        return complain(EXIT_REFUSED, "cannot write: %s", strerrordesc_np(errno));
    }
    return status;
}

// Waits for input from the node, where there is a connection. False on a signal, and where the
// reader of our output is gone, who would otherwise be noticed with the next event only.
static bool await_input(int node_fd, int signal_fd, bool retries)
{
    struct pollfd entries[] = {{.fd = signal_fd, .events = POLLIN},
                               {.fd = STDOUT_FILENO, .events = 0},
                               {.fd = node_fd, .events = POLLIN}};
    poll(entries, 3, retries ? RETRY_MS : -1);
    return entries[0].revents == 0 && entries[1].revents == 0;
}

static enum exit_status print_events(struct invocation *invocation, int signal_fd)
{
    bool was_reached = true;
    for (;;) {
        pgnear_event event;
        pgnear_error error;
        pgnear_code code = pgnear_next_event(invocation->node, 0, &event, &error);
        if (code == PGNEAR_OK) {
            enum exit_status status = print_event(&event, invocation);
            if (status != EXIT_DONE) {
                return status;
            }
            was_reached = true;
            continue;
        }
        if (code != PGNEAR_TIMEOUT && code != PGNEAR_UNREACHABLE) {
            return complain_of_call(&error);
        }
        if (code == PGNEAR_UNREACHABLE && was_reached) {
            complain(EXIT_UNREACHABLE, "%s; waiting for it", error.message);
            was_reached = false;
        }
        if (!await_input(pgnear_fd(invocation->node), signal_fd, code == PGNEAR_UNREACHABLE)) {
            return EXIT_DONE;
        }
    }
}

enum exit_status run_watch(struct invocation *invocation)
{
    int signal_fd = signals_open();
    if (signal_fd < 0) {
        return complain(EXIT_REFUSED, "signalfd: %s", strerrordesc_np(errno));
    }
    enum exit_status status;
    pgnear_error error;
    const char *prefix = invocation->operands_count == 1 ? invocation->operands[0] : "";
    if (command_connect(invocation, &status)) {
        bool watched =
            pgnear_watch(invocation->node, pgnear_text(prefix), NULL, &error) == PGNEAR_OK;
        status = watched ? print_events(invocation, signal_fd) : complain_of_call(&error);
    }
    close(signal_fd);
    return status;
}
