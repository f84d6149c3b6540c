// The writing half of the memtable: the one thread that changes it. A turn's entries stand at the
// heads of their chains at once, behind the `end`, where no reader believes them; what they replace
// stays until the turn's commit, which raises the `end` and then takes the replaced and the removed
// out of their chains; those that the turn has put in itself go before. Room is taken back from the
// oldest entries on, as far as they are gone; an old one that stays is carried to the end, before
// it holds up the others.
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/fault.h"
#include "base/memory.h"
#include "cachefile/memtable_entry.h"

enum { LEAVING_KEEP = 4096, LEAVING_FIRST = 64 };
// What is carried is that part of the ring away from being in the way, and no more of it than so
// many times what is put in: half of the ring may be old entries that stay, all in one piece.
enum { SPARE_PART = 4, CARRIED_TIMES = 2 };
// As many looks as the allowance has entries of the smallest size, and some at what is gone.
enum { ALLOWANCE_WORDS_MAX = 2 * MEMTABLE_ENTRY_WORDS_MAX, LOOKS_MAX = 64 };
// Room that only what is carried may take: for the largest entry, and what it leaves of a lap.
enum { RESERVE_WORDS = 2 * MEMTABLE_ENTRY_WORDS_MAX };

// What a file that is none of ours may say is not believed.
static const uint64_t PLACE_SANE_MAX = UINT64_C(1) << 62;

enum state { STATE_GONE, STATE_LIVE, STATE_LEAVING };

// ---- words

static void store(const struct memtable *table, uint64_t place, uint64_t value)
{
    atomic_store_explicit(memtable_word(table, place), value, memory_order_release);
}

static void publish(_Atomic uint64_t *to, uint64_t value)
{
    atomic_store_explicit(to, value, memory_order_release);
}

static uint64_t read_own(const _Atomic uint64_t *from)
{
    return atomic_load_explicit(from, memory_order_relaxed);
}

static uint32_t words_at(const struct memtable *table, uint64_t place)
{
    return (uint32_t)memtable_load(table, place + MEMTABLE_AT_STATE);
}

static enum state state_at(const struct memtable *table, uint64_t place)
{
    return (enum state)(memtable_load(table, place + MEMTABLE_AT_STATE) >> 32);
}

static void set_state(const struct memtable *table, uint64_t place, enum state state)
{
    store(table, place + MEMTABLE_AT_STATE, (uint64_t)state << 32 | words_at(table, place));
}

static void put_bytes(const struct memtable *table, uint64_t place, struct slice bytes)
{
    for (size_t done = 0; done < bytes.len; done += sizeof(uint64_t)) {
        uint64_t word = 0;
        size_t rest = bytes.len - done < sizeof word ? bytes.len - done : sizeof word;
        memcpy(&word, bytes.at + done, rest);
        store(table, place++, word);
    }
}

// ---- a life

void memtable_begin(struct memtable_writer *writer, uint64_t life)
{
    struct memtable *table = &writer->table;
    struct memtable_header *header = table->header;
    uint64_t begin = read_own(&header->begin), end = read_own(&header->end);
    publish(&header->life, 0);
    atomic_thread_fence(memory_order_release);
    publish(&header->count, 0);
    for (size_t i = 0; i <= table->heads_mask; i++) {
        publish(&table->heads[i], 0);
    }
    // Who stands on an entry of the life before finds it gone, one of an unfinished turn included.
    end = end > begin ? end : begin;
    end = end < PLACE_SANE_MAX ? end : 0;
    writer->next = (end / table->ring_words + 2) * table->ring_words;
    writer->cleared = writer->next;
    writer->staying_words = 0;
    publish(&header->begin, writer->next);
    publish(&header->end, writer->next);
    publish(&header->changes, (read_own(&header->changes) | 1) + 1);
    publish(&header->life, life);
    writer->is_used = true;
}

// ---- chains

static _Atomic uint64_t *head_of(const struct memtable *table, uint64_t hash)
{
    return &table->heads[hash & table->heads_mask];
}

static struct slice key_at(const struct memtable *table, uint64_t place)
{
    uint64_t bytes = memtable_load(table, place + MEMTABLE_AT_BYTES);
    return slice_of((const uint8_t *)memtable_word(table, place + MEMTABLE_AT_KEY), bytes >> 32);
}

