// import: reads a file or standard input as it comes, in the memory of a batch of pairs, and writes
// it through the node. The summary on standard output is one JSON object; what is wrong is said on
// standard error with the line it stands in.

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "cli/checkpoint.h"
#include "cli/counters.h"
#include "cli/input.h"
#include "cli/intake.h"
#include "cli/output.h"
#include "cli/progress.h"

enum { READ_BYTES = 256 * 1024, DETECT_BYTES = 64 * 1024, REPORTS_MAX = 100 };
enum { CHECKPOINT_US = 100000 };

struct import {
    struct invocation *invocation;
    const char *name; // of the input, for messages
    int fd;
    int64_t input_bytes; // -1: not known
    bool is_strict;
    bool is_checked_only; // nothing is written
    struct buffer input;
    struct pairs pairs;
    struct intake intake;
    struct progress progress;
    const char *checkpoint_path;  // NULL: none
    struct checkpoint checkpoint; // counts of earlier runs, and the place of this one
    int64_t saved_us;
    int64_t expired;
    int64_t bad;
    int64_t refused; // by the node
    // What has been taken so far; once the intake is delivered, where to go on:
    struct {
        struct pairs_position position;
        int64_t expired;
        int64_t bad;
    } taken;
    bool is_all_read;
    int64_t letters_before; // dead letters of the node
};

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

static enum exit_status read_place(struct import *import)
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

// ---- The end

// Waits until PostgreSQL has it all; until then it is in the node's outbox, and safe there.
static void await_flush(struct import *import)
{
    pgnear_error error;
    struct patience patience;
    patience_begin(&patience, import->invocation->timeout_ms);
    pgnear_code code;
    do {
        code = pgnear_flush(import->intake.node, 0, NULL, NULL, &error);
    } while (code != PGNEAR_OK && error.retryable && patience_wait(&patience));
    if (code != PGNEAR_OK) {
        complain(EXIT_DONE, "all is acknowledged, but not yet in PostgreSQL: %s", error.message);
    }
}

// A pair that PostgreSQL refuses for good was acknowledged all the same, and is a dead letter now.
static enum exit_status check_letters(const struct import *import, enum exit_status status)
{
    int64_t letters = ask_counter(import->intake.node, "outbox.dead_letters");
    int64_t more = letters - import->letters_before;
    if (import->letters_before < 0 || more <= 0) {
        return status;
    }
    complain(EXIT_REFUSED, "PostgreSQL refused %" PRId64 " writes, which are dead letters now",
             more);
    return status == EXIT_DONE ? EXIT_REFUSED : status;
}

static void pack_count(struct document *document, const char *name, int64_t count)
{
    mpack_pack_string(&document->packer, name);
    msgpack_pack_int64(&document->packer, count);
}

static enum exit_status print_summary(const struct import *import)
{
    const struct checkpoint *before = &import->checkpoint;
    struct document document;
    document_init(&document);
    msgpack_pack_map(&document.packer, 4);
    pack_count(&document, import->is_checked_only ? "good" : "imported",
               before->imported + import->intake.imported);
    pack_count(&document, "skipped", before->skipped + import->intake.skipped);
    pack_count(&document, "expired", before->expired + import->expired);
    pack_count(&document, "bad", before->bad + import->bad + import->refused);
    return document_print(&document, import->invocation);
}

// One way through the input, with the node or, where it is NULL, without.
static enum exit_status run_once(struct import *import, pgnear *node, enum conflict_policy policy,
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

static void end_once(struct import *import)
{
    intake_deinit(&import->intake);
    pairs_deinit(&import->pairs);
    buffer_clear(&import->input, 0);
}

// --strict: everything is read and checked before anything is written, where it can be read twice.
static enum exit_status check_first(struct import *import)
{
    if (!import->is_strict || import->input_bytes < 0 || import->checkpoint.position.offset > 0) {
        return EXIT_DONE;
    }
    enum exit_status status = run_once(import, NULL, CONFLICT_REPLACE, PGNEAR_ACK_DEFAULT);
    end_once(import);
    if (status != EXIT_DONE) {
        return complain(status, "nothing was imported");
    }
    return lseek(import->fd, 0, SEEK_SET) == 0
               ? EXIT_DONE
               : complain(EXIT_REFUSED, "%s: %s", import->name, strerrordesc_np(errno));
}

static enum exit_status import_all(struct import *import, enum conflict_policy policy,
                                   pgnear_ack ack)
{
    enum exit_status status = read_place(import);
    if (status != EXIT_DONE) {
        return status;
    }
    bool writes = !option_is_given(import->invocation, OPTION_DRY_RUN);
    status = writes ? check_first(import) : EXIT_DONE;
    if (status != EXIT_DONE || (writes && !command_connect(import->invocation, &status))) {
        return status;
    }
    import->letters_before =
        writes ? ask_counter(import->invocation->node, "outbox.dead_letters") : 0;
    status = run_once(import, writes ? import->invocation->node : NULL, policy, ack);
    if (writes && status != EXIT_UNREACHABLE) {
        await_flush(import);
        status = check_letters(import, status);
    }
    if (writes && import->is_all_read && import->checkpoint_path != NULL) {
        unlink(import->checkpoint_path);
    }
    print_summary(import);
    end_once(import);
    return status;
}

// ---- The command line

static bool read_policy(const char *text, enum conflict_policy *policy)
{
    static const char *const NAMES[] = {"replace", "skip", "fail"};
    *policy = CONFLICT_REPLACE;
    for (int i = 0; text != NULL && i < 3; i++) {
        if (strcmp(text, NAMES[i]) == 0) {
            *policy = (enum conflict_policy)i;
            return true;
        }
    }
    if (text != NULL) {
        complain_usage("--on-conflict %s: not replace, skip or fail", text);
    }
    return text == NULL;
}

static bool open_input(struct import *import, const char *path, enum exit_status *status)
{
    struct stat found;
    bool is_standard = strcmp(path, "-") == 0;
    import->name = is_standard ? "standard input" : path;
    import->fd = is_standard ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    if (import->fd < 0 || fstat(import->fd, &found) != 0) {
        *status = complain(EXIT_REFUSED, "%s: %s", path, strerrordesc_np(errno));
        return false;
    }
    bool is_seekable = S_ISREG(found.st_mode) && lseek(import->fd, 0, SEEK_CUR) == 0;
    import->input_bytes = is_seekable ? (int64_t)found.st_size : -1;
    return true;
}

enum exit_status run_import(struct invocation *invocation)
{
    struct import import = {
        .invocation = invocation,
        .is_strict = option_is_given(invocation, OPTION_STRICT),
    };
    pgnear_write_options options = PGNEAR_WRITE_OPTIONS_INIT;
    enum conflict_policy policy;
    enum exit_status status;
    if (option_is_given(invocation, OPTION_OBJECT) && option_is_given(invocation, OPTION_LINES)) {
        return complain_usage("--object and --lines exclude each other");
    }
    if (!read_policy(invocation->options[OPTION_ON_CONFLICT], &policy) ||
        !read_write_options(invocation, &options)) {
        return EXIT_USAGE;
    }
    if (!open_input(&import, invocation->operands[0], &status)) {
        return status;
    }
    status = import_all(&import, policy, options.ack);
    buffer_deinit(&import.input);
    if (import.fd != STDIN_FILENO) {
        close(import.fd);
    }
    return status;
}
