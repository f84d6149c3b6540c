// get, ttl, history, scan.

#include <stdlib.h>

#include "cli/input.h"
#include "cli/output.h"

enum exit_status run_get(struct invocation *invocation)
{
    pgnear_get_options options = PGNEAR_GET_OPTIONS_INIT;
    const char *at_version = invocation->options[OPTION_AT_VERSION];
    options.has_at_version = at_version != NULL;
    if (options.has_at_version &&
        !read_integer_operand("--at-version", at_version, INT64_MIN, &options.at_version)) {
        return EXIT_USAGE;
    }
    enum exit_status status;
    if (!command_connect(invocation, &status)) {
        return status;
    }
    pgnear_item item;
    pgnear_error error;
    if (pgnear_get(invocation->node, pgnear_text(invocation->operands[0]), &options, &item,
                   &error) != PGNEAR_OK) {
        return complain_of_call(&error);
    }
    return item.present ? print_msgpack(item.value, invocation) : EXIT_ABSENT;
}

enum exit_status run_ttl(struct invocation *invocation)
{
    enum exit_status status;
    if (!command_connect(invocation, &status)) {
        return status;
    }
    int64_t ttl_ms;
    pgnear_error error;
    if (pgnear_ttl(invocation->node, pgnear_text(invocation->operands[0]), NULL, &ttl_ms, &error) !=
        PGNEAR_OK) {
        return complain_of_call(&error);
    }
    struct document document;
    document_init(&document);
    document_pack_version(&document, ttl_ms >= 0, ttl_ms);
    return document_print(&document, invocation);
}

static enum exit_status print_revision(const pgnear_revision *revision,
                                       const struct invocation *invocation)
{
    struct document document;
    document_init(&document);
    msgpack_pack_map(&document.packer, 4);
    mpack_pack_string(&document.packer, "version");
    msgpack_pack_int64(&document.packer, revision->version);
    mpack_pack_string(&document.packer, "op");
    mpack_pack_string(&document.packer, revision->deleted ? "delete" : "set");
    mpack_pack_string(&document.packer, "value");
    if (revision->deleted) {
        msgpack_pack_nil(&document.packer);
    } else {
        mpack_pack_raw(&document.packer, slice_of(revision->value.at, revision->value.len));
    }
    mpack_pack_string(&document.packer, "at_us");
    msgpack_pack_int64(&document.packer, revision->at_us);
    return document_print(&document, invocation);
}

static enum exit_status print_history(struct invocation *invocation, pgnear_history_options options,
                                      int64_t left)
{
    enum { PAGE_MAX = 1000 };
    enum exit_status status = EXIT_DONE;
    size_t count = 1;
    while (count > 0 && left > 0 && status == EXIT_DONE) {
        const pgnear_revision *revisions;
        pgnear_error error;
        options.limit = (uint32_t)(left < PAGE_MAX ? left : PAGE_MAX);
        if (pgnear_history(invocation->node, pgnear_text(invocation->operands[0]), &options,
                           &revisions, &count, &error) != PGNEAR_OK) {
            return complain_of_call(&error);
        }
        for (size_t i = 0; status == EXIT_DONE && i < count; i++) {
            status = print_revision(&revisions[i], invocation);
            options.has_before = true;
            options.before = revisions[i].version;
        }
        left -= (int64_t)count;
    }
    return status;
}

enum exit_status run_history(struct invocation *invocation)
{
    pgnear_history_options options = PGNEAR_HISTORY_OPTIONS_INIT;
    const char *limit = invocation->options[OPTION_LIMIT];
    const char *before = invocation->options[OPTION_BEFORE];
    int64_t left = INT64_MAX;
    options.has_before = before != NULL;
    if ((limit != NULL && !read_integer_operand("--limit", limit, 1, &left)) ||
        (before != NULL && !read_integer_operand("--before", before, INT64_MIN, &options.before))) {
        return EXIT_USAGE;
    }
    enum exit_status status;
    return command_connect(invocation, &status) ? print_history(invocation, options, left) : status;
}

static enum exit_status print_item(const pgnear_item *item, const struct invocation *invocation)
{
    struct document document;
    document_init(&document);
    msgpack_pack_map(&document.packer, 3);
    mpack_pack_string(&document.packer, "key");
    document_pack_bytes(&document, item->key);
    mpack_pack_string(&document.packer, "value");
    mpack_pack_raw(&document.packer, slice_of(item->value.at, item->value.len));
    mpack_pack_string(&document.packer, "version");
    document_pack_version(&document, item->has_version, item->version);
    return document_print(&document, invocation);
}

static enum exit_status print_page(const pgnear_page *page, const struct invocation *invocation)
{
    enum exit_status status = EXIT_DONE;
    for (size_t i = 0; status == EXIT_DONE && i < page->items_count; i++) {
        status = print_item(&page->items[i], invocation);
    }
    for (size_t i = 0; i < page->skipped_count; i++) {
        complain(EXIT_DONE, "skipped key \"%.*s\": it is beyond the node's limits",
                 (int)page->skipped[i].len, (const char *)page->skipped[i].at);
    }
    return status;
}

// `next` of a page dies with the page, so it is copied.
static enum exit_status scan_pages(struct invocation *invocation, int64_t left,
                                   struct buffer *after)
{
    enum { PAGE_MAX = 1000 };
    const char *prefix = invocation->options[OPTION_PREFIX];
    enum exit_status status = EXIT_DONE;
    bool more = true;
    while (more && left > 0 && status == EXIT_DONE) {
        pgnear_scan_options options = PGNEAR_SCAN_OPTIONS_INIT;
        options.prefix = prefix != NULL ? pgnear_text(prefix) : (pgnear_bytes){0};
        options.after = (pgnear_bytes){buffer_slice(after).at, buffer_len(after)};
        options.limit = (uint32_t)(left < PAGE_MAX ? left : PAGE_MAX);
        pgnear_page page;
        pgnear_error error;
        if (pgnear_scan(invocation->node, &options, &page, &error) != PGNEAR_OK) {
            return complain_of_call(&error);
        }
        status = print_page(&page, invocation);
        left -= (int64_t)page.items_count;
        more = page.has_next;
        buffer_clear(after, SIZE_MAX);
        buffer_append(after, page.next.at, page.next.len);
    }
    return status;
}

enum exit_status run_scan(struct invocation *invocation)
{
    const char *limit = invocation->options[OPTION_LIMIT];
    int64_t left = INT64_MAX;
    if (limit != NULL && !read_integer_operand("--limit", limit, 1, &left)) {
        return EXIT_USAGE;
    }
    enum exit_status status;
    if (!command_connect(invocation, &status)) {
        return status;
    }
    struct buffer after = {0};
    status = scan_pages(invocation, left, &after);
    buffer_deinit(&after);
    return status;
}
