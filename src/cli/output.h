// JSON on standard output: one document a line, or pretty.
#pragma once

#include "base/mpack.h"
#include "cli/command.h"

// A document while it is made: pack into `packer`, then document_print.
struct document {
    struct buffer bytes;
    msgpack_packer packer;
};

void document_init(struct document *document);
// Prints it as --pretty says and frees it. EXIT_DONE, or EXIT_REFUSED with the reason said.
enum exit_status document_print(struct document *document, const struct invocation *invocation);

// Prints bytes that are MessagePack already.
enum exit_status print_msgpack(pgnear_bytes msgpack, const struct invocation *invocation);

void document_pack_bytes(struct document *document, pgnear_bytes text);
// A version, or nil where there is none.
void document_pack_version(struct document *document, bool has_version, int64_t version);
