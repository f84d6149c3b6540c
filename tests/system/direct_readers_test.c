// The processes and threads that read directly: a child, many threads, one that stands still or
// holds pages, one without rights.

#include <pgnear.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "system/harness/direct.h"

static void a_child_must_open_its_own(struct scenario *scenario)
{
    struct node *node = node_start(scenario, pg_start(scenario, NULL), NULL);
    pgnear *handle = direct_open(node);
    direct_set_int(handle, "k", 1, PGNEAR_ACK_POSTGRES);
    direct_await_hit(node, "k");
    assert_int_equal(direct_get_int(handle, "k"), 1);
    pid_t child = fork();
    if (child == 0) {
        pgnear_item item;
        bool good = pgnear_get(handle, pgnear_text("k"), NULL, &item, NULL) == PGNEAR_FORKED;
        pgnear *own = direct_open(node);
        good = good && direct_get_int(own, "k") == 1;
        good = good && pgnear_get(handle, pgnear_text("k"), NULL, &item, NULL) == PGNEAR_FORKED;
        pgnear_close(handle);
        pgnear_close(own);
        _exit(good ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    direct_assert_hit(node, handle, "k");
    pgnear_close(handle);
}

// A child that borrows "lent", says so, and stands still until it is continued; then it must find
// what it borrowed as it was, and everything else as it is now.
static _Noreturn void borrow(const struct node *node, int said)
{
    pgnear *handle = direct_open(node);
    pgnear_item lent;
    bool good = direct_get_int(handle, "lent") == 5 &&
                pgnear_lend(handle, pgnear_text("lent"), NULL, &lent, NULL) == PGNEAR_OK;
    good = write(said, "!", 1) == 1 && good;
    raise(SIGSTOP);
    good = good && direct_int(&lent) == 5;
    pgnear_release(handle);
    good = good && direct_get_int(handle, "lent") == 6;
    pgnear_close(handle);
    _exit(good ? 0 : 1);
}

static pid_t start_borrower(const struct node *node)
{
    int said[2];
    assert_int_equal(pipe(said), 0);
    pid_t child = fork();
    if (child == 0) {
        borrow(node, said[1]);
    }
    char byte;
    assert_int_equal(read(said[0], &byte, 1), 1);
    close(said[0]);
    close(said[1]);
    int status;
    assert_int_equal(waitpid(child, &status, WUNTRACED), child);
    assert_true(WIFSTOPPED(status));
    return child;
}

// Writes many times what the cache holds.
static void write_much(pgnear *handle, int count)
{
    enum { BYTES = 60000 };
    uint8_t *value = calloc(1, BYTES + 3);
    value[0] = 0xda;
    value[1] = BYTES >> 8;
    value[2] = BYTES & 0xff;
    for (int i = 0; i < count; i++) {
        char name[32];
        snprintf(name, sizeof name, "filler:%d", i);
        memset(value + 3, 'a' + i % 26, BYTES);
        pgnear_code code;
        do {
            code = pgnear_set(handle, pgnear_text(name), (pgnear_bytes){value, BYTES + 3}, NULL,
                              NULL, NULL);
        } while (code == PGNEAR_OVERLOADED);
        if (code != PGNEAR_OK) {
            scenario_fail("set %d of much: code %d", i, (int)code);
        }
    }
    free(value);
}

static struct node *start_small_node(struct scenario *scenario)
{
    return node_start(scenario, pg_start(scenario, NULL),
                      &(struct node_options){
                          .config = "cache.size = \"16MiB\"\nwrites.outbox_size = \"8MiB\"\n"});
}

static void a_reader_that_stands_still_is_left_behind(struct scenario *scenario)
{
    struct node *node = start_small_node(scenario);
    pgnear *handle = direct_open(node);
    direct_set_int(handle, "lent", 5, PGNEAR_ACK_POSTGRES);
    direct_await_hit(node, "lent");
    pid_t child = start_borrower(node);
    direct_set_int(handle, "lent", 6, PGNEAR_ACK_POSTGRES);
    write_much(handle, 1200);
    node_await_log(
        node, scenario_text(scenario, "left behind in the old cache files\" pid=%d", (int)child));
    direct_set_int(handle, "after", 1, PGNEAR_ACK_MEMORY);
    assert_int_equal(direct_get_int(handle, "after"), 1);
    direct_await_hit(node, "after");
    direct_assert_hit(node, handle, "after");
    kill(child, SIGCONT);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    node_kill(node);
    node_start_again(node);
    assert_int_equal(direct_get_int(handle, "after"), 1);
    pgnear_close(handle);
}

static void a_reader_that_holds_pages_is_named(struct scenario *scenario)
{
    struct node *node = node_start(scenario, pg_start(scenario, NULL), NULL);
    pgnear *handle = direct_open(node);
    direct_set_int(handle, "lent", 5, PGNEAR_ACK_POSTGRES);
    direct_await_hit(node, "lent");
    pid_t child = start_borrower(node);
    direct_set_int(handle, "lent", 6, PGNEAR_ACK_POSTGRES);
    node_await_log(node,
                   scenario_text(scenario, "reader holds the cache's pages\" pid=%d", (int)child));
    kill(child, SIGKILL);
    assert_int_equal(waitpid(child, NULL, 0), child);
    node_await_log(node,
                   scenario_text(scenario, "dead reader's slots taken back\" pid=%d", (int)child));
    pgnear_close(handle);
}

static void read_in_thread(void *context, int index)
{
    const struct node *node = context;
    char key[16];
    snprintf(key, sizeof key, "t%d", index);
    for (int round = 0; round < 20; round++) {
        pgnear *handle = direct_open(node);
        for (int i = 0; i < 50; i++) {
            direct_set_int(handle, key, i, PGNEAR_ACK_MEMORY);
            assert_int_equal(direct_get_int(handle, key), i);
        }
        pgnear_close(handle);
    }
}

static void threads_open_a_handle_each(struct scenario *scenario)
{
    struct node *node = node_start(scenario, pg_start(scenario, NULL), NULL);
    workers_run(scenario, 8, read_in_thread, node);
}

static void without_rights_the_socket_answers(struct scenario *scenario)
{
    if (geteuid() != 0) {
        return; // whoever runs the test has the rights
    }
    struct node *node =
        node_start(scenario, pg_start(scenario, NULL),
                   &(struct node_options){.config = "server.socket_mode = \"0666\"\n"});
    assert_rpc(node, "set", "[\"k\", 1, {\"ack\": \"postgres\"}]",
               "{\"seq\": \"*\", \"version\": \"*\"}");
    chmod(scenario->directory, 0755);
    pid_t child = fork();
    if (child == 0) {
        uid_t uid;
        gid_t gid;
        process_user(&uid, &gid);
        bool good = setgid(gid) == 0 && setuid(uid) == 0;
        pgnear *handle = direct_open(node);
        good = good && direct_get_int(handle, "k") == 1;
        pgnear_close(handle);
        _exit(good ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCENARIO(a_child_must_open_its_own),
        SCENARIO(a_reader_that_stands_still_is_left_behind),
        SCENARIO(a_reader_that_holds_pages_is_named),
        SCENARIO(threads_open_a_handle_each),
        SCENARIO(without_rights_the_socket_answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
