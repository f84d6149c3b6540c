// libpgnear for system tests.
#include "system/harness/direct.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/mpack.h"
#include "system/harness/deadline.h"
#include "system/harness/steps.h"

pgnear *direct_open(const struct node *node)
{
    pgnear *handle = NULL;
    pgnear_error error;
    if (pgnear_open(node->socket_path, NULL, &handle, &error) != PGNEAR_OK) {
        scenario_fail("%s", error.message);
    }
    return handle;
}

void direct_must(pgnear_code code, const pgnear_error *error)
{
    if (code != PGNEAR_OK) {
        scenario_fail("%s: %s", error->name, error->message);
    }
}

void direct_set_int(pgnear *handle, const char *key, int64_t value, pgnear_ack ack)
{
    struct buffer packed = {0};
    msgpack_packer packer;
    mpack_packer_init(&packer, &packed);
    msgpack_pack_int64(&packer, value);
    struct slice bytes = buffer_slice(&packed);
    pgnear_write_options options = PGNEAR_WRITE_OPTIONS_INIT;
    options.ack = ack;
    pgnear_error error;
    pgnear_code code = pgnear_set(handle, pgnear_text(key), (pgnear_bytes){bytes.at, bytes.len},
                                  &options, NULL, &error);
    buffer_deinit(&packed);
    direct_must(code, &error);
}

int64_t direct_int(const pgnear_item *item)
{
    if (!item->present) {
        return -1;
    }
    struct mpack_cursor cursor = mpack_cursor_of(slice_of(item->value.at, item->value.len));
    int64_t value;
    if (!mpack_read_int(&cursor, &value)) {
        scenario_fail("the value is not an integer");
    }
    return value;
}

int64_t direct_get_int(pgnear *handle, const char *key)
{
    pgnear_item item;
    pgnear_error error;
    direct_must(pgnear_get(handle, pgnear_text(key), NULL, &item, &error), &error);
    return direct_int(&item);
}

bool direct_is_hit(struct node *node, pgnear *handle, const char *key)
{
    int64_t before = node_stat_int(node, "server.requests");
    pgnear_item item;
    pgnear_error error;
    direct_must(pgnear_get(handle, pgnear_text(key), NULL, &item, &error), &error);
    // The second stats is the only request since.
    return node_stat_int(node, "server.requests") == before + 1;
}

void direct_assert_hit(struct node *node, pgnear *handle, const char *key)
{
    struct deadline deadline = deadline_in(DEADLINE_MS);
    while (!direct_is_hit(node, handle, key)) {
        if (!deadline_again(&deadline)) {
            scenario_fail("\"%s\" is not read directly", key);
        }
    }
}

void direct_await_hit(struct node *node, const char *key)
{
    pgnear *handle = direct_open(node);
    direct_assert_hit(node, handle, key);
    pgnear_close(handle);
}

#define ALLOW(call)                                                                                \
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (call), 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)

void direct_forbid_system_calls(void)
{
    struct sock_filter rules[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        ALLOW(SYS_exit_group),
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
        // Their allocators', which ask the kernel for memory where others have it already.
        ALLOW(SYS_mmap),
        ALLOW(SYS_munmap),
        ALLOW(SYS_madvise),
#endif
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
    };
    const struct sock_fprog program = {.len = sizeof rules / sizeof rules[0], .filter = rules};
    assert_int_equal(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
    assert_int_equal(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0);
}

struct node *direct_start(struct scenario *scenario)
{
    struct node *node = node_start(scenario, pg_start(scenario, NULL), NULL);
    assert_rpc(node, "set", "[\"present\", {\"a\": [1, \"two\"]}, {\"ack\": \"postgres\"}]",
               "{\"seq\": \"*\", \"version\": \"*\"}");
    assert_rpc(node, "get", "[\"absent\"]", "null");
    direct_await_hit(node, "present");
    direct_await_hit(node, "absent");
    return node;
}

pgnear *direct_open_socket_only(const struct node *node)
{
    pgnear_options options = PGNEAR_OPTIONS_INIT;
    options.socket_only = true;
    pgnear *handle;
    pgnear_error error;
    direct_must(pgnear_open(node->socket_path, &options, &handle, &error), &error);
    return handle;
}

void direct_await_child(pid_t child)
{
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}
