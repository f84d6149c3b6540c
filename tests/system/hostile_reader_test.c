// A process of the group that may read the cache turns hostile: what its rights let it do, and that
// it ends with the removal of the cache, and costs no acknowledged write (docs/operations.md, "What
// a hostile process of that group can do").

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "system/harness/direct.h"
#include "system/harness/process.h"

enum { WRITES_BEFORE = 20, WRITES_AFTER = 20, PATIENCE_MS = 200 };

static const char *const WRITABLE[] = {"cache.mdb-lock", "sketch", "tally"};
static const char *const READABLE[] = {"cache.mdb", "control", "tier", "memtable"};

// ---- what it does, in a child

static bool fill(const char *path, int byte)
{
    static uint8_t bytes[4096];
    struct stat status;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &status) != 0) {
        return false;
    }
    memset(bytes, byte, sizeof bytes);
    bool good = true;
    for (off_t at = 0; at < status.st_size && good; at += (off_t)sizeof bytes) {
        off_t rest = status.st_size - at;
        size_t len = rest < (off_t)sizeof bytes ? (size_t)rest : sizeof bytes;
        good = pwrite(fd, bytes, len, at) == (ssize_t)len;
    }
    close(fd);
    return good;
}

static bool cut(const char *path, int bytes)
{
    return truncate(path, bytes) == 0;
}

static const struct {
    const char *file;
    bool (*act)(const char *path, int argument);
    int argument;
} ATTACKS[] = {
    {"sketch", cut, 0},          {"sketch", fill, 0xff},         {"tally", cut, 0},
    {"tally", fill, 0x7f},       {"cache.mdb-lock", cut, 0},     {"cache.mdb-lock", fill, 0},
    {"cache.mdb-lock", fill, 1}, {"cache.mdb-lock", fill, 0xff},
};

enum { ATTACKS_COUNT = sizeof ATTACKS / sizeof ATTACKS[0] };

// Another user of the files' group, where the test may become one.
static bool become_one_of_the_group(const struct node *node)
{
    struct stat status;
    uid_t uid;
    gid_t gid;
    if (geteuid() != 0) {
        return true;
    }
    process_user(&uid, &gid);
    return stat(node->cache_dir, &status) == 0 && setgroups(0, NULL) == 0 &&
           setgid(status.st_gid) == 0 && setuid(uid) == 0;
}

// True where the child did what it was to do.
static bool in_child(const struct node *node, bool (*act)(const struct node *node, size_t number),
                     size_t number)
{
    pid_t child = fork();
    if (child == 0) {
        _exit(become_one_of_the_group(node) && act(node, number) ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static bool attack(const struct node *node, size_t number)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", node->cache_dir, ATTACKS[number].file);
    return ATTACKS[number].act(path, ATTACKS[number].argument);
}

static bool can_open(const char *directory, const char *file, int flags)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", directory, file);
    int fd = open(path, flags | O_CLOEXEC, 0600);
    if (fd >= 0) {
        close(fd);
    }
    print_message("%s: %s\n", file, fd >= 0 ? "opened" : strerror(errno));
    return fd >= 0;
}

static bool has_its_rights_only(const struct node *node, size_t number)
{
    (void)number;
    bool good = !can_open(node->outbox_dir, "outbox.mdb", O_RDWR) &&
                !can_open(node->cache_dir, "new", O_RDWR | O_CREAT);
    for (size_t i = 0; i < sizeof READABLE / sizeof READABLE[0]; i++) {
        good = good && can_open(node->cache_dir, READABLE[i], O_RDONLY) &&
               !can_open(node->cache_dir, READABLE[i], O_RDWR);
    }
    for (size_t i = 0; i < sizeof WRITABLE / sizeof WRITABLE[0]; i++) {
        good = good && can_open(node->cache_dir, WRITABLE[i], O_RDWR);
    }
    return good;
}

// ---- what becomes of the node

struct written {
    bool acked[WRITES_BEFORE + WRITES_AFTER];
    size_t count;
};

// The daemon may be gone, or stand: whatever it does not acknowledge counts for nothing.
static void write_some(pgnear *handle, size_t number, size_t count, struct written *written)
{
    for (size_t i = 0; i < count; i++, written->count++) {
        char key[32];
        const uint8_t value[] = {(uint8_t)written->count};
        snprintf(key, sizeof key, "%zu-%zu", number, written->count);
        pgnear_write_options options = PGNEAR_WRITE_OPTIONS_INIT;
        options.timeout_ms = PATIENCE_MS;
        written->acked[written->count] =
            pgnear_set(handle, pgnear_text(key), (pgnear_bytes){value, sizeof value}, &options,
                       NULL, NULL) == PGNEAR_OK;
    }
}

static void expect_written(struct pg *pg, size_t number, const struct written *written)
{
    for (size_t i = 0; i < written->count; i++) {
        if (written->acked[i]) {
            assert_pg_value(pg, "1", "SELECT count(*) FROM kv_store WHERE key = '%zu-%zu'", number,
                            i);
        }
    }
    assert_pg_value(pg, "0",
                    "SELECT count(*) FROM kv_store WHERE value::text <> split_part(key, '-', 2)");
}

// As its operator does.
static void let_the_group_in(const struct node *node)
{
    assert_int_equal(chmod(node->cache_dir, 0750), 0);
}

static void make_anew(struct scenario *scenario, struct node *node)
{
    // It may have made the daemon end.
    if (process_is_running(node->process)) {
        node_kill(node);
    } else {
        node_await_exit(node);
    }
    process_run(scenario, (const char *const[]){"rm", "-rf", node->cache_dir, NULL}, NULL);
    node_start_again(node);
    let_the_group_in(node);
}

static void no_acknowledged_write_is_lost(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct node *node = node_start(scenario, pg, NULL);
    assert_int_equal(chmod(scenario->directory, 0755), 0);
    let_the_group_in(node);
    assert_true(geteuid() != 0 || in_child(node, has_its_rights_only, 0));
    for (size_t i = 0; i < ATTACKS_COUNT; i++) {
        struct written written = {.count = 0};
        pgnear *handle = direct_open(node);
        write_some(handle, i, WRITES_BEFORE, &written);
        assert_true(written.acked[0]);
        assert_true(in_child(node, attack, i));
        write_some(handle, i, WRITES_AFTER, &written);
        pgnear_close(handle);
        print_message("%s %zu: %s\n", ATTACKS[i].file, i,
                      process_is_running(node->process) ? "runs" : "has ended");
        make_anew(scenario, node);
        assert_rpc(node, "flush", "[]", "{\"seq\": \"*\"}");
        expect_written(pg, i, &written);
        // All of it is over.
        assert_rpc(node, "get", "[\"0-0\"]", "[0, \"*\"]");
        direct_await_hit(node, "0-0");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCENARIO(no_acknowledged_write_is_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
