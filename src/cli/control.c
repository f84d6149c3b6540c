// flush, sync, invalidate, ping.

#include "cli/output.h"

enum exit_status run_flush(struct invocation *invocation)
{
    enum exit_status status;
    if (!command_connect(invocation, &status)) {
        return status;
    }
    uint64_t seq;
    pgnear_error error;
    if (pgnear_flush(invocation->node, 0, NULL, &seq, &error) != PGNEAR_OK) {
        return complain_of_call(&error);
    }
    struct document document;
    document_init(&document);
    msgpack_pack_map(&document.packer, 1);
    mpack_pack_string(&document.packer, "seq");
    msgpack_pack_uint64(&document.packer, seq);
    return document_print(&document, invocation);
}

enum exit_status run_sync(struct invocation *invocation)
{
    enum exit_status status;
    if (!command_connect(invocation, &status)) {
        return status;
    }
    pgnear_error error;
    if (pgnear_sync(invocation->node, NULL, &error) != PGNEAR_OK) {
        return complain_of_call(&error);
    }
    struct document document;
    document_init(&document);
    msgpack_pack_true(&document.packer);
    return document_print(&document, invocation);
}

enum exit_status run_invalidate(struct invocation *invocation)
{
    pgnear_bytes key = {0};
    if (invocation->operands_count == 1) {
        key = pgnear_text(invocation->operands[0]);
        if (key.len == 0) {
            return complain_usage("a key is not empty; without one, all are dropped");
        }
    }
    enum exit_status status;
    if (!command_connect(invocation, &status)) {
        return status;
    }
    uint64_t dropped;
    pgnear_error error;
    if (pgnear_invalidate(invocation->node, key, NULL, &dropped, &error) != PGNEAR_OK) {
        return complain_of_call(&error);
    }
    struct document document;
    document_init(&document);
    msgpack_pack_uint64(&document.packer, dropped);
    return document_print(&document, invocation);
}

enum exit_status run_ping(struct invocation *invocation)
{
    enum exit_status status;
    if (!command_connect(invocation, &status)) {
        return status;
    }
    pgnear_error error;
    if (pgnear_ping(invocation->node, NULL, &error) != PGNEAR_OK) {
        return complain_of_call(&error);
    }
    struct document document;
    document_init(&document);
    mpack_pack_string(&document.packer, "pong");
    return document_print(&document, invocation);
}
