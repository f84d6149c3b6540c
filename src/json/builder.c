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
    FIXED_COUNT_MAX = 15,
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

static inline int append(void *buffer, const char *bytes, size_t len)
{
    struct buffer *out = buffer;
    if (out->capacity - out->end < len) {
        buffer_reserve(out, len);
    }
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
    struct number number;
    const char *wrong = number_from_text(slice_of(text, len), &number);
    if (wrong != NULL) {
        return refuse(builder, ERROR_INVALID_VALUE, wrong);
    }
    return builder_number(builder, &number);
}

static void pack_string(struct builder *builder, const void *text, size_t len)
{
    msgpack_packer packer = packer_of(builder->out);
    msgpack_pack_str(&packer, len);
    if (len > 0) {
        append(builder->out, text, len);
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

static struct slice key_of(const struct builder *builder, const struct builder_pair *pair)
{
    return slice_of(at_offset(builder, pair->key_at), pair->key_len);
}

// jsonb's order of keys: by length, then bytewise.
static int compare_keys(struct slice a, struct slice b)
{
    if (a.len != b.len) {
        return a.len < b.len ? -1 : 1;
    }
    return memcmp(a.at, b.at, a.len);
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
        level->is_sorted = compare_keys(key_of(builder, previous), key_of(builder, &pair)) < 0;
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
    buffer_reserve(builder->out, header_len); // written when the level is closed
    buffer_commit(builder->out, header_len);
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

struct sort_item {
    struct slice key;
    struct builder_pair pair;
};

// Equal keys stay in their order, so that the last of them is the one that came last.
static int compare_items(const void *a, const void *b)
{
    const struct sort_item *left = a;
    const struct sort_item *right = b;
    int order = compare_keys(left->key, right->key);
    return order != 0 ? order : (left->pair.at > right->pair.at) - (left->pair.at < right->pair.at);
}

// The pairs of a level with their keys and ends, sorted; the caller frees them.
static struct sort_item *sorted_items(struct builder *builder, const struct builder_level *level)
{
    const struct builder_pair *pairs = pairs_of(builder, level);
    struct sort_item *items = memory_zeroed(level->count, sizeof *items);
    for (uint32_t i = 0; i < level->count; i++) {
        items[i] = (struct sort_item){.key = key_of(builder, &pairs[i]), .pair = pairs[i]};
        items[i].pair.end = i + 1 < level->count ? pairs[i + 1].at : offset_now(builder);
    }
    qsort(items, level->count, sizeof *items, compare_items);
    return items;
}

// Rewrites an object with its keys unique and in order.
static void put_in_order(struct builder *builder, struct builder_level *level)
{
    struct sort_item *items = sorted_items(builder, level);
    uint32_t kept = 0;
    buffer_clear(&builder->scratch, SIZE_MAX);
    for (uint32_t i = 0; i < level->count; i++) {
        bool is_last = i + 1 == level->count || !slice_equal(items[i].key, items[i + 1].key);
        if (is_last) {
            const struct builder_pair *pair = &items[i].pair;
            buffer_append(&builder->scratch, at_offset(builder, pair->at), pair->end - pair->at);
            kept++;
        }
    }
    free(items);
    level->count = kept;
    cut_to(builder, level->header_at);
    pack_header(level, builder->out);
    buffer_append_slice(builder->out, buffer_slice(&builder->scratch));
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
