// set, delete, incr, merge, touch.

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "cli/input.h"
#include "cli/output.h"

static pgnear_bytes bytes_of_buffer(const struct buffer *buffer)
{
    return (pgnear_bytes){buffer_slice(buffer).at, buffer_len(buffer)};
}

static enum exit_status print_written(const pgnear_written *written,
                                      const struct invocation *invocation)
{
    struct document document;
    document_init(&document);
    uint32_t extra = (written->has_deleted ? 1u : 0u) + (written->has_version ? 1u : 0u);
    msgpack_pack_map(&document.packer, 1 + extra);
    mpack_pack_string(&document.packer, "seq");
    msgpack_pack_uint64(&document.packer, written->seq);
    if (written->has_deleted) {
        mpack_pack_string(&document.packer, "deleted");
        msgpack_pack_uint64(&document.packer, written->deleted);
    }
    if (written->has_version) {
        mpack_pack_string(&document.packer, "version");
        msgpack_pack_int64(&document.packer, written->version);
    }
    return document_print(&document, invocation);
}

// The value of `set`: an operand or --string, not both.
static enum exit_status read_value(const struct invocation *invocation, struct buffer *value)
{
    const char *string = invocation->options[OPTION_STRING];
    bool has_operand = invocation->operands_count == 2;
    if (has_operand == (string != NULL)) {
        return complain_usage("set takes a key and JSON, -, or --string TEXT");
    }
    if (string == NULL) {
        const char *operand = invocation->operands[1];
        enum exit_status status = read_json(operand, value);
        if (status != EXIT_DONE && isalpha((unsigned char)operand[0]) != 0) {
            fputs("A text stands in double quotes, as '\"text\"', or behind --string.\n", stderr);
        }
        return status;
    }
    msgpack_packer packer;
    mpack_packer_init(&packer, value);
    mpack_pack_string(&packer, string);
    return EXIT_DONE;
}

static enum exit_status set_value(struct invocation *invocation,
                                  const pgnear_write_options *options, const struct buffer *value)
{
    enum exit_status status;
    if (!command_connect(invocation, &status)) {
        return status;
    }
    pgnear_written written;
    pgnear_error error;
    if (pgnear_set(invocation->node, pgnear_text(invocation->operands[0]), bytes_of_buffer(value),
                   options, &written, &error) != PGNEAR_OK) {
        return complain_of_call(&error);
    }
    return print_written(&written, invocation);
}

enum exit_status run_set(struct invocation *invocation)
{
    pgnear_write_options options = PGNEAR_WRITE_OPTIONS_INIT;
    if (!read_write_options(invocation, &options)) {
        return EXIT_USAGE;
    }
    struct buffer value = {0};
    enum exit_status status = read_value(invocation, &value);
    if (status == EXIT_DONE) {
        status = set_value(invocation, &options, &value);
    }
    buffer_deinit(&value);
    return status;
}

enum exit_status run_delete(struct invocation *invocation)
{
    pgnear_write_options options = PGNEAR_WRITE_OPTIONS_INIT;
    if (!read_write_options(invocation, &options)) {
        return EXIT_USAGE;
    }
    size_t count = (size_t)invocation->operands_count;
    if (options.has_if_version && count != 1) {
        return complain_usage("--if-version goes with one key only");
    }
    enum exit_status status;
    if (!command_connect(invocation, &status)) {
        return status;
    }
    pgnear_bytes *keys = memory_zeroed(count, sizeof *keys);
    for (size_t i = 0; i < count; i++) {
        keys[i] = pgnear_text(invocation->operands[i]);
    }
    pgnear_written written;
    pgnear_error error;
    pgnear_code code = pgnear_delete(invocation->node, keys, count, &options, &written, &error);
    free(keys);
    return code == PGNEAR_OK ? print_written(&written, invocation) : complain_of_call(&error);
}

typedef pgnear_code item_write(pgnear *handle, pgnear_bytes key, pgnear_bytes operand,
                               const pgnear_write_options *options, pgnear_item *item,
                               pgnear_error *error);

// incr and merge: a key and a number or a JSON text in, the new value out.
static enum exit_status write_item(struct invocation *invocation, item_write *write,
                                   const struct buffer *operand)
{
    pgnear_write_options options = PGNEAR_WRITE_OPTIONS_INIT;
    enum exit_status status;
    pgnear_item item;
    pgnear_error error;
    if (!read_write_options(invocation, &options)) {
        return EXIT_USAGE;
    }
    if (!command_connect(invocation, &status)) {
        return status;
    }
    bool done = write(invocation->node, pgnear_text(invocation->operands[0]),
                      bytes_of_buffer(operand), &options, &item, &error) == PGNEAR_OK;
    return done ? print_msgpack(item.value, invocation) : complain_of_call(&error);
}

enum exit_status run_incr(struct invocation *invocation)
{
    struct buffer by = {0};
    bool is_number =
        read_number(invocation->operands_count == 2 ? invocation->operands[1] : "1", &by);
    enum exit_status status = is_number ? write_item(invocation, pgnear_incr, &by) : EXIT_USAGE;
    buffer_deinit(&by);
    return status;
}

enum exit_status run_merge(struct invocation *invocation)
{
    struct buffer patch = {0};
    enum exit_status status = read_json(invocation->operands[1], &patch);
    if (status == EXIT_DONE) {
        status = write_item(invocation, pgnear_merge, &patch);
    }
    buffer_deinit(&patch);
    return status;
}

// The time to live of `touch`: an operand, "none" for none, or --expires-at instead of one.
static bool read_touch(const struct invocation *invocation, pgnear_write_options *options,
                       int64_t *ttl_ms)
{
    const char *operand = invocation->operands_count == 2 ? invocation->operands[1] : NULL;
    *ttl_ms = -1;
    if (!read_write_options(invocation, options)) {
        return false;
    }
    if ((operand == NULL) != options->has_expires_at) {
        complain_usage("touch takes a key and TIME, none, or --expires-at TIME");
        return false;
    }
    return operand == NULL || strcmp(operand, "none") == 0 || read_ttl(operand, ttl_ms);
}

enum exit_status run_touch(struct invocation *invocation)
{
    pgnear_write_options options = PGNEAR_WRITE_OPTIONS_INIT;
    int64_t ttl_ms;
    if (!read_touch(invocation, &options, &ttl_ms)) {
        return EXIT_USAGE;
    }
    enum exit_status status;
    if (!command_connect(invocation, &status)) {
        return status;
    }
    bool existed;
    pgnear_error error;
    if (pgnear_touch(invocation->node, pgnear_text(invocation->operands[0]), ttl_ms, &options,
                     &existed, &error) != PGNEAR_OK) {
        return complain_of_call(&error);
    }
    if (!existed) {
        return EXIT_ABSENT;
    }
    struct document document;
    document_init(&document);
    msgpack_pack_true(&document.packer);
    return document_print(&document, invocation);
}
