// The memtable's room: it comes back from the oldest entry on, one that stays is carried to the
// end, and where too many stay the ring is full, and nothing of it is lost.

#include "memtable_rig.h"

enum { LARGE_BYTES = 1000, LARGE_FIT = (RING_BYTES - 4096) / (LARGE_BYTES + 64) };

static char large[LARGE_BYTES];

static bool put_large(struct place *place, int number)
{
    memset(large, 'a' + number % 26, sizeof large);
    return put_bytes(place, number, slice_of(large, sizeof large));
}

static void expect_large(struct place *place, int number)
{
    uint64_t room[ROOM_WORDS], at;
    size_t bytes = 0;
    assert_int_equal(find(&place->reader, number, room, &bytes, &at), MEMTABLE_FOUND);
    assert_int_equal(bytes, sizeof large);
    memset(large, 'a' + number % 26, sizeof large);
    assert_memory_equal(room, large, bytes);
}

static void what_stays_is_carried(void **state)
{
    struct place *place = *state;
    put(place, 0, "stays");
    put(place, 1, "stays too");
    commit(place);
    for (int i = 0; i < 20 * LARGE_FIT; i++) {
        assert_true(put_large(place, 2 + i % 7));
        commit(place);
        expect_seen(place, 0, "stays");
        expect_seen(place, 1, "stays too");
    }
    assert_int_equal(memtable_count(&place->writer), 9);
    assert_true(take_out(place, 0));
    commit(place);
    expect_seen(place, 0, NULL);
    expect_seen(place, 1, "stays too");
}

// Half of what is there stays for good and goes round with the rest.
static void half_of_the_ring_may_stay(void **state)
{
    struct place *place = *state;
    enum { STAYING = LARGE_FIT * 2 / 5 };
    for (int i = 0; i < STAYING; i++) {
        assert_true(put_large(place, i));
        commit(place);
    }
    for (int i = 0; i < 20 * LARGE_FIT; i++) {
        assert_true(put_large(place, STAYING + i % 3));
        commit(place);
    }
    for (int i = 0; i < STAYING + 3; i++) {
        expect_large(place, i);
    }
    assert_int_equal(memtable_count(&place->writer), STAYING + 3);
}

// However much smaller than what is put in.
static void what_stays_may_be_in_small_pieces(void **state)
{
    struct place *place = *state;
    static const char small[48];
    enum { SMALL_WORDS = 11, STAYING = RING_BYTES / 8 / SMALL_WORDS / 3 };
    for (int i = 0; i < STAYING; i++) {
        assert_true(put_bytes(place, i, slice_of(small, sizeof small)));
        commit(place);
    }
    for (int i = 0; i < 20 * LARGE_FIT; i++) {
        assert_true(put_large(place, STAYING + i % 3));
        commit(place);
    }
    assert_int_equal(memtable_count(&place->writer), STAYING + 3);
}

static int fill(struct place *place, bool in_one_turn)
{
    int count = 0;
    while (put_large(place, count)) {
        if (!in_one_turn) {
            commit(place);
        }
        count++;
    }
    commit(place);
    return count;
}

static void a_full_ring_refuses_and_keeps_all(void **state)
{
    struct place *place = *state;
    for (int round = 0; round < 4; round++) {
        // What a turn has put in itself is not carried before its commit.
        int count = fill(place, round % 2 == 0);
        assert_true(count >= (round % 2 == 0 ? LARGE_FIT : LARGE_FIT / 2));
        for (int i = 0; i < count; i++) {
            expect_large(place, i);
        }
        for (int i = count; i > 0; i--) { // the oldest last: none of its room is there before
            assert_true(take_out(place, i - 1));
            commit(place);
        }
        assert_int_equal(memtable_count(&place->writer), 0);
    }
    assert_false(put_bytes(place, 1, slice_of(large, MEMTABLE_RECORD_BYTES_MAX + 1)));
}

// What a turn has carried is where it was before, and is carried by the next.
static void an_aborted_turn_has_carried_nothing(void **state)
{
    struct place *place = *state;
    enum { STAYING = 6, TURN_PUTS = 3 };
    for (int i = 0; i < STAYING; i++) {
        assert_true(put_large(place, i));
    }
    commit(place);
    for (int i = 0; i < 40 * LARGE_FIT; i++) {
        bool is_aborted = i % 4 == 0;
        for (int put = 0; put < TURN_PUTS; put++) {
            assert_true(put_large(place, STAYING + put));
        }
        // An entry that was carried in this turn may go in it as well, or be put again.
        bool goes = i % 5 == 0;
        assert_true(!goes || take_out(place, i % STAYING));
        if (is_aborted) {
            memtable_abort(&place->writer);
        } else {
            commit(place);
        }
        if (goes && !is_aborted) {
            assert_true(put_large(place, i % STAYING));
            commit(place);
        }
        for (int staying = 0; staying < STAYING; staying++) {
            expect_large(place, staying);
        }
    }
    assert_int_equal(memtable_count(&place->writer), STAYING + TURN_PUTS);
}

// What aborted turns have left behind fills the ring, as where the cache was full again and again:
// the one entry that stays before it is carried all the same.
static void a_ring_full_of_what_is_gone_has_room(void **state)
{
    struct place *place = *state;
    assert_true(put_large(place, 0));
    commit(place);
    while (put_large(place, 1)) {
        memtable_abort(&place->writer);
    }
    commit(place);
    for (int i = 0; i < 20 * LARGE_FIT; i++) {
        assert_true(put_large(place, 1 + i % 3));
        commit(place);
        expect_large(place, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_stays_is_carried),
        TEST(half_of_the_ring_may_stay),
        TEST(what_stays_may_be_in_small_pieces),
        TEST(a_full_ring_refuses_and_keeps_all),
        TEST(a_ring_full_of_what_is_gone_has_room),
        TEST(an_aborted_turn_has_carried_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
