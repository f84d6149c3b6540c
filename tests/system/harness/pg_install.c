// initdb takes about a second, a copy of its result a tenth of that.

#include "system/harness/pg_install.h"

#include <errno.h>
#include <ftw.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "system/harness/process.h"

enum { FILES_OPEN_MAX = 16 };

static char bindir[SCENARIO_PATH_BYTES];
static char template_directory[SCENARIO_PATH_BYTES]; // "": not made yet

static bool has_server(const char *directory)
{
    char path[SCENARIO_PATH_BYTES + 16];
    snprintf(path, sizeof path, "%s/postgres", directory);
    return access(path, X_OK) == 0;
}

// What pg_config says, where the server is installed beside it.
static bool ask_pg_config(void)
{
    FILE *pipe = popen("pg_config --bindir 2>/dev/null", "re"); // NOLINT(cert-env33-c)
    if (pipe == NULL) {
        return false;
    }
    bool found = fgets(bindir, sizeof bindir, pipe) != NULL;
    pclose(pipe);
    bindir[strcspn(bindir, "\n")] = '\0';
    return found && has_server(bindir);
}

static bool look_in_debian_places(void)
{
    glob_t places;
    if (glob("/usr/lib/postgresql/*/bin/postgres", 0, NULL, &places) != 0) {
        return false;
    }
    const char *newest = places.gl_pathv[0];
    for (size_t i = 1; i < places.gl_pathc; i++) {
        newest = strverscmp(places.gl_pathv[i], newest) > 0 ? places.gl_pathv[i] : newest;
    }
    snprintf(bindir, sizeof bindir, "%.*s", (int)(strrchr(newest, '/') - newest), newest);
    globfree(&places);
    return true;
}

static void find_bindir(void)
{
    const char *chosen = getenv("PGNEAR_TEST_PG_BINDIR");
    if (chosen != NULL && chosen[0] != '\0') {
        snprintf(bindir, sizeof bindir, "%s", chosen);
        if (!has_server(bindir)) {
            scenario_fail("PGNEAR_TEST_PG_BINDIR is %s, which has no postgres", bindir);
        }
        return;
    }
    if (!ask_pg_config() && !look_in_debian_places()) {
        scenario_fail("there is no PostgreSQL server on this machine");
    }
}

const char *pg_program(struct scenario *scenario, const char *name)
{
    if (bindir[0] == '\0') {
        find_bindir();
    }
    return scenario_text(scenario, "%s/%s", bindir, name);
}

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *place)
{
    (void)status;
    (void)type;
    (void)place;
    return remove(path);
}

static void remove_template(void)
{
    nftw(template_directory, remove_entry, FILES_OPEN_MAX, FTW_DEPTH | FTW_PHYS);
}

static void give_to_server_user(const char *directory)
{
    uid_t uid;
    gid_t gid;
    process_user(&uid, &gid);
    if (chown(directory, uid, gid) != 0) {
        scenario_fail("cannot give %s to PostgreSQL's user: %s", directory, strerror(errno));
    }
}

static void make_template(struct scenario *scenario)
{
    const char *parent = getenv("TMPDIR");
    snprintf(template_directory, sizeof template_directory, "%s/pgnear-initdb-XXXXXX",
             parent == NULL || parent[0] == '\0' ? "/tmp" : parent);
    if (mkdtemp(template_directory) == NULL) {
        scenario_fail("cannot make %s: %s", template_directory, strerror(errno));
    }
    atexit(remove_template);
    give_to_server_user(template_directory);
    const char *arguments[] = {pg_program(scenario, "initdb"),
                               "--username=postgres",
                               "--auth=trust",
                               "--encoding=UTF8",
                               "--locale=C.UTF-8",
                               "--wal-segsize=4",
                               "--no-sync",
                               scenario_text(scenario, "--pgdata=%s/data", template_directory),
                               NULL};
    process_run(scenario, arguments, &(struct process_options){.unprivileged = true});
}

void pg_make_data(struct scenario *scenario, const char *data)
{
    if (template_directory[0] == '\0') {
        make_template(scenario);
    }
    const char *arguments[] = {"cp", "-a", scenario_text(scenario, "%s/data", template_directory),
                               data, NULL};
    process_run(scenario, arguments, &(struct process_options){.unprivileged = true});
}
