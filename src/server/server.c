// Puts the wing together: the loops, and the acceptor on the first of them. Everything here runs on
// main's thread; what must happen on a loop's is sent there with mail_call.

#include "server/server.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/memory.h"
#include "server/acceptor.h"
#include "server/mail.h"

// Of the process, beside its clients: some thirty, twice the files of the cache while it makes new
// ones, and what names and certificates are looked up with; connections to PostgreSQL for control,
// LISTEN, the flush and a backup; for each thread a mailbox and what its loop waits with, for
// events, for a time and for answers.
enum { DESCRIPTORS_OF_PROCESS = 45, DESCRIPTORS_OF_PG = 4, DESCRIPTORS_OF_THREAD = 4 };

struct server {
    struct server_options options;
    struct node_facts facts;
    struct admission admission;
    struct acceptor *acceptor; // NULL: not listening
    struct loop **loops;
    struct mailbox **mailboxes;
    size_t loops_count;
    struct latency_board latencies;
};

static int descriptors_kept(const struct settings *settings)
{
    return DESCRIPTORS_OF_PROCESS + DESCRIPTORS_OF_PG + settings->postgres.connections +
           DESCRIPTORS_OF_THREAD * settings->server.threads;
}

static struct loop_options loop_options_of(struct server *server)
{
    const struct settings *settings = server->options.settings;
    return (struct loop_options){
        .cache = &server->options.cache,
        .status = server->options.status,
        .writer = server->options.writer,
        .pg = server->options.pg,
        .fetch = server->options.fetch,
        .facts = &server->facts,
        .latencies = &server->latencies,
        .value_bytes_max = settings->server.max_value_bytes,
        .not_taken_bytes_max = server->options.not_taken_bytes_max > 0
                                   ? server->options.not_taken_bytes_max
                                   : DESK_OUT_MAX,
        .timeout_ms = settings->writes.timeout_us / CLOCK_US_PER_MS,
        .ack = settings->writes.ack,
        .busy_poll_us = settings->server.busy_poll_us,
        .idle_timeout_us = settings->server.idle_timeout_us,
    };
}

enum error server_create(const struct server_options *options, struct server **server,
                         struct failure *failure)
{
    const struct server_settings *settings = &options->settings->server;
    size_t count = (size_t)settings->threads;
    CHECK_VALUES(settings->threads > 0, "%d", settings->threads);
    struct server *made = memory_zeroed(1, sizeof *made);
    made->options = *options;
    made->facts = (struct node_facts){
        .version = options->version,
        .node = options->node,
        .table = options->table,
        .cache_dir = options->cache_dir,
    };
    admission_init(&made->admission, options->status, settings->max_connections,
                   descriptors_kept(options->settings));
    admission_set_uids(&made->admission, settings->allow_uids, settings->allow_uids_count);
    made->loops = memory_zeroed(count, sizeof(struct loop *));
    made->mailboxes = memory_zeroed(count, sizeof(struct mailbox *));
    struct loop_options loop_options = loop_options_of(made);
    made->latencies = (struct latency_board){
        .loops = memory_zeroed(count, sizeof(struct latency)),
        .loops_count = count,
    };
    for (; made->loops_count < count; made->loops_count++) {
        loop_options.latency = &made->latencies.loops[made->loops_count];
        struct loop **loop = &made->loops[made->loops_count];
        if (loop_create(&loop_options, loop) != ERROR_NONE) {
            server_destroy(made);
            return failure_set(failure, ERROR_SYSTEM, "Failed to make an event loop: %s",
                               "no file descriptor is left");
        }
        made->mailboxes[made->loops_count] = &(*loop)->mailbox;
    }
    *server = made;
    return ERROR_NONE;
}

struct mailbox *const *server_mailboxes(const struct server *server, size_t *count)
{
    *count = server->loops_count;
    return server->mailboxes;
}

static enum error start_loops(struct server *server)
{
    enum error error = ERROR_NONE;
    for (size_t i = 0; i < server->loops_count && error == ERROR_NONE; i++) {
        error = loop_start(server->loops[i]);
    }
    return error;
}

enum error server_start(struct server *server, struct failure *failure)
{
    struct acceptor_options acceptor_options = {
        .settings = &server->options.settings->server,
        .admission = &server->admission,
        .loops = server->loops,
        .loops_count = server->loops_count,
    };
    enum error error = acceptor_open(&acceptor_options, &server->acceptor, failure);
    if (error != ERROR_NONE) {
        return error;
    }
    error = start_loops(server);
    if (error != ERROR_NONE) {
        server_stop(server);
        return failure_set(failure, error, "Failed to start a server thread: %s",
                           error_text(error));
    }
    return ERROR_NONE;
}

static void close_acceptor(struct loop *loop, void *context)
{
    (void)loop;
    struct acceptor **acceptor = context;
    if (*acceptor != NULL) {
        acceptor_close(*acceptor);
        *acceptor = NULL;
    }
}

void server_stop_accepting(struct server *server)
{
    mail_call(server->loops[0], close_acceptor, &server->acceptor);
}

bool server_drain(struct server *server, int64_t deadline_boot_us)
{
    bool drained = true;
    for (size_t i = 0; i < server->loops_count; i++) {
        loop_begin_drain(server->loops[i]);
    }
    for (size_t i = 0; i < server->loops_count; i++) {
        drained = loop_await_drained(server->loops[i], deadline_boot_us) && drained;
    }
    return drained;
}

void server_stop(struct server *server)
{
    server_stop_accepting(server);
    for (size_t i = 0; i < server->loops_count; i++) {
        loop_stop(server->loops[i]);
    }
}

void server_destroy(struct server *server)
{
    CHECK(server->acceptor == NULL);
    for (size_t i = 0; i < server->loops_count; i++) {
        loop_destroy(server->loops[i]);
    }
    admission_deinit(&server->admission);
    free(server->latencies.loops);
    free(server->mailboxes);
    free(server->loops);
    free(server);
}

void server_set_allow_uids(struct server *server, const uid_t *uids, size_t count)
{
    admission_set_uids(&server->admission, uids, count);
}
