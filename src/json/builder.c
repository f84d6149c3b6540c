// Builds the canonical MessagePack of one value. A container's header is written when it is opened,
// at the width that the reader's hint calls for, and put right when it is closed, which moves its
// content only where the width was guessed wrong. An object is put in order when it is closed, and
// only if its keys did not come in order: jsonb's text has them sorted.
//
//      levels:   [ ...           { ...            [ ...
//      out:      H element ... H key value ... key H element      (H: header)
//      pairs:                    ^           ^
//
// Invariant: the value so far is from `begin` to `end`, in the room that `out` has behind its
// origin, and `stop` is where to look for more room; offsets count from `begin`, since the buffer
// may move. Whatever is moved lies behind every offset that is still in use.
#include "json/builder.h"

#include <msgpack/pack.h>

#include "base/check.h"
#include "base/memory.h"

enum {
    ROOM_BEHIND = 32,    // for headers and numbers, and what pair_rank reads
    FIXED_STRING = 0xa0, // the first byte of a short one
    FIXED_LEN_MAX = 31,
    FIXED_UINT_MAX = 127,
    FIXED_COUNT_MAX = 15,
    PAIRS_BYTES_MIN = 1000, // as much as malloc has at hand
    SCRATCH_BYTES_MIN = 1000,

    EXPANDED_PER_VALUE_BYTE = 8,
    EXPANDED_BYTES_MIN = 256 * 1024 // room for one number of whatever length
};

_Static_assert((int)EVENTS_DEPTH_MAX == (int)JSON_DEPTH_MAX, "one limit, told to C++ as well");

static const char TOO_DEEP[] = "nested more than 128 deep";
static const char TOO_LARGE[] = "larger than a value may be (server.max_value)";
static const char TOO_EXPANDED[] = "its numbers are too long when printed in full";

// Where the value is, now that the buffer may have moved or grown: there is room for ROOM_BEHIND at
// least.
static void look_at_buffer(struct builder *builder, size_t len)
{
    struct buffer *out = builder->out;
    uint64_t within_bytes = 2 * (uint64_t)builder->value_bytes_max;
    size_t room_bytes = out->capacity - out->start - builder->origin - ROOM_BEHIND;
    builder->begin = out->bytes + out->start + builder->origin;
    builder->end = builder->begin + len;
    builder->stop = builder->begin + (room_bytes < within_bytes ? room_bytes : within_bytes);
}

void builder_init(struct builder *builder, const struct json_limits *limits, struct buffer *out)
{
    uint64_t expanded_bytes_max = (uint64_t)limits->value_bytes_max * EXPANDED_PER_VALUE_BYTE;
    builder->out = out;
    builder->origin = buffer_len(out);
    builder->expanded_bytes = 0;
    builder->expanded_bytes_max =
        expanded_bytes_max > EXPANDED_BYTES_MIN ? expanded_bytes_max : EXPANDED_BYTES_MIN;
    builder->value_bytes_max = limits->value_bytes_max;
    builder->pairs = (struct buffer){0};
    builder->scratch = (struct buffer){0};
    builder->level = builder->levels;
    builder->levels[0] = (struct builder_level){0};
    builder->complaint = (struct complaint){0};
    buffer_reserve(out, ROOM_BEHIND);
    look_at_buffer(builder, 0);
}

void builder_deinit(struct builder *builder)
{
    buffer_deinit(&builder->pairs);
    buffer_deinit(&builder->scratch);
}

static bool refuse(struct builder *builder, enum error error, const char *reason)
{
    return complain(&builder->complaint, error, reason, 0);
}

static inline uint32_t offset_now(const struct builder *builder)
{
    return (uint32_t)(builder->end - builder->begin);
}

static inline uint8_t *at_offset(const struct builder *builder, uint32_t offset)
{
    return builder->begin + offset;
}

static inline struct pair *pairs_of(const struct builder *builder,
                                    const struct builder_level *level)
{
    return (struct pair *)(void *)builder->pairs.bytes + level->first_pair;
}

static void reserve(struct builder *builder, size_t len)
{
    size_t built = offset_now(builder);
    buffer_commit(builder->out, built);
    buffer_reserve(builder->out, len + ROOM_BEHIND);
    builder->out->end -= built;
    look_at_buffer(builder, built);
}

// Makes room for `len` bytes where so many are within bounds. Duplicate keys may yet be dropped, so
// that what is built may grow to twice what may remain of it.
static bool grow(struct builder *builder, size_t len)
{
    if (len > builder->value_bytes_max ||
        offset_now(builder) + len > 2 * (uint64_t)builder->value_bytes_max) {
        return refuse(builder, ERROR_TOO_LARGE, TOO_LARGE);
    }
    reserve(builder, len);
    return true;
}

// Headers may have taken the end beyond the stop.
static inline bool has_room(struct builder *builder, size_t len)
{
    return (ptrdiff_t)len <= builder->stop - builder->end || grow(builder, len);
}

// Admits a value of at least `len` bytes to the array or object around it.
static inline bool admit(struct builder *builder, size_t len)
{
    builder->level->count++;
    return has_room(builder, len);
}

