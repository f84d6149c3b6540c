// The limits of what is asked and answered, which more than one part of the tree has to know; a
// node may set `server.max_value` besides. docs/protocol.md names them.
#pragma once

enum {
    KEY_BYTES_MAX = 511,
    KEYS_MAX = 10000, // of one mget, mset or delete
    REQUEST_ID_BYTES_MAX = 64,
    SCAN_ITEMS_MAX = 1000,
    SCAN_BYTES_MAX = 8 << 20,
    TABLE_NAME_BYTES_MAX = 63,
};
