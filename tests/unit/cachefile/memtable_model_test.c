// The memtable against plain arrays, in turns made by chance, with all that is old carried in every
// other phase; and beside them a reader that knows what it may find at any moment.

#include <pthread.h>

#include "base/fault.h"
#include "memtable_rig.h"

enum { KEYS = 60, OFTEN = 8, TURNS = 20000, PHASE_TURNS = 500, OPS_MAX = 400 };
enum { AT_NUMBER, AT_KEY, AT_LASTS, AT_COPIES }; // words of a record; the rest is the number again

struct model {
    struct place *place;
    // Of each key, `number << 1 | is_there`; the number is that of the change that made it so.
    uint64_t committed[KEYS], turn[KEYS];
    _Atomic uint64_t shown[KEYS], coming[KEYS]; // in sight at least, and at most
    uint64_t last_number;
    unsigned seed;
    atomic_bool stop;
    atomic_long found, wrong;
};

// What a turn has put in and does not keep is in no sight.
static bool may_be(struct model *model, int key)
{
    uint64_t room[ROOM_WORDS], at;
    size_t bytes = 0;
    uint64_t shown = atomic_load(&model->shown[key]);
    enum memtable_found found = find(&model->place->reader, key, room, &bytes, &at);
    uint64_t coming = atomic_load(&model->coming[key]);
    if (found != MEMTABLE_FOUND) {
        return found == MEMTABLE_UNKNOWN || shown != coming || shown % 2 == 0;
    }
    bool is_whole = room[AT_KEY] == (uint64_t)key && room[AT_LASTS] == 1;
    for (size_t i = AT_COPIES; i < bytes / sizeof room[0]; i++) {
        is_whole = is_whole && room[i] == room[AT_NUMBER];
    }
    model->found++;
    return is_whole && room[AT_NUMBER] >= shown >> 1 && room[AT_NUMBER] <= coming >> 1;
}

static void *watch(void *context)
{
    struct model *model = context;
    for (int key = 0; !model->stop; key = (key + 1) % KEYS) {
        model->wrong += !may_be(model, key);
    }
    return NULL;
}

// 0 words: it goes.
static void change(struct model *model, int key, size_t words, bool lasts)
{
    uint64_t record[ROOM_WORDS];
    uint64_t number = ++model->last_number;
    for (size_t i = 0; i < words; i++) {
        record[i] = i == AT_KEY ? (uint64_t)key : i == AT_LASTS ? lasts : number;
    }
    bool is_put = words > 0 && put_bytes(model->place, key, slice_of(record, words * 8));
    assert_true(is_put || take_out(model->place, key) == model->turn[key] % 2);
    model->turn[key] = number << 1 | is_put;
}

// How many there are.
static size_t expect_turn(struct model *model)
{
    size_t count = 0;
    for (int key = 0; key < KEYS; key++) {
        char text[16];
        struct slice name = key_of(key, text), record;
        bool is_there = memtable_get(&model->place->writer, sketch_hash(name), name, &record);
        assert_true(is_there == model->turn[key] % 2);
        assert_true(!is_there || *(const uint64_t *)record.at == model->turn[key] >> 1);
        count += is_there;
    }
    return count;
}

static void end_turn(struct model *model, bool is_aborted)
{
    struct memtable_writer *writer = &model->place->writer;
    expect_turn(model);
    for (int key = 0; !is_aborted && key < KEYS; key++) {
        atomic_store(&model->coming[key], model->turn[key]);
    }
    memtable_commit_begin(writer, model->last_number % 2 == 0);
    (is_aborted ? memtable_abort : memtable_commit_end)(writer);
    memcpy(is_aborted ? model->turn : model->committed, is_aborted ? model->committed : model->turn,
           sizeof model->turn);
    for (int key = 0; key < KEYS; key++) {
        atomic_store(&model->shown[key], model->committed[key]);
    }
    assert_int_equal(memtable_count(writer), expect_turn(model));
}

// Few keys are changed often, the others seldom; now and then more comes than there is room for, or
// nearly all that is changed goes.
static void run_turn(struct model *model)
{
    int keys[OPS_MAX], last[KEYS] = {0};
    int ops = rand_r(&model->seed) % (rand_r(&model->seed) % 100 == 0 ? OPS_MAX : 8);
    int gone_percent = rand_r(&model->seed) % 50 == 0 ? 95 : 5;
    bool is_aborted = rand_r(&model->seed) % 8 == 0;
    for (int i = 0; i < ops; i++) {
        keys[i] = rand_r(&model->seed) % (rand_r(&model->seed) % 10 == 0 ? KEYS : OFTEN);
        last[keys[i]] = i;
    }
    for (int i = 0; i < ops; i++) {
        size_t words = AT_COPIES + (size_t)rand_r(&model->seed) % (ROOM_WORDS - AT_COPIES + 1);
        bool goes = rand_r(&model->seed) % 100 < gone_percent;
        change(model, keys[i], goes ? 0 : words, !is_aborted && last[keys[i]] == i);
    }
    end_turn(model, is_aborted);
}

static void it_is_what_plain_arrays_are(void **state)
{
    struct model model = {.place = *state, .seed = 1};
    struct failure failure;
    pthread_t reader;
    assert_int_equal(pthread_create(&reader, NULL, watch, &model), 0);
    for (int turn = 0; turn < TURNS; turn++) {
        const char *faults = turn / PHASE_TURNS % 2 == 0 ? "" : "cache.memtable_tight=fail";
        assert_int_equal(fault_arm(faults, &failure), ERROR_NONE);
        run_turn(&model);
    }
    model.stop = true;
    assert_int_equal(pthread_join(reader, NULL), 0);
    assert_true(model.found > 0);
    assert_int_equal(model.wrong, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {TEST(it_is_what_plain_arrays_are)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
