// The daemon's parts put together as main.c does it, and taken apart again. The clients are in
// clients.c.
#include "simulation/world/node.h"

#include <lmdb.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/memory.h"
#include "cache/writer_state.h"
#include "pg/flusher.h"
#include "pg/guest.h"
#include "pg/worker.h"
#include "remove_tree.h"
#include "simulation/world/binding.h"
#include "simulation/world/clients.h"
#include "simulation/world/disk.h"
#include "simulation/world/loop.h"
#include "simulation/world/machine.h"
#include "simulation/world/server.h"

enum { HOME_COUNT_MAX = 1000, HOME_BYTES_MAX = 1 << 24, ANSWER_BYTES_MAX = 1 << 20 };
enum { VALUE_BYTES_LIMIT = 1 << 16, SECTOR_BYTES = 512 };

static struct node nodes[NODES_MAX];

// ---- the crash at a commit

static struct {
    int commits_left; // 0: no crash is to come
    bool after;
    jmp_buf out;
} crash;

int __real_mdb_txn_commit(MDB_txn *txn);

// Every commit of either environment passes here.
int __wrap_mdb_txn_commit(MDB_txn *txn)
{
    bool is_last = crash.commits_left > 0 && --crash.commits_left == 0;
    if (is_last && !crash.after) {
        mdb_txn_abort(txn);
        longjmp(crash.out, 1);
    }
    int code = __real_mdb_txn_commit(txn);
    if (is_last) {
        longjmp(crash.out, 1);
    }
    return code;
}

enum error __real_outbox_log_write(struct outbox_log *log);

// Some sectors of what was written last are as they were before.
static void tear(const struct outbox_log *log, size_t from, size_t bytes, const uint8_t *before)
{
    size_t torn = machine_below((uint32_t)(bytes / SECTOR_BYTES)) * SECTOR_BYTES;
    size_t len = bytes - torn;
    if (machine_chance(500)) {
        torn = 0; // the first ones
    }
    CHECK(pwrite(log->fd, before + torn, len, (off_t)(from + torn)) == (ssize_t)len);
}

// Every group of the log passes here: a crash may come before it, after it, or in its midst.
enum error __wrap_outbox_log_write(struct outbox_log *log)
{
    bool is_last = crash.commits_left > 0 && --crash.commits_left == 0;
    if (!is_last) {
        return __real_outbox_log_write(log);
    }
    size_t from = log->end_bytes;
    uint8_t *before = memory_zeroed(1, log->capacity_bytes);
    CHECK(pread(log->fd, before, log->capacity_bytes, 0) == (ssize_t)log->capacity_bytes);
    bool is_begun = crash.after || machine_chance(500);
    enum error error = is_begun ? __real_outbox_log_write(log) : ERROR_NONE;
    if (!crash.after && log->end_bytes > from) {
        tear(log, from, log->end_bytes - from, before + from);
    }
    free(before);
    CHECK(error == ERROR_NONE || error == ERROR_FULL);
    longjmp(crash.out, 1);
}

enum error __real_outbox_ring_add(struct outbox_ring *ring, uint64_t before_seq,
                                  struct rows_cursor rows);

// Whatever was added to the ring may be there up to any byte, in the order in which it was stored:
// the records, and then the header.
static void tear_ring(struct outbox_ring *ring, uint64_t from, const uint8_t *before)
{
    uint8_t *map = (uint8_t *)ring->header;
    uint64_t cut = from + machine_below((uint32_t)(ring->end - from) + 1);
    for (uint64_t at = cut; at < ring->end; at++) {
        size_t offset = RING_HEADER_BYTES + at % ring->capacity_bytes;
        map[offset] = before[offset];
    }
    memcpy(map, before, RING_HEADER_BYTES);
}

