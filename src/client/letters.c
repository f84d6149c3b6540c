// dead_letters, retry_dead_letter, discard_dead_letter.

#include "client/exchange.h"
#include "client/options.h"
#include "client/results.h"

pgnear_code pgnear_dead_letters(pgnear *handle, const pgnear_dead_letters_options *options,
                                const pgnear_dead_letter **letters, size_t *count,
                                pgnear_error *error)
{
    pgnear_dead_letters_options own;
    pgnear_code code = options_take(&own, sizeof own, options, error);
    if (code != PGNEAR_OK) {
        return code;
    }
    exchange_begin(handle, "dead_letters", 1);
    struct opts opts;
    opts_init(&opts, handle, own.timeout_ms);
    if (own.after_seq > 0) {
        opts_add_uint(&opts, "after_seq", own.after_seq);
    }
    if (own.limit > 0) {
        opts_add_uint(&opts, "limit", own.limit);
    }
    opts_pack(&opts);
    struct mpack_cursor result;
    code = exchange_run(handle, &(struct exchange){.timeout_ms = own.timeout_ms}, &result, error);
    if (code == PGNEAR_OK && !result_letters(handle, &result, letters, count)) {
        code = result_garbled("dead_letters", error);
    }
    return code;
}

pgnear_code pgnear_retry_dead_letter(pgnear *handle, uint64_t seq, bool force,
                                     const pgnear_write_options *options, pgnear_written *written,
                                     pgnear_error *error)
{
    pgnear_write_options own;
    pgnear_code code = options_take(&own, sizeof own, options, error);
    if (code != PGNEAR_OK) {
        return code;
    }
    msgpack_pack_uint64(exchange_begin(handle, "retry_dead_letter", 2), seq);
    struct opts opts;
    opts_init(&opts, handle, own.timeout_ms);
    opts_add_write(&opts, &own);
    if (force) {
        opts_add_true(&opts, "force");
    }
    opts_pack(&opts);
    const struct exchange exchange = {
        .writes = true, .has_id = own.id.len > 0, .timeout_ms = own.timeout_ms};
    struct mpack_cursor result;
    code = exchange_run(handle, &exchange, &result, error);
    if (code == PGNEAR_OK && !result_written(&result, written)) {
        code = result_garbled("retry_dead_letter", error);
    }
    return code;
}

pgnear_code pgnear_discard_dead_letter(pgnear *handle, uint64_t seq,
                                       const pgnear_call_options *options, bool *existed,
                                       pgnear_error *error)
{
    pgnear_call_options own;
    pgnear_code code = options_take(&own, sizeof own, options, error);
    if (code != PGNEAR_OK) {
        return code;
    }
    msgpack_pack_uint64(exchange_begin(handle, "discard_dead_letter", 2), seq);
    opts_pack_timeout(handle, own.timeout_ms);
    struct mpack_cursor result;
    code = exchange_run(handle, &(struct exchange){.timeout_ms = own.timeout_ms}, &result, error);
    if (code == PGNEAR_OK && !result_flag(&result, existed)) {
        code = result_garbled("discard_dead_letter", error);
    }
    return code;
}