static struct slice record_at(const struct memtable *table, uint64_t place)
{
    uint64_t bytes = memtable_load(table, place + MEMTABLE_AT_BYTES);
    place += MEMTABLE_AT_KEY + memtable_words(bytes >> 32);
    return slice_of((const uint8_t *)memtable_word(table, place), bytes & UINT32_MAX);
}

// The key's entry as the turn has it; 0: none.
static uint64_t find(const struct memtable *table, uint64_t hash, struct slice key)
{
    uint64_t place = read_own(head_of(table, hash));
    while (place != 0 && !(state_at(table, place) == STATE_LIVE &&
                           memtable_load(table, place + MEMTABLE_AT_HASH) == hash &&
                           slice_equal(key_at(table, place), key))) {
        place = memtable_load(table, place + MEMTABLE_AT_NEXT);
    }
    return place;
}

// Takes the entry out of its chain. Who stands on it goes on from it as before.
static void unlink_entry(const struct memtable *table, uint64_t place)
{
    _Atomic uint64_t *link = head_of(table, memtable_load(table, place + MEMTABLE_AT_HASH));
    while (read_own(link) != place) {
        CHECK(read_own(link) != 0);
        link = memtable_word(table, read_own(link) + MEMTABLE_AT_NEXT);
    }
    publish(link, memtable_load(table, place + MEMTABLE_AT_NEXT));
    set_state(table, place, STATE_GONE);
}

static void leave(struct memtable_writer *writer, uint64_t place)
{
    if (writer->leaving_count == writer->leaving_capacity) {
        writer->leaving_capacity =
            writer->leaving_capacity == 0 ? LEAVING_FIRST : writer->leaving_capacity * 2;
        writer->leaving =
            memory_resize(writer->leaving, writer->leaving_capacity * sizeof *writer->leaving);
    }
    writer->leaving[writer->leaving_count++] = place;
    writer->turn_words -= words_at(&writer->table, place);
    set_state(&writer->table, place, STATE_LEAVING);
}

// ---- room

// Takes room back until `words` more fit, as far as the oldest entries are gone.
static bool make_room(struct memtable_writer *writer, uint64_t words)
{
    const struct memtable *table = &writer->table;
    uint64_t begin = read_own(&table->header->begin);
    bool is_there = true;
    while (is_there && writer->next + words - begin > table->ring_words) {
        is_there = begin < writer->next && state_at(table, begin) == STATE_GONE;
        begin += is_there ? words_at(table, begin) : 0;
    }
    publish(&table->header->begin, begin);
    // Before anything is written over what is below.
    atomic_thread_fence(memory_order_release);
    return is_there;
}

// What is left of the lap.
static uint64_t words_left(const struct memtable_writer *writer)
{
    return writer->table.ring_words - writer->next % writer->table.ring_words;
}

// Where an entry of so many words may begin; 0: there is no room for it and the reserve.
static uint64_t take_place(struct memtable_writer *writer, uint64_t words, uint64_t reserve)
{
    const struct memtable *table = &writer->table;
    uint64_t left = words_left(writer);
    uint64_t skipped = words <= left ? 0 : left;
    if (!make_room(writer, skipped + words + reserve)) {
        return 0;
    }
    if (skipped > 0) {
        store(table, writer->next + MEMTABLE_AT_STATE, (uint64_t)STATE_GONE << 32 | skipped);
        writer->next += skipped;
    }
    uint64_t place = writer->next;
    writer->next += words;
    return place;
}

static uint64_t entry_words(size_t key_bytes, size_t record_bytes)
{
    return MEMTABLE_AT_KEY + memtable_words(key_bytes) + memtable_words(record_bytes);
}

// ---- within a turn

void memtable_prefetch_entry(const struct memtable_writer *writer, uint64_t hash)
{
    const struct memtable *table = &writer->table;
    uint64_t place = memtable_is_in_use(writer) ? read_own(head_of(table, hash)) : 0;
    if (place != 0) {
        // Its head and key, and the header of its record.
        __builtin_prefetch((const void *)memtable_word(table, place), 1);
        __builtin_prefetch(
            (const void *)memtable_word(table, place + MEMORY_LINE_BYTES / sizeof(uint64_t)), 1);
    }
}

