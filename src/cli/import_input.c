#include "cli/import.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"

enum { READ_BYTES = 256 * 1024, DETECT_BYTES = 64 * 1024, REPORTS_MAX = 100 };
enum { CHECKPOINT_US = 100000 };

// ---- What is wrong

// False where the import ends with it.
static bool report(struct import *import, uint64_t line, const char *why)
{
    int64_t reports = import->bad + import->refused;
    progress_clear(&import->progress);
    if (reports <= REPORTS_MAX) {
        complain(EXIT_REFUSED, "%s:%" PRIu64 ": %s", import->name, line, why);
    } else if (reports == REPORTS_MAX + 1) {
        complain(EXIT_REFUSED, "%s: more lines are wrong; they are counted", import->name);
    }
    return !import->is_strict || import->is_checked_only;
}

static bool on_refused(void *context, uint64_t line, const char *why)
{
    struct import *import = context;
    import->refused++;
    return report(import, line, why);
}

static bool report_bad(struct import *import, const char *why)
{
    import->bad++;
    return report(import, import->pairs.line, why);
}

// ---- The place

static enum exit_status save_place(struct import *import)
{
    struct checkpoint now = import->checkpoint;
    struct failure failure = {0};
    int64_t now_us = clock_boot_us();
    if (import->checkpoint_path == NULL || import->is_checked_only ||
        now_us - import->saved_us < CHECKPOINT_US) {
        return EXIT_DONE;
    }
    import->saved_us = now_us;
    now.form = import->pairs.form;
    now.position = import->taken.position;
    now.input_bytes = import->input_bytes;
    now.imported += import->intake.imported;
    now.skipped += import->intake.skipped;
    now.expired += import->taken.expired;
    now.bad += import->taken.bad + import->refused;
    return checkpoint_write(import->checkpoint_path, &now, &failure) == ERROR_NONE
               ? EXIT_DONE
               : complain(EXIT_REFUSED, "%s", failure.message);
}

static void mark_taken(struct import *import)
{
    import->taken.position = pairs_position(&import->pairs);
    import->taken.expired = import->expired;
    import->taken.bad = import->bad;
}

// ---- Pairs

static enum exit_status deliver(struct import *import)
{
    switch (intake_deliver(&import->intake)) {
    case INTAKE_OK:
        progress_show(&import->progress, (int64_t)import->taken.position.offset,
                      import->checkpoint.imported + import->intake.imported);
        return save_place(import);
    case INTAKE_CONFLICT:
        progress_clear(&import->progress);
        return complain(EXIT_ABSENT, "%s:%" PRIu64 ": the key exists with another value",
                        import->name, import->intake.conflict_line);
    case INTAKE_REFUSED:
        return EXIT_REFUSED;
    case INTAKE_GONE:
        break;
    }
    progress_clear(&import->progress);
    return complain_of_call(&import->intake.error);
}

static enum exit_status take_pair(struct import *import, const struct pairs_pair *pair)
{
    int64_t ttl_ms = pair->ttl_ms;
    enum exit_status status = EXIT_DONE;
    if (pair->expires_at_us != 0) {
        ttl_ms = (pair->expires_at_us - clock_real_us()) / CLOCK_US_PER_MS;
    }
    if (ttl_ms <= 0 && pair->expires_at_us != 0) {
        import->expired++;
        return EXIT_DONE;
    }
    if (!intake_has_room(&import->intake, pair)) {
        status = deliver(import);
    }
    if (status == EXIT_DONE) {
        intake_add(&import->intake, pair, ttl_ms);
    }
    return status;
}

// ---- The input

// False at its end, or where it cannot be read.
static bool read_more(struct import *import, enum exit_status *status)
{
    uint8_t *room = buffer_reserve(&import->input, READ_BYTES);
    ssize_t len;
    do {
        len = read(import->fd, room, READ_BYTES);
    } while (len < 0 && errno == EINTR);
    if (len < 0) {
        *status = complain(EXIT_REFUSED, "%s: %s", import->name, strerrordesc_np(errno));
    } else {
        buffer_commit(&import->input, (size_t)len);
    }
    return len > 0;
}

// True while there are events to take: of the bytes that are there, or of the end.
static enum exit_status take_events(struct import *import, bool is_end)
{
    enum exit_status status = EXIT_DONE;
    for (;;) {
        struct slice input = buffer_slice(&import->input);
        struct pairs_pair pair;
        struct failure failure = {0};
        size_t len = input.len;
        enum pairs_event event = is_end && len == 0
                                     ? pairs_finish(&import->pairs, &pair, &failure)
                                     : pairs_next(&import->pairs, &input, &pair, &failure);
        buffer_consume(&import->input, len - input.len);
        if (event == PAIRS_PAIR) {
            status = take_pair(import, &pair);
        } else if (event == PAIRS_BAD) {
            status = report_bad(import, failure.message) ? EXIT_DONE : EXIT_REFUSED;
        } else if (event == PAIRS_BROKEN) {
            report_bad(import, failure.message);
            return EXIT_REFUSED;
        }
        if (status != EXIT_DONE || event == PAIRS_NEED_MORE) {
            return status;
        }
        mark_taken(import);
    }
}

