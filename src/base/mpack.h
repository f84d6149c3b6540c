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

// The answer of every decoder. NEED_MORE: a prefix of something valid. BAD: never valid.
enum decode { DECODE_OK, DECODE_NEED_MORE, DECODE_BAD };

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

// The shortest form of a number, as msgpack-c has it; where it ends. May write MPACK_UINT_BYTES_MAX
// bytes, of which fewer count.
enum { MPACK_UINT_BYTES_MAX = 9 };

static inline uint8_t *mpack_put_uint(uint8_t *at, uint64_t number)
{
    if (number < 0x80) {
        *at = (uint8_t)number;
        return at + 1;
    }
    int power = number <= UINT8_MAX ? 0 : number <= UINT16_MAX ? 1 : number <= UINT32_MAX ? 2 : 3;
    int bytes = 1 << power;
    uint64_t big_endian = htobe64(number << (64 - 8 * bytes));
    *at++ = (uint8_t)(0xcc + power);
    memcpy(at, &big_endian, sizeof big_endian);
    return at + bytes;
}

// Aims msgpack-c's packer at the end of `out`.
void mpack_packer_init(msgpack_packer *packer, struct buffer *out);
void mpack_pack_slice(msgpack_packer *packer, struct slice text);  // as str
void mpack_pack_string(msgpack_packer *packer, const char *text);  // as str
void mpack_pack_raw(msgpack_packer *packer, struct slice msgpack); // already MessagePack
