// pgneard: reads the options and the settings, connects the wings, waits for a signal, and takes
// everything down in order. The only file that knows all wings, and the only one that gives up.
//
// Start: writer (opens both environments, recovers), worker, servers; threads only once all are
// made, so that whatever fails leaves nothing running. Stop: no new clients and requests, the
// worker drains the outbox while the writer still settles what it flushes, the servers send what
// has been answered, then writer and worker end.
#include <errno.h>
#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/status.h"
#include "base/streams.h"
#include "cache/writer.h"
#include "config/config.h"
#include "pg/conn_params.h"
#include "pg/guest.h"
#include "pg/table_name.h"
#include "pg/worker.h"
#include "server/server.h"
#include "server/supervisor.h"

enum { EXIT_CONFIGURATION = 2, EXIT_IN_USE = 3 };

struct options {
    const char *config_path; // NULL: the default
    bool check_config;
};

struct node {
    struct options options;
    struct settings settings;
    struct status status;
    struct writer *writer;
    struct worker *worker;
    struct server *server;
    pthread_t main_thread;
    _Atomic int exit_status; // of stop_node; -1 where nobody asked
};

static const char USAGE[] =
    "usage: pgneard [-c FILE] [--check-config] [--version] [--help]\n"
    "\n"
    "A near cache for PostgreSQL: serves reads of key -> JSON from a local cache, takes writes\n"
    "into a durable outbox, and keeps both in step with a JSONB table.\n"
    "\n"
    "  -c, --config FILE  the configuration [" CONFIG_PATH_DEFAULT ", where it exists]\n"
    "      --check-config check the configuration and exit\n"
    "      --version      print the version and exit\n"
    "      --help         print this and exit\n"
    "\n"
    "DATABASE_URL in the environment serves where the configuration names no server.\n"
    "Exit status: 0, 2 for the configuration, 3 for a directory in use, 1 otherwise.\n";

