// The stream is cut by the standby's own settings rather than by stopping a process: a stopped
// receiver would keep bytes in its socket, and would hold up the promotion.

#include "system/harness/replication.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/shm.h>
#include <unistd.h>

#include "system/harness/deadline.h"
#include "system/harness/pg_install.h"

enum { BACKENDS_MAX = 128, PID_FILE_SHARED_MEMORY_LINE = 7 };

static void append_to(const struct pg *pg, const char *name, const char *text)
{
    const char *path = scenario_text(pg->scenario, "%s/%s", pg->data, name);
    uid_t uid;
    gid_t gid;
    process_user(&uid, &gid);
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    bool written = fd >= 0 && fchown(fd, uid, gid) == 0 &&
                   write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    if (fd < 0 || close(fd) != 0 || !written) {
        scenario_fail("cannot write %s: %s", path, strerror(errno));
    }
}

static void let_follow(const struct pg *pg, const struct pg *primary)
{
    append_to(pg, "standby.signal", "");
    append_to(pg, "postgresql.auto.conf",
              scenario_text(pg->scenario, "primary_conninfo = 'host=%s port=%d user=postgres'\n",
                            primary->directory, primary->port));
}

// By the functions that pg_basebackup is made of, which not every package of a server has. Its own
// write-ahead log is copied too, since what the copy needs of it may be on the disk alone. Files
// may come and go meanwhile, which is tar's status 1.
void pg_copy_primary(struct pg *standby, struct pg *primary)
{
    static const char COPY[] =
        "mkdir -m 0700 \"$2\" &&"
        " { tar -C \"$1\" --exclude=./postmaster.pid --exclude='./pg_stat_tmp/*'"
        " --exclude='./pg_replslot/*' -cf - . || test $? -eq 1; } | tar -C \"$2\" -xf -";
    const char *arguments[] = {"/bin/sh", "-c", COPY, "copy", primary->data, standby->data, NULL};
    bool is_renamed =
        pg_int(primary, "SELECT current_setting('server_version_num')::int") >= 150000;
    pg_exec(primary, is_renamed ? "SELECT pg_backup_start('copy', true)"
                                : "SELECT pg_start_backup('copy', true, false)");
    process_run(standby->scenario, arguments, &(struct process_options){.unprivileged = true});
    append_to(standby, "backup_label",
              pg_value(primary, is_renamed ? "SELECT labelfile FROM pg_backup_stop(false)"
                                           : "SELECT labelfile FROM pg_stop_backup(false, false)"));
    let_follow(standby, primary);
}

void pg_await_shipped(struct pg *primary, struct pg *standby)
{
    const char *lsn = pg_value(primary, "SELECT pg_current_wal_insert_lsn()");
    pg_await_value(standby, "t", "SELECT pg_last_wal_replay_lsn() >= '%s'", lsn);
}

void pg_cut_stream(struct pg *standby)
{
    pg_exec(standby, "ALTER SYSTEM SET primary_conninfo = ''");
    if (pg_int(standby, "SELECT current_setting('server_version_num')::int") >= 130000) {
        pg_exec(standby, "SELECT pg_reload_conf()");
    } else {
        // It is read at the start only.
        pg_stop(standby, PG_STOP_FAST);
        pg_start_again(standby);
    }
    pg_await_value(standby, "0", "SELECT count(*) FROM pg_stat_wal_receiver");
    pg_await_value(standby, "t",
                   "SELECT pg_last_wal_replay_lsn() >="
                   " coalesce(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())");
}

void pg_promote(struct pg *standby)
{
    if (strcmp(pg_value(standby, "SELECT pg_promote(true, %d)", DEADLINE_MS / 1000), "t") != 0) {
        scenario_fail("%s is not promoted", standby->process->name);
    }
}

// A server that ends in order removes its segment of System V shared memory itself.
static void remove_shared_memory(const struct pg *pg)
{
    char path[SCENARIO_PATH_BYTES + 32];
    snprintf(path, sizeof path, "%s/postmaster.pid", pg->data);
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        scenario_fail("cannot read %s: %s", path, strerror(errno));
    }
    char line[128] = "";
    for (int i = 0; i < PID_FILE_SHARED_MEMORY_LINE; i++) {
        if (fgets(line, sizeof line, file) == NULL) {
            scenario_fail("%s has no line %d", path, i + 1);
        }
    }
    fclose(file);
    char *rest = NULL;
    strtoul(line, &rest, 10); // the key
    shmctl((int)strtol(rest, NULL, 10), IPC_RMID, NULL);
}

void pg_kill(struct pg *pg)
{
    char *pids = strdup(pg_value(pg, "SELECT string_agg(pid::text, ' ') FROM pg_stat_activity"));
    process_signal(pg->process, SIGKILL);
    // Not all at once: the postmaster is no more, so none of them is started again.
    char *rest = NULL;
    for (char *word = strtok_r(pids, " ", &rest); word != NULL; word = strtok_r(NULL, " ", &rest)) {
        kill((pid_t)strtol(word, NULL, 10), SIGKILL);
    }
    free(pids);
    process_wait(pg->process);
    PQfinish(pg->conn);
    pg->conn = NULL;
    remove_shared_memory(pg);
}

void pg_follow(struct pg *pg, struct pg *primary)
{
    let_follow(pg, primary);
    pg_start_again(pg);
}

const char *pg_pair_url(const char *directory, const struct pg *other)
{
    return scenario_text(other->scenario,
                         "postgresql://postgres@/postgres?host=%s,%s&port=%d"
                         "&target_session_attrs=read-write",
                         directory, other->directory, other->port);
}
