#include "cli/copying.h"

#include <time.h>

#include "base/slice.h"
#include "cli/stats_map.h"

enum { TIMEOUT_MS = 2000, LOOK_EVERY_NS = 200 * 1000 * 1000 };

// How many rows it will be; 0 where that is not to be known.
static int64_t rows_of(pgnear *node, const char *backup)
{
    const pgnear_backup_item *backups;
    size_t count;
    pgnear_error error;
    if (pgnear_backups(node, NULL, &backups, &count, &error) != PGNEAR_OK) {
        return 0;
    }
    for (size_t i = 0; i < count; i++) {
        struct slice name = slice_of(backups[i].table.at, backups[i].table.len);
        if (slice_equal(name, slice_of_string(backup))) {
            return (int64_t)backups[i].rows;
        }
    }
    return 0;
}

static void show(struct copying *copying, struct slice stats)
{
    double total, rows, jobs;
    if (copying->backup == NULL && stats_map_number(stats, "count", &total)) {
        copying->progress.total = (int64_t)total;
    }
    if (stats_map_number(stats, "postgres.backup_jobs", &jobs) && jobs > 0 &&
        stats_map_number(stats, "postgres.backup_rows", &rows)) {
        progress_show(&copying->progress, 0, (int64_t)rows);
    }
}

// A node that does not answer here is complained of by the command itself.
static void *watch(void *context)
{
    struct copying *copying = context;
    pgnear_options options = PGNEAR_OPTIONS_INIT;
    options.client_name = "pgnear progress";
    options.timeout_ms = TIMEOUT_MS;
    pgnear *node;
    pgnear_error error;
    if (pgnear_open(copying->socket_path, &options, &node, &error) != PGNEAR_OK) {
        return NULL;
    }
    if (copying->backup != NULL) {
        copying->progress.total = rows_of(node, copying->backup);
    }
    pgnear_bytes answer;
    while (!atomic_load(&copying->is_over)) {
        if (pgnear_stats(node, NULL, &answer, &error) == PGNEAR_OK) {
            show(copying, slice_of(answer.at, answer.len));
        }
        nanosleep(&(struct timespec){.tv_nsec = LOOK_EVERY_NS}, NULL);
    }
    pgnear_close(node);
    return NULL;
}

void copying_begin(struct copying *copying, const struct invocation *invocation, const char *backup)
{
    *copying = (struct copying){
        .socket_path = invocation->options[OPTION_SOCKET],
        .backup = backup,
    };
    progress_begin(&copying->progress, invocation->command->name, false, 0);
    copying->is_watched =
        copying->progress.is_shown && pthread_create(&copying->thread, NULL, watch, copying) == 0;
}

void copying_end(struct copying *copying)
{
    if (copying->is_watched) {
        atomic_store(&copying->is_over, true);
        pthread_join(copying->thread, NULL);
        progress_clear(&copying->progress);
    }
}
