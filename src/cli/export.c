// export: pages of a scan as JSON lines, or as the members of one object. Memory is that of a page.
// A file is written beside its place and renamed once it is whole, so that half an export is never
// taken for one.

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/counters.h"
#include "cli/output.h"
#include "cli/patience.h"
#include "cli/progress.h"
#include "json/json.h"

enum { PAGE_MAX = 1000, PATH_BYTES = 4096 };

struct export
{
    struct invocation *invocation;
    FILE *out;
    bool is_object;
    bool is_whole;       // all pages were written
    struct buffer after; // the last key written
    struct buffer text;
    struct progress progress;
    int64_t bytes;
    int64_t exported;
    int64_t left_out;       // rows beyond the node's limits
    int64_t without_expiry; // pairs of an object that expire, which it cannot say
};

// ---- Pairs

// A map of one pair, {"key": value}, or of a line, as JSON text.
static enum exit_status make_text(struct export *export, const pgnear_item *item)
{
    struct document document;
    struct failure failure = {0};
    bool expires = item->expires_at_us != 0;
    document_init(&document);
    msgpack_packer *packer = &document.packer;
    if (export->is_object) {
        msgpack_pack_map(packer, 1);
        document_pack_bytes(&document, item->key);
    } else {
        msgpack_pack_map(packer, expires ? 3 : 2);
        mpack_pack_string(packer, "key");
        document_pack_bytes(&document, item->key);
        mpack_pack_string(packer, "value");
    }
    mpack_pack_raw(packer, slice_of(item->value.at, item->value.len));
    if (expires && !export->is_object) {
        mpack_pack_string(packer, "expires_at_us");
        msgpack_pack_int64(packer, item->expires_at_us);
    }
    export->without_expiry += expires && export->is_object;
    buffer_clear(&export->text, SIZE_MAX);
    enum error error =
        json_from_msgpack(buffer_slice(&document.bytes), false, &export->text, &failure);
    buffer_deinit(&document.bytes);
    return error == ERROR_NONE
               ? EXIT_DONE
               : complain(EXIT_REFUSED, "the node sent what is not JSON: %s", failure.message);
}

static void write_text(struct export *export, const void *at, size_t len)
{
    fwrite(at, 1, len, export->out);
    export->bytes += (int64_t)len;
}

static enum exit_status write_pair(struct export *export, const pgnear_item *item)
{
    enum exit_status status = make_text(export, item);
    struct slice text = buffer_slice(&export->text);
    if (status != EXIT_DONE) {
        return status;
    }
    if (export->is_object) {
        write_text(export, export->exported == 0 ? "{\n" : ",\n", 2);
        write_text(export, text.at + 1, text.len - 2); // without its braces
    } else {
        write_text(export, text.at, text.len);
        write_text(export, "\n", 1);
    }
    export->exported++;
    return ferror(export->out) == 0
               ? EXIT_DONE
               : complain(EXIT_REFUSED, "cannot write: %s", strerrordesc_np(errno));
}

// ---- Pages

static enum exit_status write_page(struct export *export, const pgnear_page *page)
{
    enum exit_status status = EXIT_DONE;
    for (size_t i = 0; status == EXIT_DONE && i < page->items_count; i++) {
        status = write_pair(export, &page->items[i]);
    }
    for (size_t i = 0; i < page->skipped_count; i++) {
        progress_clear(&export->progress);
        complain(EXIT_REFUSED, "left out key \"%.*s\": it is beyond the node's limits",
                 (int)page->skipped[i].len, (const char *)page->skipped[i].at);
    }
    export->left_out += (int64_t)page->skipped_count;
    buffer_clear(&export->after, SIZE_MAX);
    buffer_append(&export->after, page->next.at, page->next.len);
    progress_show(&export->progress, export->bytes, export->exported);
    return status;
}

// The next page; what goes wrong is waited for, a minute at the most.
static enum exit_status ask_for_page(struct export *export, pgnear_page *page)
{
    const char *prefix = export->invocation->options[OPTION_PREFIX];
    struct patience patience;
    pgnear_scan_options options = PGNEAR_SCAN_OPTIONS_INIT;
    options.prefix = prefix != NULL ? pgnear_text(prefix) : (pgnear_bytes){0};
    options.after = (pgnear_bytes){buffer_slice(&export->after).at, buffer_len(&export->after)};
    options.limit = PAGE_MAX;
    options.expires = true;
    patience_begin(&patience, export->invocation->timeout_ms);
    for (;;) {
        pgnear_error error;
        if (pgnear_scan(export->invocation->node, &options, page, &error) == PGNEAR_OK) {
            return EXIT_DONE;
        }
        // An export that has not begun fails at once, as any other command.
        bool goes_on = export->exported > 0 && error.retryable;
        if (!goes_on || !patience_wait(&patience)) {
            progress_clear(&export->progress);
            return complain_of_call(&error);
        }
    }
}