bool memtable_get(const struct memtable_writer *writer, uint64_t hash, struct slice key,
                  struct slice *record)
{
    const struct memtable *table = &writer->table;
    if (!memtable_is_in_use(writer)) {
        return false;
    }
    uint64_t place = find(table, hash, key);
    if (place != 0) {
        *record = record_at(table, place);
    }
    return place != 0;
}

// At the head of its chain, with `place` taken for it.
static void add_entry(struct memtable_writer *writer, uint64_t place, uint64_t hash,
                      struct slice key, struct slice record)
{
    const struct memtable *table = &writer->table;
    _Atomic uint64_t *head = head_of(table, hash);
    uint64_t words = entry_words(key.len, record.len);
    store(table, place + MEMTABLE_AT_STATE, (uint64_t)STATE_LIVE << 32 | words);
    store(table, place + MEMTABLE_AT_NEXT, read_own(head));
    store(table, place + MEMTABLE_AT_HASH, hash);
    store(table, place + MEMTABLE_AT_BYTES, (uint64_t)key.len << 32 | record.len);
    put_bytes(table, place + MEMTABLE_AT_KEY, key);
    put_bytes(table, place + MEMTABLE_AT_KEY + memtable_words(key.len), record);
    publish(head, place);
    writer->puts_count++;
    writer->turn_words += (int64_t)words;
}

// Puts the oldest entry in again, which goes then. False: there is no room, or too much was
// carried.
static bool carry(struct memtable_writer *writer, uint64_t oldest)
{
    const struct memtable *table = &writer->table;
    uint64_t words = words_at(table, oldest);
    uint64_t place = words <= writer->allowance ? take_place(writer, words, 0) : 0;
    if (place == 0) {
        return false;
    }
    writer->allowance -= words;
    leave(writer, oldest);
    add_entry(writer, place, memtable_load(table, oldest + MEMTABLE_AT_HASH), key_at(table, oldest),
              record_at(table, oldest));
    return true;
}

// After an entry of so many words.
static void clear_the_way(struct memtable_writer *writer, uint64_t words)
{
    const struct memtable *table = &writer->table;
    uint64_t begin = read_own(&table->header->begin), end = read_own(&table->header->end);
    uint64_t busy_max =
        FAULT_POINT(CACHE_MEMTABLE_TIGHT) ? 0 : table->ring_words - table->ring_words / SPARE_PART;
    writer->cleared = writer->cleared > begin ? writer->cleared : begin;
    writer->allowance += words * CARRIED_TIMES;
    writer->allowance =
        writer->allowance < ALLOWANCE_WORDS_MAX ? writer->allowance : ALLOWANCE_WORDS_MAX;
    for (int looks = 0;
         looks < LOOKS_MAX && writer->cleared < end && writer->next - writer->cleared > busy_max;
         looks++) {
        uint64_t oldest = writer->cleared;
        if (state_at(table, oldest) == STATE_LIVE && !carry(writer, oldest)) {
            return;
        }
        writer->cleared += words_at(table, oldest);
    }
}

bool memtable_put(struct memtable_writer *writer, uint64_t hash, struct slice key,
                  struct slice record)
{
    const struct memtable *table = &writer->table;
    if (!writer->is_used || record.len > MEMTABLE_RECORD_BYTES_MAX) {
        return false;
    }
    uint64_t words = entry_words(key.len, record.len);
    uint64_t place = take_place(writer, words, RESERVE_WORDS);
    if (place == 0) {
        if (writer->staying_words <= table->ring_words / 2) {
            clear_the_way(writer, words);
        }
        return false;
    }
    uint64_t replaced = find(table, hash, key);
    if (replaced != 0) {
        leave(writer, replaced);
    }
    add_entry(writer, place, hash, key, record);
    clear_the_way(writer, words);
    return true;
}

bool memtable_remove(struct memtable_writer *writer, uint64_t hash, struct slice key)
{
    const struct memtable *table = &writer->table;
    uint64_t place = writer->is_used ? find(table, hash, key) : 0;
    if (place != 0) {
        leave(writer, place);
        writer->has_removed = true;
    }
    return place != 0;
}

// ---- its end

