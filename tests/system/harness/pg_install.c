#include "system/harness/pg_install.h"

#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char bindir[SCENARIO_PATH_BYTES];

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