// Exits itself where there is nothing more to do.
static struct options parse_options(int argc, char **argv)
{
    static const struct option LONG_OPTIONS[] = {
        {"config", required_argument, NULL, 'c'},
        {"check-config", no_argument, NULL, 'k'},
        {"version", no_argument, NULL, 'v'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    struct options options = {0};
    int option;
    // NOLINTBEGIN(concurrency-mt-unsafe): there is no other thread yet
    while ((option = getopt_long(argc, argv, "c:h", LONG_OPTIONS, NULL)) != -1) {
        switch (option) {
        case 'c':
            options.config_path = optarg;
            break;
        case 'k':
            options.check_config = true;
            break;
        case 'v':
            puts("pgneard " PGNEAR_VERSION);
            exit(EXIT_SUCCESS);
        case 'h':
            fputs(USAGE, stdout);
            exit(EXIT_SUCCESS);
        default:
            fputs(USAGE, stderr);
            exit(EXIT_CONFIGURATION);
        }
    }
    if (optind < argc) {
        fprintf(stderr, "pgneard: unexpected argument: %s\n%s", argv[optind], USAGE);
        exit(EXIT_CONFIGURATION);
    }
    // NOLINTEND(concurrency-mt-unsafe)
    return options;
}

static enum error table_name_is_valid(const char *text, struct failure *failure)
{
    struct table_name name;
    return table_name_parse(text, &name, failure);
}

static const struct config_checks CHECKS = {
    .table = table_name_is_valid,
    .conninfo = conn_params_check,
};

// Thousands of clients need as many descriptors as the hard limit gives.
static void raise_descriptor_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

// The signals that main waits for are blocked in every thread, so that only sigwait sees them.
static sigset_t block_signals(void)
{
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGHUP);
    CHECK(pthread_sigmask(SIG_BLOCK, &signals, NULL) == 0);
    signal(SIGPIPE, SIG_IGN);
    return signals;
}

// stop_port: a wing cannot go on.
static void stop_node(void *context, int exit_status)
{
    struct node *node = context;
    int nobody = -1;
    atomic_compare_exchange_strong(&node->exit_status, &nobody, exit_status);
    // NOLINTNEXTLINE(bugprone-bad-signal-to-kill-thread): it is blocked, and waited for there
    pthread_kill(node->main_thread, SIGTERM);
}

static void reload(struct node *node)
{
    struct settings fresh;
    struct failure failure;
    if (config_load(node->options.config_path, &CHECKS, &fresh, &failure) != ERROR_NONE) {
        LOG_ERROR("configuration not re-read", LOG_TEXT("error", failure.message));
        return;
    }
    log_configure(fresh.log_level, fresh.log_format);
    server_set_allow_uids(node->server, fresh.server.allow_uids, fresh.server.allow_uids_count);
    writer_set_max_stale(node->writer, fresh.cache.max_stale_us);
    worker_set_audit_rate(node->worker, fresh.cache.audit_rate);
    LOG_INFO("configuration re-read");
    struct buffer unread = {0};
    config_list_unread(&node->settings, &fresh, &unread);
    if (buffer_len(&unread) > 0) {
        LOG_WARNING("settings wait for a restart", LOG_TEXT("keys", buffer_text(&unread)));
    }
    buffer_deinit(&unread);
    config_deinit(&fresh);
}

// The next signal; 0 where `period_us`, unless it is 0, has passed without one.
static int next_signal(const sigset_t *signals, int64_t period_us)
{
    const struct timespec period = {
        .tv_sec = period_us / CLOCK_US_PER_S,
        .tv_nsec = period_us % CLOCK_US_PER_S * 1000,
    };
    int received;
    do {
        received = sigtimedwait(signals, NULL, period_us > 0 ? &period : NULL);
    } while (received < 0 && errno == EINTR);
    CHECK(received > 0 || errno == EAGAIN);
    return received > 0 ? received : 0;
}

static void wait_for_stop(struct node *node, const sigset_t *signals)
{
    int64_t watchdog_us = supervisor_watchdog_us();
    for (;;) {
        int received = next_signal(signals, watchdog_us);
        if (received == 0) {
            supervisor_feed_watchdog(node->settings.server.socket);
            continue;
        }
        if (received != SIGHUP) {
            LOG_INFO("stopping", LOG_TEXT("signal", sigabbrev_np(received)));
            return;
        }
        reload(node);
    }
}

// ---- Start

static int exit_status_of(enum error error)
{
    switch (error) {
    case ERROR_NONE:
        return EXIT_SUCCESS;
    case ERROR_CONFIG:
        return EXIT_CONFIGURATION;
    case ERROR_IN_USE:
        return EXIT_IN_USE;
    default:
        return EXIT_FAILURE;
    }
}

static enum error make_writer(struct node *node, struct failure *failure)
{
    struct writer_options options = {
        .settings = &node->settings,
        .status = &node->status,
        .stop = {.context = node, .stop = stop_node},
    };
    return writer_open(&options, &node->writer, failure);
}

static enum error make_worker(struct node *node, struct failure *failure)
{
    struct worker_options options = {
        .settings = &node->settings,
        .status = &node->status,
        .cache = writer_cache_port(node->writer),
        .outbox = writer_outbox_port(node->writer),
        .stop = {.context = node, .stop = stop_node},
        .writer = writer_mailbox(node->writer),
        .identity = *writer_identity(node->writer),
    };
    enum error error = worker_create(&options, &node->worker);
    if (error != ERROR_NONE) {
        return failure_set(failure, error, "the pg worker: %s", error_text(error));
    }
    return ERROR_NONE;
}

static enum error make_server(struct node *node, struct failure *failure)
{
    struct server_options options = {
        .settings = &node->settings,
        .status = &node->status,
        .cache = writer_cache_port(node->writer),
        .writer = writer_mailbox(node->writer),
        .pg = worker_mailbox(node->worker),
        .fetch = guest_port(node->worker),
        .version = PGNEAR_VERSION,
        .node = writer_identity(node->writer)->node,
        .table = settings_table(&node->settings.postgres),
        .cache_dir = node->settings.cache.dir,
    };
    enum error error = server_create(&options, &node->server, failure);
    if (error == ERROR_NONE) {
        size_t loops_count;
        struct mailbox *const *loops = server_mailboxes(node->server, &loops_count);
        writer_connect(node->writer, worker_mailbox(node->worker), loops, loops_count);
    }
    return error;
}

// The threads in the order in which they need each other; the clients last.
static enum error start_threads(struct node *node, struct failure *failure)
{
    enum error error = writer_start(node->writer);
    if (error == ERROR_NONE) {
        error = worker_start(node->worker);
    }
    if (error != ERROR_NONE) {
        return failure_set(failure, error, "starting a thread: %s", error_text(error));
    }
    return server_start(node->server, failure);
}

static enum error start(struct node *node, struct failure *failure)
{
    enum error error = make_writer(node, failure);
    if (error == ERROR_NONE) {
        error = make_worker(node, failure);
    }
    if (error == ERROR_NONE) {
        error = make_server(node, failure);
    }
    if (error == ERROR_NONE) {
        error = start_threads(node, failure);
    }
    return error;
}

// ---- Stop

static void drain(struct node *node)
{
    // Where a wing cannot go on, there is nothing to wait for.
    bool is_asked_from_within = atomic_load(&node->exit_status) >= 0;
    int64_t deadline_us =
        clock_boot_us() + (is_asked_from_within ? 0 : node->settings.server.drain_timeout_us);
    server_stop_accepting(node->server);
    server_drain(node->server, deadline_us);
    worker_stop(node->worker, deadline_us);
    server_stop(node->server);
}

// Takes down what was made, in whatever state the start left it. Nobody sends to a mailbox any
// more when its owner is destroyed.
static void take_down(struct node *node)
{
    if (node->worker != NULL) {
        worker_stop(node->worker, clock_boot_us());
    }
    if (node->server != NULL) {
        server_stop(node->server);
    }
    if (node->writer != NULL) {
        writer_stop(node->writer);
    }
    if (node->worker != NULL) {
        worker_destroy(node->worker);
    }
    if (node->server != NULL) {
        server_destroy(node->server);
    }
    if (node->writer != NULL) {
        writer_close(node->writer);
    }
}

static int run(struct node *node)
{
    sigset_t signals = block_signals();
    struct failure failure = {0};
    enum error error = start(node, &failure);
    if (error != ERROR_NONE) {
        LOG_ERROR("start failed", LOG_TEXT("error", failure.message));
        take_down(node);
        return exit_status_of(error);
    }
    LOG_INFO("started", LOG_TEXT("version", PGNEAR_VERSION),
             LOG_TEXT("node", writer_identity(node->writer)->node),
             LOG_TEXT("socket", node->settings.server.socket),
             LOG_TEXT("table", settings_table(&node->settings.postgres)));
    supervisor_ready("serving");
    wait_for_stop(node, &signals);
    supervisor_stopping();
    drain(node);
    take_down(node);
    int asked = atomic_load(&node->exit_status);
    LOG_INFO("stopped");
    return asked >= 0 ? asked : EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
    static struct node node;
    streams_hold();
    node.options = parse_options(argc, argv);
    node.main_thread = pthread_self();
    atomic_store(&node.exit_status, -1);
    struct failure failure;
    if (fault_start(&failure) != ERROR_NONE ||
        config_load(node.options.config_path, &CHECKS, &node.settings, &failure) != ERROR_NONE) {
        fprintf(stderr, "pgneard: %s\n", failure.message);
        return EXIT_CONFIGURATION;
    }
    if (node.options.check_config) {
        config_deinit(&node.settings);
        return EXIT_SUCCESS;
    }
    raise_descriptor_limit();
    log_configure(node.settings.log_level, node.settings.log_format);
    status_init(&node.status);
    int exit_status = run(&node);
    status_deinit(&node.status);
    config_deinit(&node.settings);
    return exit_status;
}
