// Reading MessagePack (github.com/msgpack/msgpack, spec.md) out of bytes in memory: a cursor that
// hands out one token at a time, checks every length against what is there, never allocates and
// never recurses. Writing is msgpack-c's packer, aimed at a buffer.
//
// msgpack-c's own unpacker nests 32 levels at most and allocates an object tree for each message;
// a value here nests 128 and stays where it is. See docs/decisions/0001-msgpack-reader.md.
#pragma once

#include <endian.h>
#include <string.h>

#include <msgpack/pack.h>

#include "base/buffer.h"
#include "base/error.h"

// The answer of every decoder. NEED_MORE: a prefix of something valid. BAD: never valid.
enum MUST_CHECK decode { DECODE_OK, DECODE_NEED_MORE, DECODE_BAD };

enum mpack_type {
    MPACK_NIL,
    MPACK_BOOL,
    MPACK_UINT, // integers >= 0, however they were encoded
    MPACK_INT,  // integers < 0
    MPACK_FLOAT,
    MPACK_STR,
    MPACK_BIN,
    MPACK_EXT,
    MPACK_ARRAY,
    MPACK_MAP
};

struct mpack_token {
    enum mpack_type type;
    int8_t ext_type;
    union {
        bool boolean;
        uint64_t uint;
        int64_t sint;
        double real;
        uint32_t count;    // ARRAY: elements that follow; MAP: pairs that follow
        struct slice body; // STR, BIN, EXT: points into the input
    };
};

struct mpack_cursor {
    const uint8_t *at;
    const uint8_t *end;
};

static inline struct mpack_cursor mpack_cursor_of(struct slice slice)
{
    // An empty slice may be at NULL, which no offset may be added to.
    return (struct mpack_cursor){.at = slice.at,
                                 .end = slice.len == 0 ? slice.at : slice.at + slice.len};
}

// The next token. The cursor moves on OK only.
enum decode mpack_next(struct mpack_cursor *cursor, struct mpack_token *token);

// Steps over one whole value, and hands out its bytes where `value` is not NULL. Moves on OK only.
enum decode mpack_skip(struct mpack_cursor *cursor, struct slice *value);

// Finding the end of a value whose bytes arrive in pieces, each byte looked at once: `scanned` is
// how far the scan came, `missing` how many values are still to come. Start from all zeroes.
struct mpack_scan {
    size_t scanned;
    uint64_t missing;
    bool started;
};

// `bytes` starts where the value starts and grows from call to call. OK: the value ends at
// scan->scanned. Only the structure is checked.
enum decode mpack_scan_more(struct mpack_scan *scan, struct slice bytes);

// Readers of a value whose kind is already known to be required; false where it is another kind,
// out of range or cut off. The cursor moves on success only.
bool mpack_read_nil(struct mpack_cursor *cursor);
bool mpack_read_bool(struct mpack_cursor *cursor, bool *value);
bool mpack_read_uint(struct mpack_cursor *cursor, uint64_t *value);
bool mpack_read_int(struct mpack_cursor *cursor, int64_t *value);
bool mpack_read_str(struct mpack_cursor *cursor, struct slice *value);
bool mpack_read_array(struct mpack_cursor *cursor, uint32_t *count);
bool mpack_read_map(struct mpack_cursor *cursor, uint32_t *count);

// Writing by hand where every nanosecond counts: in the shortest form, as msgpack-c's packer has
// it. Each returns where what it wrote ends, and may write MPACK_INT_BYTES_MAX bytes, of which
// fewer count.
enum { MPACK_INT_BYTES_MAX = 9 };

static inline uint8_t *mpack_put_nil(uint8_t *at)
{
    *at = 0xc0;
    return at + 1;
}

// The heads of an array of `count` elements and of a map of `count` pairs, at most 15.
static inline uint8_t *mpack_put_array(uint8_t *at, unsigned count)
{
    *at = (uint8_t)(0x90 | count);
    return at + 1;
}

static inline uint8_t *mpack_put_map(uint8_t *at, unsigned count)
{
    *at = (uint8_t)(0x80 | count);
    return at + 1;
}

// `first` and the lowest 1, 2, 4 or 8 bytes of the number, by its `power` of two.
static inline uint8_t *mpack_put_wide(uint8_t *at, int first, int power, uint64_t number)
{
    int bytes = 1 << power;
    uint64_t big_endian = htobe64(number << (64 - 8 * bytes));
    *at++ = (uint8_t)(first + power);
    memcpy(at, &big_endian, sizeof big_endian);
    return at + bytes;
}

static inline uint8_t *mpack_put_uint(uint8_t *at, uint64_t number)
{
    if (number < 0x80) {
        *at = (uint8_t)number;
        return at + 1;
    }
    int power = number <= UINT8_MAX ? 0 : number <= UINT16_MAX ? 1 : number <= UINT32_MAX ? 2 : 3;
    return mpack_put_wide(at, 0xcc, power, number);
}

static inline uint8_t *mpack_put_int(uint8_t *at, int64_t number)
{
    if (number >= 0) {
        return mpack_put_uint(at, (uint64_t)number);
    }
    if (number >= -0x20) {
        *at = (uint8_t)number;
        return at + 1;
    }
    int power = number >= INT8_MIN ? 0 : number >= INT16_MIN ? 1 : number >= INT32_MIN ? 2 : 3;
    return mpack_put_wide(at, 0xd0, power, (uint64_t)number);
}

// Aims msgpack-c's packer at the end of `out`.
void mpack_packer_init(msgpack_packer *packer, struct buffer *out);
void mpack_pack_slice(msgpack_packer *packer, struct slice text);  // as str
void mpack_pack_string(msgpack_packer *packer, const char *text);  // as str
void mpack_pack_raw(msgpack_packer *packer, struct slice msgpack); // already MessagePack