static enum exit_status write_pages(struct export *export)
{
    enum exit_status status = EXIT_DONE;
    pgnear_page page = {.has_next = true};
    while (status == EXIT_DONE && page.has_next) {
        status = ask_for_page(export, &page);
        status = status != EXIT_DONE ? status : write_page(export, &page);
    }
    if (status == EXIT_DONE && export->is_object) {
        const char *end = export->exported == 0 ? "{}\n" : "\n}\n";
        write_text(export, end, 3);
    }
    progress_clear(&export->progress);
    export->is_whole = status == EXIT_DONE;
    return status;
}

static enum exit_status export_to(struct export *export)
{
    bool is_all = export->invocation->options[OPTION_PREFIX] == NULL;
    int64_t total = is_all ? ask_counter(export->invocation->node, "count") : -1;
    progress_begin(&export->progress, "export", false, total);
    enum exit_status status = write_pages(export);
    if (export->without_expiry > 0) {
        complain(EXIT_DONE, "%lld pairs expire, which one JSON object does not say: use lines",
                 (long long)export->without_expiry);
    }
    buffer_deinit(&export->after);
    buffer_deinit(&export->text);
    return status == EXIT_DONE && export->left_out > 0 ? EXIT_REFUSED : status;
}

// ---- The file

static enum exit_status print_summary(const struct export *export)
{
    struct document document;
    document_init(&document);
    msgpack_pack_map(&document.packer, 2);
    mpack_pack_string(&document.packer, "exported");
    msgpack_pack_int64(&document.packer, export->exported);
    mpack_pack_string(&document.packer, "left_out");
    msgpack_pack_int64(&document.packer, export->left_out);
    return document_print(&document, export->invocation);
}

// A whole export takes its place; what is there is a device or a pipe, or a file that goes.
static enum exit_status finish_file(struct export *export, const char *beside, const char *path,
                                    enum exit_status status)
{
    bool written = fflush(export->out) == 0 && (beside == NULL || fsync(fileno(export->out)) == 0);
    written = fclose(export->out) == 0 && written;
    bool is_whole = export->is_whole;
    if (is_whole && (!written || (beside != NULL && rename(beside, path) != 0))) {
        status = complain(EXIT_REFUSED, "%s: %s", path, strerrordesc_np(errno));
        is_whole = false;
    }
    if (!is_whole && beside != NULL) {
        unlink(beside);
    }
    if (is_whole) {
        print_summary(export);
    }
    return status;
}

static enum exit_status export_to_file(struct export *export, const char *name)
{
    char resolved[PATH_BYTES];
    char beside[PATH_BYTES];
    struct stat found;
    // A link stays one: what it leads to is replaced, or made there where it leads to nothing yet.
    const char *path = realpath(name, resolved) != NULL ? resolved : name;
    bool is_plain = lstat(path, &found) != 0 || S_ISREG(found.st_mode);
    if (snprintf(beside, sizeof beside, "%s.part", path) >= (int)sizeof beside) {
        return complain(EXIT_REFUSED, "%s: %s", path, strerrordesc_np(ENAMETOOLONG));
    }
    export->out = fopen(is_plain ? beside : path, "we");
    if (export->out == NULL) {
        return complain(EXIT_REFUSED, "%s: %s", path, strerrordesc_np(errno));
    }
    enum exit_status status = export_to(export);
    return finish_file(export, is_plain ? beside : NULL, path, status);
}

static bool ends_with(const char *text, const char *ending)
{
    size_t len = strlen(text), ending_len = strlen(ending);
    return len > ending_len && strcmp(text + len - ending_len, ending) == 0;
}

enum exit_status run_export(struct invocation *invocation)
{
    const char *path = invocation->operands_count == 1 ? invocation->operands[0] : "-";
    bool is_standard = strcmp(path, "-") == 0;
    bool says_lines = option_is_given(invocation, OPTION_LINES);
    struct export export = {
        .invocation = invocation,
        .out = stdout,
        .is_object =
            option_is_given(invocation, OPTION_OBJECT) || (!says_lines && ends_with(path, ".json")),
    };
    enum exit_status status;
    if (option_is_given(invocation, OPTION_OBJECT) && says_lines) {
        return complain_usage("--object and --lines exclude each other");
    }
    if (!command_connect(invocation, &status)) {
        return status;
    }
    return is_standard ? export_to(&export) : export_to_file(&export, path);
}
