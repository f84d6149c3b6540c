// A write to a closed pipe or a full disk is found when standard output is flushed, by main.

#include "cli/output.h"

#include <stdio.h>

#include "json/json.h"

void document_init(struct document *document)
{
    document->bytes = (struct buffer){0};
    mpack_packer_init(&document->packer, &document->bytes);
}

void document_pack_bytes(struct document *document, pgnear_bytes text)
{
    mpack_pack_slice(&document->packer, slice_of(text.at, text.len));
}

void document_pack_version(struct document *document, bool has_version, int64_t version)
{
    if (has_version) {
        msgpack_pack_int64(&document->packer, version);
    } else {
        msgpack_pack_nil(&document->packer);
    }
}

enum exit_status print_msgpack(pgnear_bytes msgpack, const struct invocation *invocation)
{
    struct buffer text = {0};
    struct failure failure = {0};
    bool pretty = option_is_given(invocation, OPTION_PRETTY);
    if (json_from_msgpack(slice_of(msgpack.at, msgpack.len), pretty, &text, &failure) !=
        ERROR_NONE) {
        buffer_deinit(&text);
        return complain(EXIT_REFUSED, "the node sent what is not JSON: %s", failure.message);
    }
    buffer_append(&text, "\n", 1);
    struct slice line = buffer_slice(&text);
    fwrite(line.at, 1, line.len, stdout);
    buffer_deinit(&text);
    return EXIT_DONE;
}

enum exit_status document_print(struct document *document, const struct invocation *invocation)
{
    struct slice bytes = buffer_slice(&document->bytes);
    enum exit_status status =
        print_msgpack((pgnear_bytes){.at = bytes.at, .len = bytes.len}, invocation);
    buffer_deinit(&document->bytes);
    return status;
}
