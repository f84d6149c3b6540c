// The writers. A call that comes to nothing is repeated with the same id; whether it had been done
// is the node's to know.

#include "system/harness/tally.h"

#include <stdio.h>
#include <string.h>

#include "base/mpack.h"
#include "system/harness/deadline.h"
#include "system/harness/tally_journal.h"

enum { CALL_TIMEOUT_MS = 4000, KEY_BYTES = 32, ID_BYTES = 40 };

static void key_of(const struct writer *writer, int set, char key[KEY_BYTES])
{
    if (set < TALLY_SLOTS) {
        snprintf(key, KEY_BYTES, "slot:%d", set);
    } else {
        snprintf(key, KEY_BYTES, "own:%d", writer->index);
    }
}

const char *tally_set_key(const struct writer *writer, int set)
{
    char key[KEY_BYTES];
    key_of(writer, set, key);
    return scenario_text(writer->tally->scenario, "%s", key);
}

// Whether the same call may be made again.
static bool may_repeat(pgnear_code code)
{
    return code == PGNEAR_UNREACHABLE || code == PGNEAR_UNAVAILABLE || code == PGNEAR_TIMEOUT ||
           code == PGNEAR_OUTCOME_UNKNOWN || code == PGNEAR_OVERLOADED;
}

// One write, whole: it is called until it is answered.
struct write {
    const char *key;
    int counter; // -1: a set
    struct slice value;
    pgnear_write_options options;
    // The answer:
    long long result;
    uint64_t seq;
};

static pgnear_code call(struct writer *writer, struct write *write, pgnear_error *error)
{
    pgnear_bytes value = {write->value.at, write->value.len};
    if (write->counter < 0) {
        pgnear_written written = {0};
        pgnear_code code = pgnear_set(writer->handle, pgnear_text(write->key), value,
                                      &write->options, &written, error);
        write->seq = written.seq;
        return code;
    }
    pgnear_item item = {0};
    pgnear_code code =
        pgnear_incr(writer->handle, pgnear_text(write->key), value, &write->options, &item, error);
    int64_t result;
    if (code == PGNEAR_OK) {
        struct mpack_cursor cursor = mpack_cursor_of(slice_of(item.value.at, item.value.len));
        if (!mpack_read_int(&cursor, &result)) {
            scenario_fail("incr %s does not answer an integer", write->key);
        }
        write->result = result;
    }
    return code;
}

static pgnear_code try_call(struct writer *writer, struct write *write, pgnear_error *error)
{
    const char *socket_path = writer->tally->node->socket_path;
    pgnear_code code = PGNEAR_OK;
    if (writer->handle == NULL) {
        code = pgnear_open(socket_path, NULL, &writer->handle, error);
    }
    return code == PGNEAR_OK ? call(writer, write, error) : code;
}

static void write_until_answered(struct writer *writer, struct write *write)
{
    char id[ID_BYTES];
    snprintf(id, sizeof id, "%d-%llu", writer->index, (unsigned long long)++writer->writes);
    write->options.id = pgnear_text(id);
    write->options.timeout_ms = CALL_TIMEOUT_MS;
    struct deadline deadline = deadline_in(4 * DEADLINE_MS);
    pgnear_error error;
    pgnear_code code;
    while ((code = try_call(writer, write, &error)) != PGNEAR_OK) {
        atomic_fetch_add(&writer->calls, 1);
        atomic_fetch_add(&writer->repeats, 1);
        if (!may_repeat(code) || !deadline_again(&deadline)) {
            scenario_fail("the write %s of %s: %s: %s", id, write->key, error.name, error.message);
        }
    }
}

static void count_ack(struct writer *writer, struct account *account)
{
    atomic_fetch_add(&account->acked, 1);
    atomic_fetch_add(&writer->tally->acks, 1);
    // After what is answered is counted: who waits for this finds it counted.
    atomic_fetch_add(&writer->calls, 1);
}

static void increment(struct writer *writer, int counter)
{
    char key[KEY_BYTES];
    snprintf(key, sizeof key, "hot:%d", counter);
    static const uint8_t ONE[] = {1};
    struct write write = {.key = key,
                          .counter = counter,
                          .value = slice_of(ONE, sizeof ONE),
                          .options = PGNEAR_WRITE_OPTIONS_INIT};
    atomic_fetch_add(&writer->counters[counter].sent, 1);
    write_until_answered(writer, &write);
    if (write.result <= writer->counter_last[counter]) {
        scenario_fail("incr %s answers %lld after %lld", key, write.result,
                      writer->counter_last[counter]);
    }
    writer->counter_last[counter] = write.result;
    count_ack(writer, &writer->counters[counter]);
}