// Writes that are acknowledged in memory alone pass here.
enum error __wrap_outbox_ring_add(struct outbox_ring *ring, uint64_t before_seq,
                                  struct rows_cursor rows)
{
    bool is_last = crash.commits_left > 0 && --crash.commits_left == 0;
    if (!is_last) {
        return __real_outbox_ring_add(ring, before_seq, rows);
    }
    uint64_t from = ring->end;
    size_t bytes = RING_HEADER_BYTES + ring->capacity_bytes;
    uint8_t *before = memory_zeroed(1, bytes);
    memcpy(before, ring->header, bytes);
    enum error error = __real_outbox_ring_add(ring, before_seq, rows);
    if (error == ERROR_NONE && !crash.after) {
        tear_ring(ring, from, before);
    }
    free(before);
    longjmp(crash.out, 1);
}

enum error __real_outbox_retire(struct outbox *outbox, const struct entry *entry,
                                const struct retire_message *letter, int64_t now_us);

// An entry that was taken out of the flushing is not missed in a batch.
enum error __wrap_outbox_retire(struct outbox *outbox, const struct entry *entry,
                                const struct retire_message *letter, int64_t now_us)
{
    for (int i = 0; i < NODES_MAX; i++) {
        if (nodes[i].writer != NULL && &nodes[i].writer->outbox == outbox) {
            ledger_retired(i, entry->seq);
        }
    }
    return __real_outbox_retire(outbox, entry, letter, now_us);
}

// ---- settings

static char *path_of(const char *directory, int number, const char *what)
{
    char path[160];
    snprintf(path, sizeof path, "%s/node%d-%s", directory, number, what);
    return memory_string(slice_of_string(path));
}

void node_prepare(int number, const struct node_settings *settings)
{
    struct node *node = &nodes[number];
    *node = (struct node){.number = number, .given = *settings, .boots = 1};
    node->settings.server.max_value_bytes = VALUE_BYTES_LIMIT;
    node->settings.cache = (struct cache_settings){
        .dir = path_of(settings->directory, number, "cache"),
        .size_bytes = settings->cache_bytes,
        .max_stale_us = settings->max_stale_us,
        .negative = settings->negative,
        .audit_rate = settings->audit_rate,
        .preload = settings->preload,
    };
    node->settings.writes = (struct writes_settings){
        .dir = path_of(settings->directory, number, "outbox"),
        .ack = ACK_JOURNAL,
        .outbox_bytes = settings->outbox_bytes,
        .linger_us = settings->linger_us,
        .batch_rows = settings->batch_rows,
        .retain_us = settings->retain_us,
        .timeout_us = settings->timeout_ms * 1000,
    };
    node->settings.postgres = (struct postgres_settings){
        .conninfo = (char *)"host=model",
        .table = (char *)"public.kv_store",
        .create_schema = SCHEMA_REQUIRE,
        .connections = 2,
        .connect_timeout_us = 3000000,
        .statement_timeout_us = 30000000,
    };
}

struct node *node_of(int number)
{
    return &nodes[number];
}

bool node_is_up(const struct node *node)
{
    return node->writer != NULL;
}

int64_t node_stale_count(struct node *node)
{
    return status_get(&node->status, STATUS_CACHE_AUDIT_STALE);
}

bool node_has_failed(const struct node *node)
{
    return node->failed;
}

// ---- up

static void on_stop(void *context, int exit_status)
{
    struct node *node = context;
    trace("node %d asks to be stopped, %d", node->number, exit_status);
    node->failed = true;
}

static void open_writer(struct node *node)
{
    char boot_id[40];
    snprintf(boot_id, sizeof boot_id, "00000000-0000-4000-8000-%012d", node->boots);
    const struct writer_options options = {
        .settings = &node->settings,
        .status = &node->status,
        .stop = {.context = node, .stop = on_stop},
        .boot_id = boot_id,
        .has_readers = node->given.has_readers,
        .moves_by_hand = true,
    };
    struct failure failure = {0};
    if (writer_open(&options, &node->writer, &failure) != ERROR_NONE) {
        violation("start", "node %d does not start: %s", node->number, failure.message);
    }
    server_expect_node(node->number, writer_identity(node->writer)->node);
    node->cache = writer_cache_port(node->writer);
    node->outbox = writer_outbox_port(node->writer);
    CHECK(node->cache.reader_open(node->cache.cache, &node->reader) == ERROR_NONE);
}

