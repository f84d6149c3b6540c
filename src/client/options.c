// A program compiled against a later pgnear.h than this library has a larger structure: what it
// adds must be zero, which means the default, or we would silently not do what was asked for.

#include "client/options.h"

pgnear_code options_take(void *own, size_t own_size, const void *given, pgnear_error *error)
{
    memset(own, 0, own_size);
    if (given == NULL) {
        return PGNEAR_OK;
    }
    size_t size;
    memcpy(&size, given, sizeof size);
    if (size < sizeof size) {
        return outcome_set(error, PGNEAR_BAD_REQUEST,
                           "the options are not initialized: start from PGNEAR_..._OPTIONS_INIT");
    }
    const uint8_t *bytes = given;
    for (size_t i = own_size; i < size; i++) {
        if (bytes[i] != 0) {
            return outcome_set(error, PGNEAR_BAD_REQUEST,
                               "the options set what libpgnear %s does not know", PGNEAR_VERSION);
        }
    }
    memcpy(own, given, size < own_size ? size : own_size);
    return PGNEAR_OK;
}

void opts_init(struct opts *opts, pgnear *handle, int64_t timeout_ms)
{
    enum { KEEP_BYTES_MAX = 4096 };
    *opts = (struct opts){.handle = handle};
    buffer_clear(&handle->opts, KEEP_BYTES_MAX);
    mpack_packer_init(&opts->packer, &handle->opts);
    timeout_ms = timeout_ms > 0 ? timeout_ms : handle->timeout_ms;
    if (timeout_ms > 0) {
        opts_add_int(opts, "timeout_ms",
                     timeout_ms < TIMEOUT_MAX_MS ? timeout_ms : (int64_t)TIMEOUT_MAX_MS);
    }
}

static void add_name(struct opts *opts, const char *name)
{
    mpack_pack_string(&opts->packer, name);
    opts->count++;
}

void opts_add_int(struct opts *opts, const char *name, int64_t value)
{
    add_name(opts, name);
    msgpack_pack_int64(&opts->packer, value);
}

void opts_add_uint(struct opts *opts, const char *name, uint64_t value)
{
    add_name(opts, name);
    msgpack_pack_uint64(&opts->packer, value);
}

void opts_add_true(struct opts *opts, const char *name)
{
    add_name(opts, name);
    msgpack_pack_true(&opts->packer);
}

void opts_add_text(struct opts *opts, const char *name, struct slice value)
{
    add_name(opts, name);
    mpack_pack_slice(&opts->packer, value);
}

void opts_add_get(struct opts *opts, const pgnear_get_options *options)
{
    if (options->fresh) {
        opts_add_true(opts, "fresh");
    }
    if (options->has_max_age) {
        // The node refuses what is no number of microseconds; a direct read does not.
        opts_add_int(opts, "max_age_ms", get_max_age_ms(options));
    }
    if (options->has_min_version) {
        opts_add_int(opts, "min_version", options->min_version);
    }
    if (options->has_at_version) {
        opts_add_int(opts, "at_version", options->at_version);
    }
}

void opts_add_write(struct opts *opts, const pgnear_write_options *options)
{
    static const char *const ACKS[] = {NULL, "memory", "journal", "postgres"};
    if (options->id.len > 0) {
        opts_add_text(opts, "id", slice_of_bytes(options->id));
    }
    if (options->ack > PGNEAR_ACK_DEFAULT && options->ack <= PGNEAR_ACK_POSTGRES) {
        opts_add_text(opts, "ack", slice_of_string(ACKS[options->ack]));
    } else if (options->ack != PGNEAR_ACK_DEFAULT) {
        opts_add_int(opts, "ack", (int64_t)options->ack); // the node says what is wrong with it
    }
    if (options->has_ttl) {
        opts_add_int(opts, "ttl_ms", options->ttl_ms);
    }
    if (options->has_expires_at) {
        opts_add_int(opts, "expires_at_us", options->expires_at_us);
    }
    if (options->has_if_version) {
        opts_add_int(opts, "if_version", options->if_version);
    }
    if (options->if_absent) {
        opts_add_true(opts, "if_absent");
    }
}

void opts_pack(const struct opts *opts)
{
    msgpack_packer *packer = &opts->handle->packer;
    msgpack_pack_map(packer, opts->count);
    mpack_pack_raw(packer, buffer_slice(&opts->handle->opts));
}

void opts_pack_timeout(pgnear *handle, int64_t timeout_ms)
{
    struct opts opts;
    opts_init(&opts, handle, timeout_ms);
    opts_pack(&opts);
}
