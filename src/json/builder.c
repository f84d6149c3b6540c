// Builds the canonical MessagePack of one value. A container's header is written when it is opened,
// at the width that the reader's hint calls for, and put right when it is closed, which moves its
// content only where the width was guessed wrong. An object is put in order when it is closed, and
// only if its keys did not come in order: jsonb's text has them sorted.
//
//      levels:   [ ...           { ...            [ ...
//      out:      H element ... H key value ... key H element      (H: header)
//      pairs:                    ^           ^
//
// Invariant: out holds origin + the value so far; offsets count from the origin, since the buffer
// may move. Whatever is moved lies behind every offset that is still in use.
#include "json/builder.h"

#include <msgpack/pack.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/memory.h"

enum {
    FIXED_STRING = 0xa0, // the first byte of a short one
    FIXED_LEN_MAX = 31,
    STRING_HEADER_MAX = 5,
    FIXED_COUNT_MAX = 15,
    INSERTED_MAX = 24,      // pairs that are sorted by insertion
    PAIRS_BYTES_MIN = 1000, // as much as malloc has at hand
    SCRATCH_BYTES_MIN = 1000,

    EXPANDED_PER_VALUE_BYTE = 8,
    EXPANDED_BYTES_MIN = 256 * 1024 // room for one number of whatever length
};

_Static_assert((int)EVENTS_DEPTH_MAX == (int)JSON_DEPTH_MAX, "one limit, told to C++ as well");

static const char TOO_DEEP[] = "nested more than 128 deep";
static const char TOO_LARGE[] = "larger than a value may be (server.max_value)";
static const char TOO_EXPANDED[] = "its numbers are too long when printed in full";

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
    builder->depth = 0;
    builder->complaint = (struct complaint){0};
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

static uint32_t offset_now(const struct builder *builder)
{
    return (uint32_t)(buffer_len(builder->out) - builder->origin);
}

static uint8_t *at_offset(const struct builder *builder, uint32_t offset)
{
    return builder->out->bytes + builder->out->start + builder->origin + offset;
}

static struct builder_level *top(struct builder *builder)
{
    return builder->depth > 0 ? &builder->levels[builder->depth - 1] : NULL;
}

static struct builder_pair *pairs_of(const struct builder *builder,
                                     const struct builder_level *level)
{
    return (struct builder_pair *)(void *)builder->pairs.bytes + level->first_pair;
}

// Whether `len` bytes more are within bounds. Duplicate keys may yet be dropped, so that what is
// built may grow to twice what may remain of it.
static bool has_room(struct builder *builder, size_t len)
{
    if (len > builder->value_bytes_max ||
        offset_now(builder) + len > 2 * (uint64_t)builder->value_bytes_max) {
        return refuse(builder, ERROR_TOO_LARGE, TOO_LARGE);
    }
    return true;
}

// Admits a value of at least `len` bytes: an element of the array around it, if there is one.
static bool admit(struct builder *builder, size_t len)
{
    struct builder_level *level = top(builder);
    if (level != NULL && !level->is_map) {
        level->count++;
    }
    return has_room(builder, len);
}

static inline void make_room(struct buffer *out, size_t len)
{
    if (out->capacity - out->end < len) {
        buffer_reserve(out, len);
    }
}

static inline int append(void *buffer, const char *bytes, size_t len)
{
    struct buffer *out = buffer;
    make_room(out, len);
    memcpy(out->bytes + out->end, bytes, len);
    out->end += len;
    return 0;
}

// As mpack_packer_init, but in sight of the compiler, which then sees through msgpack-c's packer.
static inline msgpack_packer packer_of(struct buffer *out)
{
    msgpack_packer packer;
    msgpack_packer_init(&packer, out, append);
    return packer;
}

bool builder_null(struct builder *builder)
{
    if (!admit(builder, 1)) {
        return false;
    }
    msgpack_packer packer = packer_of(builder->out);
    msgpack_pack_nil(&packer);
    return true;
}

bool builder_bool(struct builder *builder, bool value)
{
    if (!admit(builder, 1)) {
        return false;
    }
    msgpack_packer packer = packer_of(builder->out);
    if (value) {
        msgpack_pack_true(&packer);
    } else {
        msgpack_pack_false(&packer);
    }
    return true;
}

