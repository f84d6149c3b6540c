// The writing half of the hot tier: the one thread that changes buckets. Entries of a bucket lie
// side by side in the order of their coming, so that the first is the oldest; one that goes moves
// those behind it.
// Nothing is changed outside a bucket, whatever it holds; one that does not add up is emptied.
#include "cachefile/tier_bucket.h"

// ---- words

static size_t ways_of(struct tier_bucket bucket)
{
    return (size_t)(tier_load(bucket, TIER_AT_ENDS) & UINT32_MAX);
}

static size_t words_of(struct tier_bucket bucket)
{
    return (size_t)(tier_load(bucket, TIER_AT_ENDS) >> 32);
}

static void set_ends(struct tier_bucket bucket, size_t ways, size_t words)
{
    tier_store(bucket, TIER_AT_ENDS, (uint64_t)words << 32 | ways);
}

static void set_place(struct tier_bucket bucket, size_t way, size_t place)
{
    size_t shift = way % 4 * 16;
    uint64_t others = tier_load(bucket, TIER_AT_PLACES + way / 4) & ~(UINT64_C(0xffff) << shift);
    tier_store(bucket, TIER_AT_PLACES + way / 4, others | (uint64_t)place << shift);
}

static uint64_t tag_at(struct tier_bucket bucket, size_t way)
{
    return tier_load(bucket, TIER_AT_TAGS + way / 8) >> (way % 8 * 8) & 0xff;
}

static void set_tag(struct tier_bucket bucket, size_t way, uint64_t tag)
{
    size_t shift = way % 8 * 8;
    uint64_t others = tier_load(bucket, TIER_AT_TAGS + way / 8) & ~(UINT64_C(0xff) << shift);
    tier_store(bucket, TIER_AT_TAGS + way / 8, others | tag << shift);
}

// ---- a change

// A writer that died in the middle of one left the sequence odd.
static uint64_t begin(struct tier_bucket bucket)
{
    uint64_t sequence = tier_load(bucket, TIER_AT_SEQUENCE) | 1;
    tier_store(bucket, TIER_AT_SEQUENCE, sequence);
    return sequence;
}

static void end(struct tier_bucket bucket, uint64_t sequence)
{
    tier_store(bucket, TIER_AT_SEQUENCE, sequence + 1);
}

// Whether the bucket is of this life, and its ends within it.
static bool is_sound(struct tier_bucket bucket, uint64_t life)
{
    return tier_load(bucket, TIER_AT_LIFE) == life && ways_of(bucket) <= TIER_WAYS &&
           words_of(bucket) <= TIER_ENTRY_WORDS;
}

static void empty(struct tier_bucket bucket, uint64_t life)
{
    tier_store(bucket, TIER_AT_LIFE, life);
    set_ends(bucket, 0, 0);
    for (size_t i = 0; i < TIER_TAG_WORDS; i++) {
        tier_store(bucket, TIER_AT_TAGS + i, 0);
    }
}

// Within a change, of a bucket that is sound as far as is_sound looks.
static void take_out(struct tier_bucket bucket, size_t way)
{
    size_t ways = ways_of(bucket);
    size_t words = words_of(bucket);
    size_t place = tier_place(bucket, way);
    size_t gap = place < words
                     ? tier_entry_of(tier_load(bucket, TIER_AT_ENTRIES + place), place).words
                     : words + 1;
    if (way >= ways || gap > words - place) {
        empty(bucket, tier_load(bucket, TIER_AT_LIFE));
        return;
    }
    for (size_t at = place; at + gap < words; at++) {
        tier_store(bucket, TIER_AT_ENTRIES + at, tier_load(bucket, TIER_AT_ENTRIES + at + gap));
    }
    for (size_t next = way + 1; next < ways; next++) {
        set_place(bucket, next - 1, tier_place(bucket, next) - gap);
        set_tag(bucket, next - 1, tag_at(bucket, next));
    }
    set_tag(bucket, ways - 1, 0);
    set_ends(bucket, ways - 1, words - gap);
}

