#include "base/status.h"

#include <stdio.h>
#include <string.h>

#include "base/check.h"

static const struct {
    enum status_kind kind;
    const char *group;
    const char *name;
    const char *help;
} ITEMS[STATUS_COUNT] = {
#define STATUS_ROW(name, kind, group, wire, writer, help)                                          \
    [STATUS_##name] = {STATUS_##kind, group, wire, help},
    STATUS_TABLE(STATUS_ROW)
#undef STATUS_ROW
};

void status_init(struct status *status)
{
    memset(status, 0, sizeof *status);
    status_set(status, STATUS_PG_TABLE_ROWS, -1);
    status_set(status, STATUS_PG_TABLE_BYTES, -1);
    status_set(status, STATUS_TABLE_BACKUPS, -1);
    status_set(status, STATUS_PG_NOTIFY_QUEUE, -1);
    CHECK(pthread_mutex_init(&status->mutex, NULL) == 0);
}

void status_deinit(struct status *status)
{
    pthread_mutex_destroy(&status->mutex);
}

enum status_kind status_kind(enum status_item item)
{
    return ITEMS[item].kind;
}

const char *status_group(enum status_item item)
{
    return ITEMS[item].group;
}

const char *status_name(enum status_item item)
{
    return ITEMS[item].name;
}

const char *status_help(enum status_item item)
{
    return ITEMS[item].help;
}

const char *node_state_name(enum node_state state)
{
    static const char *const NAMES[] = {
        [NODE_DISCONNECTED] = "disconnected",
        [NODE_CATCHING_UP] = "catching_up",
        [NODE_LIVE] = "live",
    };
    return NAMES[state];
}

void status_set_error(struct status *status, enum trouble trouble, const char *sqlstate,
                      const char *text)
{
    struct failure *kept = &status->errors[trouble];
    CHECK(pthread_mutex_lock(&status->mutex) == 0);
    *kept = (struct failure){0};
    if (text != NULL) {
        failure_note(kept, ERROR_UNAVAILABLE, "%s", text);
        snprintf(kept->sqlstate, sizeof kept->sqlstate, "%s", sqlstate == NULL ? "" : sqlstate);
    }
    CHECK(pthread_mutex_unlock(&status->mutex) == 0);
}

void status_clear_errors(struct status *status)
{
    for (int i = 0; i < TROUBLE_COUNT; i++) {
        status_set_error(status, (enum trouble)i, NULL, NULL);
    }
}

// The first of `first` to `last`.
static bool find_error(struct status *status, enum trouble first, enum trouble last,
                       struct failure *failure)
{
    bool any = false;
    CHECK(pthread_mutex_lock(&status->mutex) == 0);
    for (int i = (int)first; i <= (int)last && !any; i++) {
        any = status->errors[i].error != ERROR_NONE;
        if (any) {
            *failure = status->errors[i];
        }
    }
    CHECK(pthread_mutex_unlock(&status->mutex) == 0);
    return any;
}

bool status_get_error(struct status *status, struct failure *failure)
{
    return find_error(status, TROUBLE_SERVER, TROUBLE_READ, failure);
}

bool status_get_flush_error(struct status *status, struct failure *failure)
{
    return find_error(status, TROUBLE_SERVER, TROUBLE_FLUSH, failure);
}

bool status_get_error_of(struct status *status, enum trouble trouble, struct failure *failure)
{
    return find_error(status, trouble, trouble, failure);
}
