// The pool is a directory with the result of initdb and with data directories that servers have
// done with, for each PostgreSQL:
//
//      TMPDIR/$PGNEAR_TEST_POOL-UID/lock                       held shared by each process
//                                   _usr_lib_..._15_bin/template
//                                                       spare-PID-N
//
// ctest names it, and removes it once nothing holds its lock (remove-pool). Without a name the pool
// is the process' own. A spare is taken and given back by a rename, so that one process alone has
// it, and is overwritten only where it differs from the template: a file system that has removed
// many files goes slow at making others.

#include "system/harness/pg_data.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "remove_tree.h"
#include "system/harness/pg_install.h"
#include "system/harness/process.h"

static char pool[SCENARIO_PATH_BYTES];          // "": not open yet
static char directory[SCENARIO_PATH_BYTES * 2]; // in the pool, of the PostgreSQL that is tested

static void remove_pool(void)
{
    remove_tree(pool);
}

static const char *parent(void)
{
    const char *parent = getenv("TMPDIR");
    return parent == NULL || parent[0] == '\0' ? "/tmp" : parent;
}

static void open_own_pool(void)
{
    snprintf(pool, sizeof pool, "%s/pgnear-pool-XXXXXX", parent());
    if (mkdtemp(pool) == NULL || chmod(pool, 0755) != 0) {
        scenario_fail("cannot make %s: %s", pool, strerror(errno));
    }
    atexit(remove_pool);
}

// Anybody may have made a directory of this name before.
static bool is_ours(void)
{
    struct stat status;
    return lstat(pool, &status) == 0 && S_ISDIR(status.st_mode) && status.st_uid == geteuid() &&
           (status.st_mode & (S_IWGRP | S_IWOTH)) == 0;
}

// The lock is held until the process ends. False where the pool was removed meanwhile.
static bool lock_pool(void)
{
    char path[SCENARIO_PATH_BYTES + 8];
    snprintf(path, sizeof path, "%s/lock", pool);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0) {
        return false;
    }
    struct stat held;
    struct stat found;
    if (flock(fd, LOCK_SH) != 0 || fstat(fd, &held) != 0) {
        scenario_fail("cannot lock %s: %s", path, strerror(errno));
    }
    if (stat(path, &found) != 0 || found.st_ino != held.st_ino) {
        close(fd);
        return false;
    }
    return true;
}

static void open_pool(void)
{
    const char *name = getenv("PGNEAR_TEST_POOL");
    if (name == NULL || name[0] == '\0') {
        open_own_pool();
        return;
    }
    snprintf(pool, sizeof pool, "%s/%s-%u", parent(), name, (unsigned)geteuid());
    do {
        if ((mkdir(pool, 0755) != 0 && errno != EEXIST) || !is_ours()) {
            scenario_fail("cannot use %s, which must be a directory of ours", pool);
        }
    } while (!lock_pool());
}

// The directory of the PostgreSQL whose programs lie in pg_program(""), made where it is missing.
static void open_directory(struct scenario *scenario)
{
    char *name = (char *)(uintptr_t)pg_program(scenario, "");
    for (char *slash = name; (slash = strchr(slash, '/')) != NULL;) {
        *slash = '_';
    }
    snprintf(directory, sizeof directory, "%s/%s", pool, name);
    uid_t uid;
    gid_t gid;
    process_user(&uid, &gid);
    if ((mkdir(directory, 0755) != 0 && errno != EEXIST) || chown(directory, uid, gid) != 0) {
        scenario_fail("cannot make %s: %s", directory, strerror(errno));
    }
}

static void run(struct scenario *scenario, const char *const *arguments)
{
    process_run(scenario, arguments, &(struct process_options){.unprivileged = true});
}

// One process makes it, and those that come meanwhile wait for it. It has its name once it is
// complete.
static const char *provide_template(struct scenario *scenario)
{
    const char *path = scenario_text(scenario, "%s/template", directory);
    const char *partial = scenario_text(scenario, "%s.partial", path);
    int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || flock(fd, LOCK_EX) != 0) {
        scenario_fail("cannot lock %s: %s", directory, strerror(errno));
    }
    if (access(path, F_OK) != 0) {
        remove_tree(partial);
        run(scenario, (const char *const[]){pg_program(scenario, "initdb"), "--username=postgres",
                                            "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8",
                                            "--wal-segsize=4", "--no-sync",
                                            scenario_text(scenario, "--pgdata=%s", partial), NULL});
        if (rename(partial, path) != 0) {
            scenario_fail("cannot rename %s: %s", partial, strerror(errno));
        }
    }
    close(fd);
    return path;
}

static bool take_spare(struct scenario *scenario, const char *data)
{
    DIR *entries = opendir(directory);
    if (entries == NULL) {
        scenario_fail("cannot read %s: %s", directory, strerror(errno));
    }
    bool taken = false;
    for (struct dirent *entry; !taken && (entry = readdir(entries)) != NULL;) {
        if (strncmp(entry->d_name, "spare-", strlen("spare-")) == 0) {
            taken = rename(scenario_text(scenario, "%s/%s", directory, entry->d_name), data) == 0;
        }
    }
    closedir(entries);
    return taken;
}

void pg_data_make(struct scenario *scenario, const char *data)
{
    if (pool[0] == '\0') {
        open_pool();
        open_directory(scenario);
    }
    const char *template = provide_template(scenario);
    if (!take_spare(scenario, data)) {
        run(scenario, (const char *const[]){"cp", "-a", template, data, NULL});
        return;
    }
    // What a server has written bears a later time than initdb's.
    run(scenario,
        (const char *const[]){"rsync", "--archive", "--delete", "--whole-file", "--inplace",
                              "--modify-window=-1", scenario_text(scenario, "%s/", template),
                              scenario_text(scenario, "%s/", data), NULL});
}

void pg_data_retire(const char *data)
{
    static int retired;
    char spare[sizeof directory + 32];
    snprintf(spare, sizeof spare, "%s/spare-%d-%d", directory, (int)getpid(), retired++);
    rename(data, spare); // where that fails, the scenario removes it
}
