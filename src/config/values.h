// Values of the file, or defaults of the table, into the settings: each type of key with its
// checks. A value out of range, of another type, or of a key that is not available yet is refused
// with what would have been right. Part of config_load.
#pragma once

#include "config/reading.h"
#include "config/toml.h"

// Stores what the file says at `row`.
enum error values_store(struct reading *reading, const struct key_row *row,
                        const struct toml_value *value);
// The default of a row as if the file had said it.
enum error values_store_default(struct reading *reading, const struct key_row *row);
