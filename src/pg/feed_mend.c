#include "pg/feed_mend.h"

#include <stdio.h>
#include <string.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/log.h"
#include "pg/feed_state.h"
#include "pg/handshake.h"
#include "pg/layout.h"

// The script waits up to 5 s for its locks, and writers of the table queue up behind it meanwhile.
enum { MEND_EVERY_US = 30 * CLOCK_US_PER_S };

static void on_mended(void *context, enum unit_outcome outcome, const struct failure *failure)
{
    struct feed *feed = context;
    const char *table = feed->worker->names.table;
    if (outcome == UNIT_OK) {
        LOG_WARNING("triggers mended", LOG_TEXT("table", table));
    } else if (outcome == UNIT_REFUSED) {
        LOG_ERROR("triggers not mended", LOG_TEXT("table", table),
                  LOG_TEXT("sqlstate", failure->sqlstate), LOG_TEXT("error", failure->message));
    }
}

void feed_mend_triggers(struct feed *feed)
{
    struct worker *worker = feed->worker;
    const char *digest = feed->heartbeat.shape.digest;
    int64_t now_boot_us = clock_boot_us();
    bool is_tried = now_boot_us < feed->mend_boot_us && strcmp(digest, feed->mend_digest) == 0;
    if (is_tried || !worker->settings->postgres.create_schema) {
        return;
    }
    feed->mend_boot_us = now_boot_us + MEND_EVERY_US;
    snprintf(feed->mend_digest, sizeof feed->mend_digest, "%s", digest);
    struct buffer script = {0};
    layout_create_script(&worker->schema, &script);
    struct unit unit = {.context = feed, .on_done = on_mended};
    conn_run_script(handshake_conn(worker->handshake), buffer_text(&script), &unit);
    buffer_deinit(&script);
}