static void pack_decimal(struct builder *builder, msgpack_packer *packer,
                         const struct number *number)
{
    buffer_clear(&builder->scratch, SIZE_MAX);
    number_print(number, &builder->scratch);
    msgpack_pack_ext(packer, buffer_len(&builder->scratch), JSON_EXT_DECIMAL);
    msgpack_pack_ext_body(packer, builder->scratch.bytes, buffer_len(&builder->scratch));
}

static bool builder_uint(struct builder *builder, uint64_t uint)
{
    if (!admit(builder, 1)) {
        return false;
    }
    msgpack_packer packer = packer_of(builder->out);
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
    msgpack_packer packer = packer_of(builder->out);
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
        pack_decimal(builder, &packer, number);
        break;
    }
    return true;
}

bool builder_number_text(struct builder *builder, const void *text, size_t len)
{
    uint64_t magnitude;
    if (number_is_small_uint(slice_of(text, len), &magnitude)) {
        return builder_uint(builder, magnitude);
    }
    struct number number;
    const char *wrong = number_from_text(slice_of(text, len), &number);
    if (wrong != NULL) {
        return refuse(builder, ERROR_INVALID_VALUE, wrong);
    }
    return builder_number(builder, &number);
}

static void pack_string(struct builder *builder, const void *text, size_t len)
{
    struct buffer *out = builder->out;
    make_room(out, len + STRING_HEADER_MAX);
    if (len <= FIXED_LEN_MAX) {
        out->bytes[out->end++] = (uint8_t)(FIXED_STRING | len);
    } else {
        msgpack_packer packer = packer_of(out);
        msgpack_pack_str(&packer, len);
    }
    if (len > 0) {
        memcpy(out->bytes + out->end, text, len);
        out->end += len;
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

// jsonb's order of keys: by length, then bytewise.
static int compare_keys(const struct builder *builder, const struct builder_pair *a,
                        const struct builder_pair *b)
{
    if (a->key_len != b->key_len) {
        return a->key_len < b->key_len ? -1 : 1;
    }
    return memcmp(at_offset(builder, a->key_at), at_offset(builder, b->key_at), a->key_len);
}

bool builder_key(struct builder *builder, const void *text, size_t len)
{
    struct builder_level *level = top(builder);
    struct builder_pair pair = {.at = offset_now(builder), .key_len = (uint32_t)len};
    if (!has_room(builder, len)) {
        return false;
    }
    pack_string(builder, text, len);
    pair.key_at = offset_now(builder) - pair.key_len;
    if (level->count > 0 && level->is_sorted) {
        const struct builder_pair *previous = pairs_of(builder, level) + level->count - 1;
        level->is_sorted = compare_keys(builder, previous, &pair) < 0;
    }
    if (builder->pairs.capacity == 0) {
        buffer_reserve(&builder->pairs, PAIRS_BYTES_MIN);
    }
    append(&builder->pairs, (const char *)&pair, sizeof pair);
    level->count++;
    return true;
}

static uint32_t header_len_of(uint32_t count)
{
    return count <= FIXED_COUNT_MAX ? 1 : count <= UINT16_MAX ? 3 : 5;
}

static bool open_level(struct builder *builder, bool is_map, uint32_t count_hint)
{
    if (builder->depth == JSON_DEPTH_MAX) {
        return refuse(builder, ERROR_TOO_LARGE, TOO_DEEP);
    }
    if (!admit(builder, 1)) {
        return false;
    }
    builder->levels[builder->depth++] = (struct builder_level){
        .is_map = is_map,
        .is_sorted = true,
        .header_at = offset_now(builder),
        .header_len = header_len_of(count_hint),
        .first_pair = (uint32_t)(buffer_len(&builder->pairs) / sizeof(struct builder_pair)),
    };
    uint32_t header_len = top(builder)->header_len;
    make_room(builder->out, header_len); // written when the level is closed
    builder->out->end += header_len;
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

static void pack_header(const struct builder_level *level, struct buffer *out)
{
    msgpack_packer packer = packer_of(out);
    if (level->is_map) {
        msgpack_pack_map(&packer, level->count);
    } else {
        msgpack_pack_array(&packer, level->count);
    }
}

// Cuts the value back to `offset`, where what comes next will be appended.
static void cut_to(struct builder *builder, uint32_t offset)
{
    builder->out->end = builder->out->start + builder->origin + offset;
}

// Writes the header over its place, moving the content where it needs another width.
static void put_header(struct builder *builder, const struct builder_level *level)
{
    uint32_t end = offset_now(builder);
    uint32_t content_at = level->header_at + level->header_len;
    uint32_t header_len = header_len_of(level->count);
    if (header_len > level->header_len) {
        buffer_reserve(builder->out, header_len - level->header_len);
    }
    if (header_len != level->header_len) {
        memmove(at_offset(builder, level->header_at + header_len), at_offset(builder, content_at),
                end - content_at);
    }
    cut_to(builder, level->header_at);
    pack_header(level, builder->out);
    cut_to(builder, end - level->header_len + header_len);
}

// Equal keys stay in their order, so that the last of them is the one that came last.
static int compare_pairs(const struct builder *builder, const struct builder_pair *a,
                         const struct builder_pair *b)
{
    int order = compare_keys(builder, a, b);
    return order != 0 ? order : (a->at > b->at) - (a->at < b->at);
}

static int compare_for_qsort(const void *a, const void *b, void *builder)
{
    return compare_pairs(builder, a, b);
}

// Most objects have few keys, and many come nearly in order.
static void sort_pairs(struct builder *builder, struct builder_pair *pairs, uint32_t count)
{
    if (count > INSERTED_MAX) {
        qsort_r(pairs, count, sizeof *pairs, compare_for_qsort, builder);
        return;
    }
    for (uint32_t i = 1; i < count; i++) {
        struct builder_pair pair = pairs[i];
        uint32_t at = i;
        for (; at > 0 && compare_pairs(builder, &pairs[at - 1], &pair) > 0; at--) {
            pairs[at] = pairs[at - 1];
        }
        pairs[at] = pair;
    }
}

// The pairs of a level with their ends, sorted.
static struct builder_pair *sorted_pairs(struct builder *builder, const struct builder_level *level)
{
    struct builder_pair *pairs = pairs_of(builder, level);
    for (uint32_t i = 0; i < level->count; i++) {
        pairs[i].end = i + 1 < level->count ? pairs[i + 1].at : offset_now(builder);
    }
    sort_pairs(builder, pairs, level->count);
    return pairs;
}

// Rewrites an object with its keys unique and in order.
static void put_in_order(struct builder *builder, struct builder_level *level)
{
    const struct builder_pair *pairs = sorted_pairs(builder, level);
    struct buffer *sorted = &builder->scratch;
    uint32_t kept = 0;
    uint32_t len = offset_now(builder) - level->header_at;
    buffer_clear(sorted, SIZE_MAX);
    buffer_reserve(sorted, len > SCRATCH_BYTES_MIN ? len : SCRATCH_BYTES_MIN);
    for (uint32_t i = 0; i < level->count; i++) {
        bool is_last =
            i + 1 == level->count || compare_keys(builder, &pairs[i], &pairs[i + 1]) != 0;
        if (is_last) {
            append(sorted, (const char *)at_offset(builder, pairs[i].at),
                   pairs[i].end - pairs[i].at);
            kept++;
        }
    }
    level->count = kept;
    cut_to(builder, level->header_at);
    pack_header(level, builder->out);
    append(builder->out, (const char *)sorted->bytes, buffer_len(sorted));
}

void builder_close(struct builder *builder)
{
    struct builder_level *level = top(builder);
    CHECK(level != NULL);
    uint32_t first_pair = level->first_pair;
    if (level->is_sorted) {
        put_header(builder, level);
    } else {
        put_in_order(builder, level);
    }
    builder->pairs.end = builder->pairs.start + first_pair * sizeof(struct builder_pair);
    builder->depth--;
}

bool builder_finish(struct builder *builder)
{
    CHECK_VALUES(builder->depth == 0, "%d levels open", builder->depth);
    if (buffer_len(builder->out) - builder->origin > builder->value_bytes_max) {
        return refuse(builder, ERROR_TOO_LARGE, TOO_LARGE);
    }
    return true;
}

void builder_take_back(struct builder *builder)
{
    cut_to(builder, 0);
}
