// Options: the structures of pgnear.h, which grow from release to release, and the map that they
// become on the wire.
#pragma once

#include "client/handle.h"

// The age that a get asks for, as far as it is a number of microseconds.
static inline int64_t get_max_age_ms(const pgnear_get_options *options)
{
    static const int64_t MS_MAX = INT64_MAX / 1000;
    return options->max_age_ms < MS_MAX ? options->max_age_ms : MS_MAX;
}

// Copies the caller's options, whose first member is their size, into `own`, a structure of this
// release of `own_size` bytes; NULL gives all defaults. PGNEAR_BAD_REQUEST where they are not
// initialized, or set what this release does not know.
pgnear_code options_take(void *own, size_t own_size, const void *given, pgnear_error *error);

// The map of options of one request, collected in the handle's buffer.
struct opts {
    pgnear *handle;
    msgpack_packer packer;
    uint32_t count;
};

// Begins an empty map, or one with timeout_ms where the call or the handle sets it.
void opts_init(struct opts *opts, pgnear *handle, int64_t timeout_ms);

void opts_add_int(struct opts *opts, const char *name, int64_t value);
void opts_add_uint(struct opts *opts, const char *name, uint64_t value);
void opts_add_true(struct opts *opts, const char *name);
void opts_add_text(struct opts *opts, const char *name, struct slice value);

// Adds all that a get, or a write, may set.
void opts_add_get(struct opts *opts, const pgnear_get_options *options);
void opts_add_write(struct opts *opts, const pgnear_write_options *options);

// Packs the map as the last parameter of the handle's request.
void opts_pack(const struct opts *opts);

// The whole map of a method whose only option is timeout_ms.
void opts_pack_timeout(pgnear *handle, int64_t timeout_ms);