static enum exit_status read_pairs(struct import *import)
{
    enum exit_status status = EXIT_DONE;
    bool is_more = true;
    while (status == EXIT_DONE && is_more) {
        status = take_events(import, false);
        is_more = status == EXIT_DONE && read_more(import, &status);
    }
    if (status == EXIT_DONE) {
        status = take_events(import, true);
    }
    // What came before the place where it stopped is good.
    bool may_go_on = status == EXIT_DONE || (status == EXIT_REFUSED && !import->is_strict);
    if (may_go_on && import->intake.count > 0) {
        enum exit_status delivered = deliver(import);
        status = status == EXIT_DONE ? delivered : status;
    }
    import->is_all_read = status == EXIT_DONE;
    return import->is_all_read && import->bad + import->refused > 0 ? EXIT_REFUSED : status;
}

static enum exit_status detect_form(struct import *import, enum pairs_form *form,
                                    uint64_t *skipped_bytes)
{
    static const uint8_t MARK[] = {0xef, 0xbb, 0xbf}; // U+FEFF, a byte order mark
    enum exit_status status = EXIT_DONE;
    while (buffer_len(&import->input) < DETECT_BYTES && read_more(import, &status)) {
    }
    struct slice first = buffer_slice(&import->input);
    if (slice_starts_with(first, slice_of(MARK, sizeof MARK))) {
        *skipped_bytes = sizeof MARK;
        buffer_consume(&import->input, sizeof MARK);
        first = buffer_slice(&import->input);
    }
    *form = option_is_given(import->invocation, OPTION_OBJECT)  ? PAIRS_OBJECT
            : option_is_given(import->invocation, OPTION_LINES) ? PAIRS_LINES
                                                                : pairs_detect(first);
    return status;
}

// ---- Going on

// Moves the input to where an earlier run was.
static enum exit_status go_to_place(struct import *import)
{
    uint64_t left = import->checkpoint.position.offset;
    enum exit_status status = EXIT_DONE;
    if (left > INT64_MAX || (import->checkpoint.input_bytes >= 0 && import->input_bytes >= 0 &&
                             import->checkpoint.input_bytes != import->input_bytes)) {
        return complain(EXIT_REFUSED, "%s is the place in another input than %s",
                        import->checkpoint_path, import->name);
    }
    if (import->input_bytes >= 0 && lseek(import->fd, (off_t)left, SEEK_SET) >= 0) {
        return EXIT_DONE;
    }
    while (left > 0 && read_more(import, &status)) {
        size_t len = buffer_len(&import->input);
        len = len < left ? len : (size_t)left;
        buffer_consume(&import->input, len);
        left -= len;
    }
    return status == EXIT_DONE && left > 0
               ? complain(EXIT_REFUSED, "%s is shorter than the place in %s", import->name,
                          import->checkpoint_path)
               : status;
}

static enum exit_status begin_reading(struct import *import)
{
    const struct pairs_position *position = &import->checkpoint.position;
    enum exit_status status = EXIT_DONE;
    enum pairs_form form = import->checkpoint.form;
    bool goes_on = position->offset > 0;
    uint64_t skipped_bytes = 0;
    status = goes_on ? go_to_place(import) : detect_form(import, &form, &skipped_bytes);
    if (status == EXIT_DONE && goes_on) {
        pairs_resume(&import->pairs, form, position);
    } else {
        pairs_init(&import->pairs, form, skipped_bytes);
    }
    mark_taken(import);
    return status;
}

enum exit_status import_read_place(struct import *import)
{
    struct failure failure = {0};
    import->checkpoint_path = import->invocation->options[OPTION_RESUME];
    if (import->checkpoint_path != NULL) {
        enum error error = checkpoint_read(import->checkpoint_path, &import->checkpoint, &failure);
        if (error != ERROR_NONE && error != ERROR_NOT_FOUND) {
            return complain(EXIT_REFUSED, "%s", failure.message);
        }
    }
    return EXIT_DONE;
}

// ---- One way

enum exit_status import_read(struct import *import, pgnear *node, enum conflict_policy policy,
                             pgnear_ack ack)
{
    import->is_checked_only = node == NULL;
    import->expired = 0;
    import->bad = 0;
    intake_init(&import->intake, node, import->invocation->timeout_ms);
    import->intake.policy = policy;
    import->intake.ack = ack;
    import->intake.on_refused = on_refused;
    import->intake.context = import;
    progress_begin(&import->progress, node == NULL ? "check" : "import", true, import->input_bytes);
    enum exit_status status = begin_reading(import);
    status = status != EXIT_DONE ? status : read_pairs(import);
    progress_clear(&import->progress);
    return status;
}

void import_end(struct import *import)
{
    intake_deinit(&import->intake);
    pairs_deinit(&import->pairs);
    buffer_clear(&import->input, 0);
}
