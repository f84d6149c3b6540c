// backup, backups, restore, cleanup_backups. Without a timeout, those that do something in
// PostgreSQL take as long as it takes there, and so does the library's patience.

#include "client/exchange.h"
#include "client/options.h"
#include "client/results.h"

static struct exchange patient(const pgnear *handle, int64_t timeout_ms)
{
    bool is_limited = timeout_ms > 0 || handle->timeout_ms > 0;
    return (struct exchange){
        .writes = true,
        .timeout_ms = is_limited ? timeout_ms : TIMEOUT_MAX_MS,
    };
}

pgnear_code pgnear_backup(pgnear *handle, const pgnear_call_options *options,
                          pgnear_backup_item *backup, pgnear_error *error)
{
    pgnear_call_options own;
    pgnear_code code = options_take(&own, sizeof own, options, error);
    if (code != PGNEAR_OK) {
        return code;
    }
    exchange_begin(handle, "backup", 1);
    opts_pack_timeout(handle, own.timeout_ms);
    struct mpack_cursor result;
    const struct exchange exchange = patient(handle, own.timeout_ms);
    code = exchange_run(handle, &exchange, &result, error);
    if (code == PGNEAR_OK && !result_backup(&result, backup)) {
        code = result_garbled("backup", error);
    }
    return code;
}

pgnear_code pgnear_backups(pgnear *handle, const pgnear_call_options *options,
                           const pgnear_backup_item **backups, size_t *count, pgnear_error *error)
{
    pgnear_call_options own;
    pgnear_code code = options_take(&own, sizeof own, options, error);
    if (code != PGNEAR_OK) {
        return code;
    }
    exchange_begin(handle, "backups", 1);
    opts_pack_timeout(handle, own.timeout_ms);
    struct mpack_cursor result;
    code = exchange_run(handle, &(struct exchange){.timeout_ms = own.timeout_ms}, &result, error);
    if (code == PGNEAR_OK && !result_backups(handle, &result, backups, count)) {
        code = result_garbled("backups", error);
    }
    return code;
}

pgnear_code pgnear_restore(pgnear *handle, pgnear_bytes table,
                           const pgnear_restore_options *options, uint64_t *rows,
                           pgnear_error *error)
{
    pgnear_restore_options own;
    pgnear_code code = options_take(&own, sizeof own, options, error);
    if (code != PGNEAR_OK) {
        return code;
    }
    mpack_pack_slice(exchange_begin(handle, "restore", 2), slice_of_bytes(table));
    struct opts opts;
    opts_init(&opts, handle, own.timeout_ms);
    opts_add_text(&opts, "mode", slice_of_string(own.replace ? "replace" : "merge"));
    opts_pack(&opts);
    struct mpack_cursor result;
    const struct exchange exchange = patient(handle, own.timeout_ms);
    code = exchange_run(handle, &exchange, &result, error);
    if (code != PGNEAR_OK) {
        return code;
    }
    pgnear_backup_item answered;
    if (!result_backup(&result, &answered)) {
        return result_garbled("restore", error);
    }
    if (rows != NULL) {
        *rows = answered.rows;
    }
    return PGNEAR_OK;
}

pgnear_code pgnear_cleanup_backups(pgnear *handle, uint32_t days,
                                   const pgnear_call_options *options, const pgnear_bytes **names,
                                   size_t *count, pgnear_error *error)
{
    pgnear_call_options own;
    pgnear_code code = options_take(&own, sizeof own, options, error);
    if (code != PGNEAR_OK) {
        return code;
    }
    msgpack_pack_uint32(exchange_begin(handle, "cleanup_backups", 2), days);
    opts_pack_timeout(handle, own.timeout_ms);
    struct mpack_cursor result;
    const struct exchange exchange = patient(handle, own.timeout_ms);
    code = exchange_run(handle, &exchange, &result, error);
    if (code == PGNEAR_OK && !result_texts(handle, &result, names, count)) {
        code = result_garbled("cleanup_backups", error);
    }
    return code;
}