static void open_worker(struct node *node)
{
    const struct worker_options options = {
        .settings = &node->settings,
        .status = &node->status,
        .cache = node->cache,
        .outbox = node->outbox,
        .stop = {.context = node, .stop = on_stop},
        .writer = writer_mailbox(node->writer),
        .identity = *writer_identity(node->writer),
    };
    CHECK(worker_create(&options, &node->worker) == ERROR_NONE);
    struct mailbox *servers[] = {&node->home};
    writer_connect(node->writer, worker_mailbox(node->worker), servers, 1);
    worker_begin(node->worker);
}

// ---- the server loop as a guest of the pg worker, which is at work now and then

static bool be_busy(struct worker *worker)
{
    bool is_busy = machine_chance(200);
    if (is_busy) {
        helm_take(&worker->helm);
    }
    return is_busy;
}

static bool ask_now(void *context, struct request *request, int epoll)
{
    struct node *node = context;
    struct fetch_port port = guest_port(node->worker);
    bool is_busy = be_busy(node->worker);
    bool is_taken = port.ask(port.worker, request, epoll);
    CHECK(!is_taken || !is_busy);
    if (is_busy) {
        helm_leave(&node->worker->helm);
    }
    return is_taken;
}

void node_takes_lent(int epoll)
{
    struct node *node = &nodes[epoll];
    struct fetch_port port = guest_port(node->worker);
    bool is_busy = be_busy(node->worker);
    bool is_seen_to = port.on_ready(port.worker, epoll);
    CHECK(is_seen_to != is_busy);
    if (is_busy) {
        helm_leave(&node->worker->helm);
    }
}

// ---- up

void node_start(struct node *node)
{
    trace("node %d starts", node->number);
    node->failed = false;
    status_init(&node->status);
    CHECK(mailbox_init(&node->home, HOME_COUNT_MAX, HOME_BYTES_MAX) == ERROR_NONE);
    open_writer(node);
    open_worker(node);
    node->own_fetch =
        (struct own_fetch){.port = {.worker = node, .ask = ask_now}, .epoll_fd = node->number};
    node->dispatch = (struct dispatch){
        .cache = &node->cache,
        .reader = node->reader,
        .writer = writer_mailbox(node->writer),
        .pg = worker_mailbox(node->worker),
        .home = &node->home,
        .own_fetch = node->given.fetches_itself ? &node->own_fetch : NULL,
        .status = &node->status,
        .reply_bytes_max = ANSWER_BYTES_MAX,
    };
    ledger_restarted(node->number);
    clients_see_journal(node);
}

// ---- down

static void destroy_all(struct message *message)
{
    while (message != NULL) {
        struct message *next = message->next;
        message_destroy(message);
        message = next;
    }
}

static void close_rest(struct node *node)
{
    dispatch_deinit(&node->dispatch);
    worker_destroy(node->worker);
    node->cache.reader_close(node->reader);
    writer_close(node->writer);
    destroy_all(mailbox_take(&node->home));
    mailbox_deinit(&node->home);
    status_deinit(&node->status);
    node->worker = NULL;
    node->writer = NULL;
    clients_forget(node);
}

void node_crash(struct node *node)
{
    trace("node %d crashes", node->number);
    node->drained_seq = 0;
    // What is said from here on, nobody hears: it only frees memory and closes connections.
    worker_end(node->worker);
    close_rest(node);
}

void node_lose_cache(struct node *node)
{
    if (node->given.loses_cache && machine_chance(300)) {
        trace("the cache of node %d is deleted", node->number);
        CHECK(remove_tree(node->settings.cache.dir));
    }
}

// How far PostgreSQL is where nothing else is left; 0: something is.
static uint64_t drained_seq(const struct node *node)
{
    const struct writer *writer = node->writer;
    bool is_drained = writer->applied_seq == writer->last_seq && writer->memory.count == 0 &&
                      node->worker->applied_seq == writer->applied_seq && !writer->mailbox.woken &&
                      writer->backlog == NULL && writer->undurable == NULL;
    return is_drained ? writer->applied_seq : 0;
}

// A failover of which it has not heard yet may have lost what it takes for applied.
bool node_is_drained(const struct node *node)
{
    uint64_t seq = node->writer == NULL ? node->drained_seq : drained_seq(node);
    return seq > 0 && seq == ledger_applied_seq(node->number);
}

