// backup, backups, restore, cleanup-backups: the node's answers as they are.

#include "cli/copying.h"
#include "cli/input.h"
#include "cli/output.h"

static void pack_backup(struct document *document, const pgnear_backup_item *backup)
{
    bool has_time = backup->created_at.len > 0;
    msgpack_pack_map(&document->packer, has_time ? 3 : 2);
    mpack_pack_string(&document->packer, "table");
    document_pack_bytes(document, backup->table);
    mpack_pack_string(&document->packer, "rows");
    msgpack_pack_uint64(&document->packer, backup->rows);
    if (has_time) {
        mpack_pack_string(&document->packer, "created_at");
        document_pack_bytes(document, backup->created_at);
    }
}

enum exit_status run_backup(struct invocation *invocation)
{
    enum exit_status status;
    if (!command_connect(invocation, &status)) {
        return status;
    }
    pgnear_backup_item backup;
    pgnear_error error;
    struct copying copying;
    copying_begin(&copying, invocation, NULL);
    pgnear_code code = pgnear_backup(invocation->node, NULL, &backup, &error);
    copying_end(&copying);
    if (code != PGNEAR_OK) {
        return complain_of_call(&error);
    }
    struct document document;
    document_init(&document);
    pack_backup(&document, &backup);
    return document_print(&document, invocation);
}

enum exit_status run_backups(struct invocation *invocation)
{
    enum exit_status status;
    if (!command_connect(invocation, &status)) {
        return status;
    }
    const pgnear_backup_item *backups;
    size_t count;
    pgnear_error error;
    if (pgnear_backups(invocation->node, NULL, &backups, &count, &error) != PGNEAR_OK) {
        return complain_of_call(&error);
    }
    struct document document;
    document_init(&document);
    msgpack_pack_array(&document.packer, count);
    for (size_t i = 0; i < count; i++) {
        pack_backup(&document, &backups[i]);
    }
    return document_print(&document, invocation);
}

enum exit_status run_restore(struct invocation *invocation)
{
    pgnear_restore_options options = PGNEAR_RESTORE_OPTIONS_INIT;
    const char *mode = invocation->options[OPTION_MODE];
    if (mode != NULL && strcmp(mode, "merge") != 0 && strcmp(mode, "replace") != 0) {
        return complain_usage("--mode %s: must be merge or replace", mode);
    }
    options.replace = mode != NULL && strcmp(mode, "replace") == 0;
    enum exit_status status;
    if (!command_connect(invocation, &status)) {
        return status;
    }
    const char *name = invocation->operands[0];
    uint64_t rows;
    pgnear_error error;
    struct copying copying;
    copying_begin(&copying, invocation, name);
    pgnear_code code = pgnear_restore(invocation->node, pgnear_text(name), &options, &rows, &error);
    copying_end(&copying);
    if (code != PGNEAR_OK) {
        return complain_of_call(&error);
    }
    struct document document;
    document_init(&document);
    msgpack_pack_map(&document.packer, 1);
    mpack_pack_string(&document.packer, "rows");
    msgpack_pack_uint64(&document.packer, rows);
    return document_print(&document, invocation);
}

enum exit_status run_cleanup_backups(struct invocation *invocation)
{
    enum { DAYS_MAX = 36500 };
    int64_t days = 30;
    const char *text = invocation->options[OPTION_DAYS];
    if (text != NULL && !read_integer_operand("--days", text, 0, &days)) {
        return EXIT_USAGE;
    }
    if (days > DAYS_MAX) {
        return complain_usage("--days %s: must be at most %d", text, (int)DAYS_MAX);
    }
    enum exit_status status;
    if (!command_connect(invocation, &status)) {
        return status;
    }
    const pgnear_bytes *names;
    size_t count;
    pgnear_error error;
    if (pgnear_cleanup_backups(invocation->node, (uint32_t)days, NULL, &names, &count, &error) !=
        PGNEAR_OK) {
        return complain_of_call(&error);
    }
    struct document document;
    document_init(&document);
    msgpack_pack_array(&document.packer, count);
    for (size_t i = 0; i < count; i++) {
        document_pack_bytes(&document, names[i]);
    }
    return document_print(&document, invocation);
}