static void set(struct writer *writer, int set)
{
    struct account *account = &writer->sets[set];
    char key[KEY_BYTES];
    key_of(writer, set, key);
    struct buffer value = {0};
    msgpack_packer packer;
    mpack_packer_init(&packer, &value);
    msgpack_pack_array(&packer, 2);
    msgpack_pack_int(&packer, writer->index);
    msgpack_pack_int64(&packer, atomic_fetch_add(&account->sent, 1) + 1);
    struct write write = {.key = key,
                          .counter = -1,
                          .value = buffer_slice(&value),
                          .options = PGNEAR_WRITE_OPTIONS_INIT};
    write.options.ack = writer->tally->ack;
    write_until_answered(writer, &write);
    buffer_deinit(&value);
    if (write.seq <= writer->seq_last) {
        scenario_fail("%s has seq %llu after %llu", key, (unsigned long long)write.seq,
                      (unsigned long long)writer->seq_last);
    }
    writer->seq_last = write.seq;
    atomic_store(&account->seq, write.seq);
    count_ack(writer, account);
}

// Nobody else writes it, so it is what was answered last. Where the node is dead or has nothing to
// answer with there is nothing to see.
static void read_own(struct writer *writer)
{
    char key[KEY_BYTES];
    key_of(writer, TALLY_SLOTS, key);
    pgnear_item item;
    pgnear_error error;
    pgnear_code code = writer->handle == NULL
                           ? PGNEAR_UNREACHABLE
                           : pgnear_get(writer->handle, pgnear_text(key), NULL, &item, &error);
    if (code != PGNEAR_OK) {
        if (!may_repeat(code) && code != PGNEAR_UNREACHABLE) {
            scenario_fail("get %s: %s: %s", key, error.name, error.message);
        }
        return;
    }
    int64_t number = 0;
    if (item.present) {
        struct mpack_cursor cursor = mpack_cursor_of(slice_of(item.value.at, item.value.len));
        uint32_t count;
        int64_t index;
        if (!mpack_read_array(&cursor, &count) || !mpack_read_int(&cursor, &index) ||
            !mpack_read_int(&cursor, &number)) {
            scenario_fail("nobody wrote what %s is", key);
        }
    }
    if (number != atomic_load(&writer->sets[TALLY_SLOTS].acked)) {
        scenario_fail("%s is read as number %lld, %lld was answered", key, (long long)number,
                      atomic_load(&writer->sets[TALLY_SLOTS].acked));
    }
}

static void run_writer(void *context, int index)
{
    struct tally *tally = context;
    struct writer *writer = &tally->writers[index];
    while (!worker_is_stopping()) {
        uint64_t what = random_below(&writer->random, 10);
        if (what < 4) {
            increment(writer, (int)random_below(&writer->random, TALLY_COUNTERS));
        } else {
            set(writer, what < 8 ? (int)random_below(&writer->random, TALLY_SLOTS) : TALLY_SLOTS);
        }
        read_own(writer);
    }
    pgnear_close(writer->handle);
    writer->handle = NULL;
}

struct tally *tally_start(struct scenario *scenario, struct pg *pg, struct node *node,
                          const struct tally_options *options)
{
    struct tally *tally = scenario_alloc(scenario, sizeof *tally);
    tally->scenario = scenario;
    tally->pg = pg;
    tally->node = node;
    tally->ack = strcmp(options->ack, "postgres") == 0 ? PGNEAR_ACK_POSTGRES : PGNEAR_ACK_JOURNAL;
    tally->versioned = options->versioned;
    for (int i = 0; i < TALLY_WRITERS; i++) {
        tally->writers[i].tally = tally;
        tally->writers[i].index = i;
        tally->writers[i].random = random_of(random_seed(), 5000 + (uint64_t)i);
    }
    tally_audit(tally);
    tally->workers = workers_start(scenario, TALLY_WRITERS, run_writer, tally);
    return tally;
}

void tally_await(struct tally *tally, uint64_t more)
{
    uint64_t goal = atomic_load(&tally->acks) + more;
    struct deadline deadline = deadline_in(2 * DEADLINE_MS);
    while (atomic_load(&tally->acks) < goal) {
        if (!deadline_again(&deadline)) {
            scenario_fail("writes are no longer answered");
        }
    }
}

// A call that began before the kill ends with what the socket still holds or with an error; the
// next can only end with an error.
static void await_noticed(struct tally *tally)
{
    uint64_t before[TALLY_WRITERS];
    for (int i = 0; i < TALLY_WRITERS; i++) {
        before[i] = atomic_load(&tally->writers[i].calls);
    }
    struct deadline deadline = deadline_in(DEADLINE_MS);
    for (int i = 0; i < TALLY_WRITERS; i++) {
        while (atomic_load(&tally->writers[i].calls) < before[i] + 2) {
            if (!deadline_again(&deadline)) {
                scenario_fail("writer %d hangs", i);
            }
        }
    }
}

void tally_check_dead(struct tally *tally)
{
    await_noticed(tally);
    tally_check_bounds(tally);
}

void tally_stop_and_check(struct tally *tally)
{
    node_await_state(tally->node, "live");
    workers_stop(tally->workers);
    workers_join(tally->workers);
    assert_rpc(tally->node, "flush", "[{\"timeout_ms\": 30000}]", "{\"seq\": \"*\"}");
    tally_check_bounds(tally);
    tally_check_end(tally);
}
