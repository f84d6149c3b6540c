// The server is a child of the test, not a daemon of pg_ctl's, so that it cannot outlive the test.

#include "system/harness/pg.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "system/harness/deadline.h"
#include "system/harness/pg_data.h"
#include "system/harness/pg_install.h"
#include "system/harness/replication.h"

enum { SETTINGS_MAX = 32, SOCKET_PORT = 5432 };

int pg_free_port(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, len) != 0 ||
        getsockname(fd, (struct sockaddr *)&address, &len) != 0) {
        scenario_fail("there is no free port: %s", strerror(errno));
    }
    close(fd);
    return ntohs(address.sin_port);
}

static void make_directory(const char *directory)
{
    uid_t uid;
    gid_t gid;
    process_user(&uid, &gid);
    if (mkdir(directory, 0755) != 0 || chown(directory, uid, gid) != 0) {
        scenario_fail("cannot make %s: %s", directory, strerror(errno));
    }
}

static void start_process(struct pg *pg)
{
    const char *arguments[2 * SETTINGS_MAX + 4] = {pg_program(pg->scenario, "postgres"), "-D",
                                                   pg->data};
    const char *const own[] = {
        scenario_text(pg->scenario, "unix_socket_directories=%s", pg->directory),
        scenario_text(pg->scenario, "port=%d", pg->port),
        pg->tcp ? "listen_addresses=127.0.0.1" : "listen_addresses=",
        pg->durable ? "fsync=on" : "fsync=off",
        pg->durable ? "full_page_writes=on" : "full_page_writes=off",
        "max_connections=100",
        "shared_buffers=32MB",
        // Not in /dev/shm, where a server that is killed would leave it.
        "dynamic_shared_memory_type=mmap",
        "log_line_prefix=%m [%p] %a ",
        "timezone=UTC",
    };
    size_t count = 3;
    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++) {
        arguments[count++] = "-c";
        arguments[count++] = own[i];
    }
    for (const char *const *setting = pg->settings; setting != NULL && *setting != NULL;
         setting++) {
        if (count + 3 > sizeof arguments / sizeof arguments[0]) {
            scenario_fail("more settings than SETTINGS_MAX");
        }
        arguments[count++] = "-c";
        arguments[count++] = *setting;
    }
    process_start(pg->process, arguments,
                  &(struct process_options){.unprivileged = true, .end_signal = SIGQUIT});
}

// False where it ended instead.
static bool await_ready(struct pg *pg)
{
    struct deadline deadline = deadline_in(DEADLINE_MS);
    while (PQping(pg->url) != PQPING_OK) {
        if (!process_is_running(pg->process)) {
            return false;
        }
        if (!deadline_again(&deadline)) {
            scenario_fail("PostgreSQL does not accept connections");
        }
    }
    return true;
}

struct pg *pg_start(struct scenario *scenario, const struct pg_options *options)
{
    const struct pg_options defaults = {0};
    options = options != NULL ? options : &defaults;
    const char *name = options->name != NULL ? options->name : "pg";
    struct pg *pg = scenario_alloc(scenario, sizeof *pg);
    *pg = (struct pg){.next = scenario->servers,
                      .scenario = scenario,
                      .process = process_create(scenario, name),
                      .directory = scenario_path(scenario, name),
                      .data = scenario_text(scenario, "%s/%s/data", scenario->directory, name),
                      .settings = options->settings,
                      .durable = options->durable,
                      .port = options->tcp ? pg_free_port() : SOCKET_PORT,
                      .tcp = options->tcp};
    pg->url = scenario_text(scenario, "postgresql://postgres@/postgres?host=%s&port=%d",
                            pg->directory, pg->port);
    scenario->servers = pg;
    make_directory(pg->directory);
    if (options->standby_of != NULL) {
        pg_copy_primary(pg, options->standby_of);
    } else {
        pg_data_make(scenario, pg->data);
    }
    pg_start_again(pg);
    return pg;
}

// A server does not start beside processes that one before it left.
void pg_start_again(struct pg *pg)
{
    struct deadline deadline = deadline_in(DEADLINE_MS);
    start_process(pg);
    while (!await_ready(pg)) {
        if (!pg->orphaned || !deadline_again(&deadline)) {
            scenario_fail("PostgreSQL ended while it started");
        }
        start_process(pg);
    }
    pg->orphaned = false;
}

static void disconnect(struct pg *pg)
{
    PQfinish(pg->conn);
    pg->conn = NULL;
}

static void release_held(struct pg *pg)
{
    for (size_t i = 0; i < PG_HELD_MAX; i++) {
        if (pg->held[i] != 0) {
            kill(pg->held[i], SIGCONT);
            pg->held[i] = 0;
        }
    }
}

void pg_stop(struct pg *pg, enum pg_stop how)
{
    disconnect(pg);
    release_held(pg);
    static const int SIGNALS[] = {
        [PG_STOP_FAST] = SIGINT, [PG_STOP_CRASH] = SIGQUIT, [PG_STOP_KILL] = SIGKILL};
    process_signal(pg->process, SIGNALS[how]);
    process_wait(pg->process);
    pg->orphaned = how == PG_STOP_KILL;
}

void pg_release_all(struct scenario *scenario)
{
    for (struct pg *pg = scenario->servers; pg != NULL; pg = pg->next) {
        disconnect(pg);
        release_held(pg);
    }
}

// What a killed server left may still write.
void pg_retire_all(struct scenario *scenario)
{
    for (struct pg *pg = scenario->servers; pg != NULL; pg = pg->next) {
        if (!pg->orphaned) {
            pg_data_retire(pg->data);
        }
    }
}

const char *pg_url(const struct pg *pg)
{
    return pg->url;
}

const char *pg_tcp_url(const struct pg *pg)
{
    if (!pg->tcp) {
        scenario_fail("this server was started without options.tcp");
    }
    return scenario_text(pg->scenario, "postgresql://postgres@127.0.0.1:%d/postgres", pg->port);
}

PGconn *pg_connect(const struct pg *pg)
{
    PGconn *conn = PQconnectdb(pg->url);
    if (PQstatus(conn) != CONNECTION_OK) {
        scenario_fail("cannot connect to the test's PostgreSQL: %s", PQerrorMessage(conn));
    }
    return conn;
}
