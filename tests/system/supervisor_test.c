// What systemd hears of the daemon, on a socket of the test's own: READY=1 once clients are served,
// WATCHDOG=1 while they are, STOPPING=1.

#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "system/harness/deadline.h"
#include "system/harness/node.h"

static int listen_as_systemd(struct scenario *scenario, const char **path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    *path = scenario_path(scenario, "notify");
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    strncpy(address.sun_path, *path, sizeof address.sun_path - 1);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

// Waits for a message with that line in it.
static void await_notice(int fd, const char *line)
{
    struct deadline deadline = deadline_in(DEADLINE_MS);
    char text[512];
    do {
        struct pollfd entry = {.fd = fd, .events = POLLIN};
        if (poll(&entry, 1, 100) == 1) {
            ssize_t len = recv(fd, text, sizeof text - 1, 0);
            text[len > 0 ? len : 0] = '\0';
            if (strstr(text, line) != NULL) {
                return;
            }
        }
    } while (deadline_again(&deadline));
    scenario_fail("%s is not said", line);
}

static void readiness_watchdog_and_stop_are_told(struct scenario *scenario)
{
#ifdef PGNEAR_SYSTEMD
    const char *path;
    int fd = listen_as_systemd(scenario, &path);
    const char *const environment[] = {scenario_text(scenario, "NOTIFY_SOCKET=%s", path),
                                       "WATCHDOG_USEC=200000", NULL};
    struct node *node = node_create(scenario, pg_start(scenario, NULL),
                                    &(struct node_options){.environment = environment});
    node_spawn(node);
    await_notice(fd, "READY=1");
    assert_rpc(node, "ping", "[]", "\"pong\"");
    await_notice(fd, "WATCHDOG=1");
    await_notice(fd, "WATCHDOG=1");
    // A daemon that lets nobody in is alive as well.
    node_configure(node, NULL,
                   &(struct node_options){.environment = environment,
                                          .config = "postgres.host = \"nowhere\"\n"
                                                    "server.allow_uids = [4294967294]\n"});
    process_signal(node->process, SIGHUP);
    node_await_log(node, "configuration re-read");
    char drained[512];
    while (recv(fd, drained, sizeof drained, MSG_DONTWAIT) > 0) {
    }
    await_notice(fd, "WATCHDOG=1");
    process_signal(node->process, SIGTERM);
    await_notice(fd, "STOPPING=1");
    assert_int_equal(process_wait(node->process), 0);
    close(fd);
#else
    (void)scenario;
    (void)listen_as_systemd;
    (void)await_notice;
    skip();
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {SCENARIO(readiness_watchdog_and_stop_are_told)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