static bool has_changes(const struct memtable_writer *writer)
{
    return writer->puts_count > 0 || writer->leaving_count > 0;
}

static void add_change(struct memtable_writer *writer, bool is_changing)
{
    struct memtable_header *header = writer->table.header;
    publish(&header->changes, read_own(&header->changes) + 1);
    atomic_thread_fence(memory_order_seq_cst);
    writer->is_changing = is_changing;
}

static void forget_turn(struct memtable_writer *writer)
{
    if (writer->is_changing) {
        add_change(writer, false);
    }
    if (writer->is_committing) {
        writer->is_committing = false;
        CHECK(pthread_mutex_unlock(&writer->still) == 0);
    }
    writer->puts_count = 0;
    writer->turn_words = 0;
    writer->has_removed = false;
    writer->leaving_count = 0;
    if (writer->leaving_capacity > LEAVING_KEEP) {
        free(writer->leaving);
        writer->leaving = NULL;
        writer->leaving_capacity = 0;
    }
}

void memtable_commit_begin(struct memtable_writer *writer, bool with_commit)
{
    if (!has_changes(writer)) {
        return;
    }
    CHECK(pthread_mutex_lock(&writer->still) == 0);
    writer->is_committing = true;
    if (writer->has_removed || with_commit) {
        add_change(writer, true);
    }
}

// Where nothing is in it the next entry goes to the front: while little is written its pages are
// few, and warm.
static void go_to_front(struct memtable_writer *writer)
{
    struct memtable_header *header = writer->table.header;
    if (writer->next % writer->table.ring_words != 0) {
        writer->next += words_left(writer);
        publish(&header->begin, writer->next);
        publish(&header->end, writer->next);
    }
}

// Of the entries that go with the turn those from `first` on and before `end`. The newest first: of
// a key that was put many times each is the second of its chain then.
static void unlink_leaving(const struct memtable_writer *writer, uint64_t first, uint64_t end)
{
    for (size_t i = writer->leaving_count; i > 0; i--) {
        uint64_t place = writer->leaving[i - 1];
        if (place >= first && place < end) {
            unlink_entry(&writer->table, place);
        }
    }
}

// What the turn has put in and taken out again goes before the turn comes into sight: who found it
// would find what it had replaced after it, which is there until then.
void memtable_commit_end(struct memtable_writer *writer)
{
    const struct memtable *table = &writer->table;
    if (!has_changes(writer)) {
        return;
    }
    uint64_t count = read_own(&table->header->count) + writer->puts_count;
    uint64_t end = read_own(&table->header->end);
    unlink_leaving(writer, end, UINT64_MAX);
    publish(&table->header->count, count);
    publish(&table->header->end, writer->next);
    unlink_leaving(writer, 0, end);
    publish(&table->header->count, count - writer->leaving_count);
    writer->staying_words += (uint64_t)writer->turn_words;
    if (count == writer->leaving_count) {
        go_to_front(writer);
    }
    forget_turn(writer);
}

// Takes what the turn has put in, from `first` on, off the front of the entry's chain.
static void take_off(const struct memtable *table, uint64_t place, uint64_t first)
{
    _Atomic uint64_t *head = head_of(table, memtable_load(table, place + MEMTABLE_AT_HASH));
    uint64_t newest = read_own(head);
    while (newest >= first) {
        newest = memtable_load(table, newest + MEMTABLE_AT_NEXT);
    }
    publish(head, newest);
    set_state(table, place, STATE_GONE);
}

// The room of what the turn has put in is left behind: somebody may stand on it.
static void undo(struct memtable_writer *writer)
{
    const struct memtable *table = &writer->table;
    uint64_t begin = read_own(&table->header->begin);
    uint64_t end = read_own(&table->header->end);
    uint64_t first = end > begin ? end : begin;
    writer->cleared = begin;
    for (size_t i = 0; i < writer->leaving_count; i++) {
        set_state(table, writer->leaving[i], STATE_LIVE);
    }
    for (uint64_t place = first; place < writer->next; place += words_at(table, place)) {
        if (state_at(table, place) == STATE_LIVE) {
            take_off(table, place, first);
        }
    }
}

void memtable_abort(struct memtable_writer *writer)
{
    if (has_changes(writer)) {
        undo(writer);
        forget_turn(writer);
    }
}