static inline void append(struct builder *builder, const void *bytes, size_t len)
{
    memcpy(builder->end, bytes, len);
    builder->end += len;
}

static inline int on_packed(void *builder, const char *bytes, size_t len)
{
    append(builder, bytes, len);
    return 0;
}

// As mpack_packer_init, but in sight of the compiler, which then sees through msgpack-c's packer.
static inline msgpack_packer packer_of(struct builder *builder)
{
    msgpack_packer packer;
    msgpack_packer_init(&packer, builder, on_packed);
    return packer;
}

bool builder_null(struct builder *builder)
{
    if (!admit(builder, 1)) {
        return false;
    }
    msgpack_packer packer = packer_of(builder);
    msgpack_pack_nil(&packer);
    return true;
}

bool builder_bool(struct builder *builder, bool value)
{
    if (!admit(builder, 1)) {
        return false;
    }
    msgpack_packer packer = packer_of(builder);
    if (value) {
        msgpack_pack_true(&packer);
    } else {
        msgpack_pack_false(&packer);
    }
    return true;
}

static bool pack_decimal(struct builder *builder, msgpack_packer *packer,
                         const struct number *number)
{
    buffer_clear(&builder->scratch, SIZE_MAX);
    number_print(number, &builder->scratch);
    struct slice text = buffer_slice(&builder->scratch);
    if (!has_room(builder, text.len)) {
        return false;
    }
    msgpack_pack_ext(packer, text.len, JSON_EXT_DECIMAL);
    msgpack_pack_ext_body(packer, text.at, text.len);
    return true;
}

bool builder_uint(struct builder *builder, uint64_t uint)
{
    if (!admit(builder, 1)) {
        return false;
    }
    if (uint <= FIXED_UINT_MAX) {
        *builder->end++ = (uint8_t)uint;
        return true;
    }
    msgpack_packer packer = packer_of(builder);
    msgpack_pack_uint64(&packer, uint);
    return true;
}

bool builder_number(struct builder *builder, const struct number *number)
{
    if (!admit(builder, 1)) {
        return false;
    }
    builder->expanded_bytes += number->expanded_bytes;
    if (builder->expanded_bytes > builder->expanded_bytes_max) {
        return refuse(builder, ERROR_TOO_LARGE, TOO_EXPANDED);
    }
    msgpack_packer packer = packer_of(builder);
    switch (number->kind) {
    case NUMBER_UINT:
        msgpack_pack_uint64(&packer, number->uint);
        break;
    case NUMBER_INT:
        msgpack_pack_int64(&packer, number->sint);
        break;
    case NUMBER_REAL:
        msgpack_pack_double(&packer, number->real);
        break;
    case NUMBER_DECIMAL:
        return pack_decimal(builder, &packer, number);
    }
    return true;
}

bool builder_number_text(struct builder *builder, const void *text, size_t len)
{
    struct number number;
    const char *wrong = number_from_text(slice_of(text, len), &number);
    if (wrong != NULL) {
        return refuse(builder, ERROR_INVALID_VALUE, wrong);
    }
    return builder_number(builder, &number);
}

// A call of memcpy is dearer than such a copy. Two of a constant size, which may overlap.
static inline void copy_short(uint8_t *to, const uint8_t *from, size_t len)
{
    enum { WIDE = 16, WORD = 8, HALF = 4 };
    if (len >= WIDE) {
        memcpy(to, from, WIDE);
        memcpy(to + len - WIDE, from + len - WIDE, WIDE);
    } else if (len >= WORD) {
        memcpy(to, from, WORD);
        memcpy(to + len - WORD, from + len - WORD, WORD);
    } else if (len >= HALF) {
        memcpy(to, from, HALF);
        memcpy(to + len - HALF, from + len - HALF, HALF);
    } else if (len > 0) {
        to[0] = from[0];
        to[len / 2] = from[len / 2];
        to[len - 1] = from[len - 1];
    }
}

// There is room for it.
static inline void pack_string(struct builder *builder, const void *text, size_t len)
{
    if (len <= FIXED_LEN_MAX) {
        *builder->end++ = (uint8_t)(FIXED_STRING | len);
        copy_short(builder->end, text, len);
        builder->end += len;
    } else {
        msgpack_packer packer = packer_of(builder);
        msgpack_pack_str(&packer, len);
        append(builder, text, len);
    }
}

bool builder_string(struct builder *builder, const void *text, size_t len)
{
    if (!admit(builder, len)) {
        return false;
    }
    pack_string(builder, text, len);
    return true;
}

static void add_pair(struct builder *builder, const struct pair *pair)
{
    struct buffer *pairs = &builder->pairs;
    if (pairs->capacity - pairs->end < sizeof *pair) {
        buffer_reserve(pairs, pairs->capacity == 0 ? PAIRS_BYTES_MIN : sizeof *pair);
    }
    memcpy(pairs->bytes + pairs->end, pair, sizeof *pair);
    pairs->end += sizeof *pair;
}

