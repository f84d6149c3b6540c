// Any bytes as a configuration file, by the very function that the daemon calls: it is taken or
// refused with a line and a reason, nothing leaks, and what is taken is within its bounds.
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/check.h"
#include "base/words.h"
#include "config/config.h"
#include "pg/conn_params.h"
#include "pg/table_name.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static enum error table_name_is_valid(const char *text, struct failure *failure)
{
    struct table_name name;
    return table_name_parse(text, &name, failure);
}

static const struct config_checks CHECKS = {.table = table_name_is_valid,
                                            .conninfo = conn_params_check};

static void check_settings(const struct settings *settings)
{
    CHECK(settings->server.threads >= 1 && settings->server.socket[0] == '/');
    CHECK(settings->server.allow_uids_count <= ALLOW_UIDS_MAX);
    CHECK(settings->cache.size_bytes > settings->writes.outbox_bytes);
    CHECK(settings->cache.dir[0] == '/' && settings->writes.dir[0] == '/');
    CHECK(settings->postgres.connections >= 1 && settings->postgres.conninfo != NULL);
    CHECK(settings->writes.timeout_us > 0 && settings->expiry.jitter_percent <= 100);
}

// The file in memory that every run writes anew.
static int open_file(char path[64])
{
    int fd = memfd_create("config", MFD_CLOEXEC);
    CHECK(fd >= 0);
    snprintf(path, 64, "/proc/self/fd/%d", fd);
    unsetenv("DATABASE_URL"); // NOLINT(concurrency-mt-unsafe): there is one thread
    return fd;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    static char path[64];
    static int fd = -1;
    struct settings settings;
    struct failure failure = {0};
    if (fd < 0) {
        fd = open_file(path);
    }
    CHECK(ftruncate(fd, 0) == 0 && pwrite(fd, bytes, len, 0) == (ssize_t)len);
    enum error error = config_load(path, &CHECKS, &settings, &failure);
    if (error == ERROR_NONE) {
        check_settings(&settings);
        config_deinit(&settings);
    } else {
        CHECK(error == ERROR_CONFIG && failure.message[0] != '\0');
        CHECK(is_text(slice_of_string(failure.message)));
    }
    return 0;
}