// The bucket and the way of the key's entry of that life, where there is one.
static bool find(const struct tier *tier, uint64_t life, uint64_t hash, struct slice key,
                 struct tier_bucket *bucket, size_t *way)
{
    struct tier_entry entry;
    if (tier->buckets_count == 0) {
        return false;
    }
    *bucket = tier_bucket_of(tier, life, hash);
    return tier_load(*bucket, TIER_AT_LIFE) == life && tier_seek(*bucket, hash, key, way, &entry);
}

bool tier_remove(const struct tier *tier, uint64_t life, uint64_t hash, struct slice key)
{
    struct tier_bucket bucket;
    size_t way;
    if (!find(tier, life, hash, key, &bucket, &way)) {
        return false;
    }
    uint64_t sequence = begin(bucket);
    if (is_sound(bucket, life)) {
        take_out(bucket, way);
    } else {
        empty(bucket, life);
    }
    end(bucket, sequence);
    return true;
}

bool tier_holds(const struct tier *tier, uint64_t life, uint64_t hash, struct slice key)
{
    struct tier_bucket bucket;
    size_t way;
    return find(tier, life, hash, key, &bucket, &way);
}

// ---- putting in

struct key_room {
    uint64_t words[TIER_ENTRY_BYTES_MAX / sizeof(uint64_t)];
};

static struct slice key_at(struct tier_bucket bucket, size_t way, struct key_room *room)
{
    size_t place = tier_place(bucket, way);
    uint64_t head = place < TIER_ENTRY_WORDS ? tier_load(bucket, TIER_AT_ENTRIES + place) : 0;
    size_t bytes = tier_entry_of(head, place).key_bytes;
    bytes = bytes < sizeof room->words ? bytes : sizeof room->words;
    for (size_t i = 0; i < tier_words(bytes); i++) {
        room->words[i] = tier_load(bucket, TIER_AT_ENTRIES + place + 1 + i);
    }
    return slice_of(room->words, bytes);
}

static bool has_room(struct tier_bucket bucket, size_t words)
{
    return ways_of(bucket) < TIER_WAYS && words_of(bucket) + words <= TIER_ENTRY_WORDS;
}

static void put_bytes(struct tier_bucket bucket, size_t at, struct slice bytes)
{
    for (size_t done = 0; done < bytes.len; done += sizeof(uint64_t)) {
        uint64_t word = 0;
        size_t rest = bytes.len - done;
        memcpy(&word, bytes.at + done, rest < sizeof word ? rest : sizeof word);
        tier_store(bucket, TIER_AT_ENTRIES + at++, word);
    }
}

static void append(struct tier_bucket bucket, uint64_t hash, struct slice key, struct slice record)
{
    size_t way = ways_of(bucket);
    size_t place = words_of(bucket);
    uint64_t head = (hash & UINT32_MAX) << 32 | (uint64_t)record.len << 16 | key.len;
    tier_store(bucket, TIER_AT_ENTRIES + place, head);
    put_bytes(bucket, place + 1, key);
    put_bytes(bucket, place + 1 + tier_words(key.len), record);
    set_place(bucket, way, place);
    set_tag(bucket, way, tier_tag(hash));
    set_ends(bucket, way + 1, place + tier_entry_of(head, place).words);
}

bool tier_put(const struct tier *tier, uint64_t life, uint64_t hash, struct slice key,
              struct slice record, tier_may_leave *may_leave, void *context, size_t *left)
{
    size_t words = 1 + tier_words(key.len) + tier_words(record.len);
    *left = 0;
    if (tier->buckets_count == 0 || !tier_takes(key.len, record.len)) {
        return false;
    }
    struct tier_bucket bucket = tier_bucket_of(tier, life, hash);
    struct tier_entry entry;
    struct key_room room;
    size_t way;
    uint64_t sequence = begin(bucket);
    if (!is_sound(bucket, life)) {
        empty(bucket, life);
    }
    if (tier_seek(bucket, hash, key, &way, &entry)) {
        take_out(bucket, way);
        ++*left;
    }
    for (way = 0; way < ways_of(bucket) && !has_room(bucket, words);) {
        if (may_leave(context, key_at(bucket, way, &room))) {
            take_out(bucket, way);
            ++*left;
        } else {
            way++;
        }
    }
    bool fits = has_room(bucket, words);
    if (fits) {
        append(bucket, hash, key, record);
    }
    end(bucket, sequence);
    return fits;
}