bool builder_key(struct builder *builder, const void *text, size_t len)
{
    struct builder_level *level = builder->level;
    struct pair pair = {.at = offset_now(builder), .key_len = (uint32_t)len};
    if (!has_room(builder, len)) {
        return false;
    }
    pack_string(builder, text, len);
    pair.key_at = offset_now(builder) - pair.key_len;
    pair.rank = pair_rank(at_offset(builder, pair.key_at), pair.key_len);
    if (level->is_sorted && level->count > 0) {
        const struct pair *previous = pairs_of(builder, level) + level->count - 1;
        level->is_sorted = pair_compare_keys(builder->begin, previous, &pair) < 0;
    }
    add_pair(builder, &pair);
    return true;
}

static uint32_t header_len_of(uint32_t count)
{
    return count <= FIXED_COUNT_MAX ? 1 : count <= UINT16_MAX ? 3 : 5;
}

static bool open_level(struct builder *builder, bool is_map, uint32_t count_hint)
{
    if (builder->level == builder->levels + JSON_DEPTH_MAX) {
        return refuse(builder, ERROR_TOO_LARGE, TOO_DEEP);
    }
    if (!admit(builder, 1)) {
        return false;
    }
    *++builder->level = (struct builder_level){
        .is_map = is_map,
        .is_sorted = true,
        .header_at = offset_now(builder),
        .header_len = header_len_of(count_hint),
        .first_pair = (uint32_t)(buffer_len(&builder->pairs) / sizeof(struct pair)),
    };
    builder->end += builder->level->header_len; // written when the level is closed
    return true;
}

bool builder_open_array(struct builder *builder, uint32_t count_hint)
{
    return open_level(builder, false, count_hint);
}

bool builder_open_map(struct builder *builder, uint32_t count_hint)
{
    return open_level(builder, true, count_hint);
}

// Leaves the end behind the header.
static void pack_header(struct builder *builder, const struct builder_level *level)
{
    builder->end = at_offset(builder, level->header_at);
    msgpack_packer packer = packer_of(builder);
    if (level->is_map) {
        msgpack_pack_map(&packer, level->count);
    } else {
        msgpack_pack_array(&packer, level->count);
    }
}

// Writes the header over its place, moving the content where it needs another width.
static void put_header(struct builder *builder, const struct builder_level *level)
{
    uint32_t content_at = level->header_at + level->header_len;
    uint32_t content_len = offset_now(builder) - content_at;
    uint32_t header_len = header_len_of(level->count);
    if (header_len != level->header_len) {
        memmove(at_offset(builder, level->header_at + header_len), at_offset(builder, content_at),
                content_len);
    }
    pack_header(builder, level);
    builder->end += content_len;
}

// The pairs of a level with their ends, sorted.
static struct pair *sorted_pairs(struct builder *builder, const struct builder_level *level)
{
    struct pair *pairs = pairs_of(builder, level);
    for (uint32_t i = 0; i < level->count; i++) {
        pairs[i].end = i + 1 < level->count ? pairs[i + 1].at : offset_now(builder);
    }
    pairs_sort(pairs, level->count, builder->begin);
    return pairs;
}

// Rewrites an object with its keys unique and in order.
static void put_in_order(struct builder *builder, struct builder_level *level)
{
    const struct pair *pairs = sorted_pairs(builder, level);
    struct buffer *sorted = &builder->scratch;
    uint32_t kept = 0;
    uint32_t len = offset_now(builder) - level->header_at;
    buffer_clear(sorted, SIZE_MAX);
    uint8_t *end = buffer_reserve(sorted, len > SCRATCH_BYTES_MIN ? len : SCRATCH_BYTES_MIN);
    for (uint32_t i = 0; i < level->count; i++) {
        bool is_last = i + 1 == level->count ||
                       pair_compare_keys(builder->begin, &pairs[i], &pairs[i + 1]) != 0;
        if (is_last) {
            uint32_t pair_len = pairs[i].end - pairs[i].at;
            memcpy(end, at_offset(builder, pairs[i].at), pair_len);
            end += pair_len;
            kept++;
        }
    }
    level->count = kept;
    pack_header(builder, level);
    append(builder, sorted->bytes, (size_t)(end - sorted->bytes));
}

void builder_close(struct builder *builder)
{
    struct builder_level *level = builder->level;
    CHECK(level != builder->levels);
    if (builder->end > builder->stop) {
        reserve(builder, 0); // its header may turn out wider
    }
    if (level->is_sorted) {
        put_header(builder, level);
    } else {
        put_in_order(builder, level);
    }
    builder->pairs.end = level->first_pair * sizeof(struct pair);
    builder->level--;
}

bool builder_finish(struct builder *builder)
{
    CHECK_VALUES(builder->level == builder->levels, "%td levels open",
                 builder->level - builder->levels);
    if (offset_now(builder) > builder->value_bytes_max) {
        return refuse(builder, ERROR_TOO_LARGE, TOO_LARGE);
    }
    buffer_commit(builder->out, offset_now(builder));
    return true;
}
