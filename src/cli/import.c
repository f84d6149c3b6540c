// import: reads a file or standard input as it comes, in the memory of a batch of pairs, and writes
// it through the node. The summary on standard output is one JSON object.
#include "cli/import.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/counters.h"
#include "cli/input.h"

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

// ---- The whole

// --strict: everything is read and checked before anything is written, where it can be read twice.
static enum exit_status check_first(struct import *import)
{
    if (!import->is_strict || import->input_bytes < 0 || import->checkpoint.position.offset > 0) {
        return EXIT_DONE;
    }
    enum exit_status status = import_read(import, NULL, CONFLICT_REPLACE, PGNEAR_ACK_DEFAULT);
    import_end(import);
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
    enum exit_status status = import_read_place(import);
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
    status = import_read(import, writes ? import->invocation->node : NULL, policy, ack);
    if (writes && status != EXIT_UNREACHABLE) {
        await_flush(import);
        status = check_letters(import, status);
    }
    if (writes && import->is_all_read && import->checkpoint_path != NULL) {
        unlink(import->checkpoint_path);
    }
    print_summary(import);
    import_end(import);
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
