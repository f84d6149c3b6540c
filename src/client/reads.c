// ttl, scan, all: reads that ask the node.

#include "client/exchange.h"
#include "client/options.h"
#include "client/results.h"

pgnear_code pgnear_ttl(pgnear *handle, pgnear_bytes key, const pgnear_call_options *options,
                       int64_t *ttl_ms, pgnear_error *error)
{
    pgnear_call_options own;
    pgnear_code code = options_take(&own, sizeof own, options, error);
    if (code != PGNEAR_OK) {
        return code;
    }
    msgpack_packer *packer = exchange_begin(handle, "ttl", 2);
    mpack_pack_slice(packer, slice_of_bytes(key));
    opts_pack_timeout(handle, own.timeout_ms);
    struct mpack_cursor result;
    code = exchange_run(handle, &(struct exchange){.timeout_ms = own.timeout_ms}, &result, error);
    if (code != PGNEAR_OK) {
        return code;
    }
    int64_t answered = -1;
    if (!mpack_read_nil(&result) && (!mpack_read_int(&result, &answered) || answered < 0)) {
        return result_garbled("ttl", error);
    }
    if (ttl_ms != NULL) {
        *ttl_ms = answered;
    }
    return PGNEAR_OK;
}

pgnear_code pgnear_history(pgnear *handle, pgnear_bytes key, const pgnear_history_options *options,
                           const pgnear_revision **revisions, size_t *count, pgnear_error *error)
{
    pgnear_history_options own;
    pgnear_code code = options_take(&own, sizeof own, options, error);
    if (code != PGNEAR_OK) {
        return code;
    }
    msgpack_packer *packer = exchange_begin(handle, "history", 2);
    mpack_pack_slice(packer, slice_of_bytes(key));
    struct opts opts;
    opts_init(&opts, handle, own.timeout_ms);
    if (own.has_before) {
        opts_add_int(&opts, "before", own.before);
    }
    if (own.limit > 0) {
        opts_add_uint(&opts, "limit", own.limit);
    }
    opts_pack(&opts);
    struct mpack_cursor result;
    code = exchange_run(handle, &(struct exchange){.timeout_ms = own.timeout_ms}, &result, error);
    if (code == PGNEAR_OK && !result_history(handle, &result, revisions, count)) {
        code = result_garbled("history", error);
    }
    return code;
}

// Sends a request for a page, which is complete, and reads the answer.
static pgnear_code ask_for_page(pgnear *handle, const char *method, int64_t timeout_ms,
                                pgnear_page *page, pgnear_error *error)
{
    struct mpack_cursor result;
    pgnear_code code =
        exchange_run(handle, &(struct exchange){.timeout_ms = timeout_ms}, &result, error);
    if (code == PGNEAR_OK && !result_page(handle, &result, page)) {
        code = result_garbled(method, error);
    }
    return code;
}

pgnear_code pgnear_scan(pgnear *handle, const pgnear_scan_options *options, pgnear_page *page,
                        pgnear_error *error)
{
    pgnear_scan_options own;
    pgnear_code code = options_take(&own, sizeof own, options, error);
    if (code != PGNEAR_OK) {
        return code;
    }
    exchange_begin(handle, "scan", 1);
    struct opts opts;
    opts_init(&opts, handle, own.timeout_ms);
    if (own.prefix.len > 0) {
        opts_add_text(&opts, "prefix", slice_of_bytes(own.prefix));
    }
    if (own.after.len > 0) {
        opts_add_text(&opts, "after", slice_of_bytes(own.after));
    }
    if (own.limit > 0) {
        opts_add_uint(&opts, "limit", own.limit);
    }
    if (own.expires) {
        opts_add_true(&opts, "expires");
    }
    opts_pack(&opts);
    return ask_for_page(handle, "scan", own.timeout_ms, page, error);
}

pgnear_code pgnear_all(pgnear *handle, pgnear_bytes prefix, const pgnear_call_options *options,
                       pgnear_page *page, pgnear_error *error)
{
    pgnear_call_options own;
    pgnear_code code = options_take(&own, sizeof own, options, error);
    if (code != PGNEAR_OK) {
        return code;
    }
    exchange_begin(handle, "all", 1);
    struct opts opts;
    opts_init(&opts, handle, own.timeout_ms);
    if (prefix.len > 0) {
        opts_add_text(&opts, "prefix", slice_of_bytes(prefix));
    }
    opts_pack(&opts);
    return ask_for_page(handle, "all", own.timeout_ms, page, error);
}