bool node_may_go_down(const struct node *node)
{
    char system[SYSTEM_IDENTIFIER_BYTES];
    server_system(system);
    return binding_is_to(node, system) || node_is_drained(node);
}

bool node_may_crash_in_turn(const struct node *node)
{
    char system[SYSTEM_IDENTIFIER_BYTES];
    server_system(system);
    return binding_is_to(node, system) ||
           (binding_is_on_its_way(node) && node->writer->applied_seq == node->writer->last_seq);
}

void node_stop(struct node *node)
{
    trace("node %d stops", node->number);
    node->drained_seq = drained_seq(node);
    worker_end(node->worker);
    writer_stop(node->writer);
    node_take_answers(node);
    clients_see_journal(node);
    close_rest(node);
}

void node_lose_machine(struct node *node)
{
    trace("the machine of node %d goes down", node->number);
    node->boots++;
    static const char *const FILES[] = {"outbox.mdb", OUTBOX_LOG_FILE};
    for (size_t i = 0; i < sizeof FILES / sizeof FILES[0]; i++) {
        char path[256];
        snprintf(path, sizeof path, "%s/%s", node->settings.writes.dir, FILES[i]);
        disk_lose_power(path);
    }
    ledger_machine_lost(node->number);
}

// ---- turns

bool node_has_turn(const struct node *node)
{
    return node->writer->mailbox.woken || machine.now_us >= node->next_turn_us;
}

static void run_turn(struct node *node)
{
    int wait_ms = writer_turn(node->writer);
    node->next_turn_us = machine.now_us + wait_ms * (int64_t)1000;
}

void node_turn(struct node *node)
{
    trace("node %d: turn of the writer", node->number);
    run_turn(node);
    clients_see_journal(node);
}

bool node_has_move(const struct node *node)
{
    return node->writer->mover.state == MOVER_ORDERED;
}

void node_move(struct node *node)
{
    trace("node %d: the mover commits", node->number);
    CHECK(writer_move(node->writer));
}

void node_turn_and_crash(struct node *node)
{
    bool moves = node_has_move(node) && machine_chance(500);
    crash.commits_left = moves ? 1 : 1 + (int)machine_below(2);
    crash.after = machine_chance(500);
    if (setjmp(crash.out) == 0) {
        if (moves) {
            node_move(node);
        } else {
            run_turn(node);
        }
        crash.commits_left = 0;
    } else {
        trace("node %d: crash %s a commit", node->number, crash.after ? "after" : "before");
        // The transaction is over either way.
        node->writer->outbox.txn = NULL;
    }
    node_crash(node);
}

bool node_has_mail(const struct node *node)
{
    return worker_mailbox(node->worker)->woken;
}

void node_take_mail(struct node *node)
{
    trace("node %d: mail of the pg worker", node->number);
    loop_fire(node->worker->mailbox_event);
}

struct event_base *node_base(const struct node *node)
{
    return node->worker->base;
}

// ---- the end

bool node_is_at_rest(const struct node *node)
{
    struct status *status = (struct status *)(uintptr_t)&node->status;
    return status_get(status, STATUS_PG_STATE) == NODE_LIVE &&
           flusher_is_drained(node->worker->flusher) && node->writer->memory.count == 0 &&
           !node->writer->mailbox.woken && node->writer->backlog == NULL &&
           node->writer->undurable == NULL && !node_has_mail(node) && clients_are_idle(node);
}

const char *node_state_text(const struct node *node)
{
    static char text[1024];
    if (!node_is_up(node)) {
        return "down";
    }
    struct status *status = (struct status *)(uintptr_t)&node->status;
    snprintf(text, sizeof text, "%s, journaled %lld, applied %llu, ready %d, %s",
             node_state_name((enum node_state)status_get(status, STATUS_PG_STATE)),
             (long long)status_get(status, STATUS_OUTBOX_JOURNALED_SEQ),
             (unsigned long long)node->worker->applied_seq, node->worker->ready,
             node->worker->last_failure.message);
    return text;
}
