// Any bytes as an entry of the outbox: what decodes is read pair by pair to its end, encodes to
// bytes that decode to the same, and has as many guards as pairs where it has guards.
#include "base/check.h"
#include "base/entry.h"

enum { SEQ = 7 };

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static void check_pairs(const struct entry *entry)
{
    struct entry_cursor cursor = entry_cursor_of(entry);
    struct pair pair;
    uint32_t count = 0;
    while (entry_next_pair(&cursor, &pair)) {
        CHECK(pair.key.at >= entry->pairs.at && pair.value.len <= entry->pairs.len);
        count++;
    }
    CHECK_VALUES(count == entry->pairs_count, "%u and %u", count, entry->pairs_count);
}

static void check_guards(const struct entry *entry)
{
    struct slice guards = entry->guards;
    struct buffer again = {0};
    struct guard guard;
    uint32_t count = 0;
    while (guards.len > 0) {
        CHECK(entry_next_guard(&guards, &guard));
        entry_append_guard(&again, &guard);
        count++;
    }
    CHECK(count == (entry->is_guarded ? entry->pairs_count : 0));
    CHECK(entry_guards_are_well_formed(buffer_slice(&again), count));
    buffer_deinit(&again);
}

static void check_same(const struct entry *one, const struct entry *other)
{
    CHECK(one->seq == other->seq && one->op == other->op && one->ack == other->ack);
    CHECK(one->condition == other->condition && one->retired == other->retired);
    CHECK(one->if_version == other->if_version && one->accepted_us == other->accepted_us);
    CHECK(one->expires_at_us == other->expires_at_us && one->letter_seq == other->letter_seq);
    CHECK(one->is_guarded == other->is_guarded && slice_equal(one->guards, other->guards));
    CHECK(slice_equal(one->id, other->id) && one->pairs_count == other->pairs_count);
    CHECK(slice_equal(one->pairs, other->pairs));
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct entry entry, again;
    struct buffer encoded = {0};
    enum error error = entry_decode(SEQ, slice_of(bytes, len), &entry);
    if (error != ERROR_NONE) {
        CHECK(error == ERROR_CORRUPT);
        return 0;
    }
    check_pairs(&entry);
    check_guards(&entry);
    entry_returns_result(&entry);
    entry_encode(&entry, &encoded);
    CHECK(entry_decode(SEQ, buffer_slice(&encoded), &again) == ERROR_NONE);
    check_same(&entry, &again);
    buffer_deinit(&encoded);
    return 0;
}
