// A lane is a connection with `pipeline` slots, each of which has at most one operation in flight.
// Whatever one read() brought is taken, the slots it freed are filled, and all new requests leave
// in one write(). So every server sees the same calls for the same answers.
//
// Closed loop: a slot's next operation starts when its last one ends, and its latency counts from
// the write. A server that stalls is asked less meanwhile, so a stall shows once in each slot and
// not in all the requests that users would have sent (coordinated omission): good for throughput,
// mild on tails.
//
// Open loop: operations are due at fixed distances, and their latency counts from when they were
// due, whether or not a slot was free. The loop sleeps until the next is due or an answer is there,
// as its users would: one that spins on a core that others want has used up its share of it when
// something is due, and measures itself. With `spins` it has a core of its own.
//
// One connection in a closed loop waits in poll(), as libpq and libpgnear do; several wait in
// epoll. Whoever blocks in recv() on a Unix socket is woken by the server's reading of the request
// as well, which makes room to write.
//
// What this client costs is the same whoever is asked, and little: all lanes read into one room and
// write from one buffer, which stay in the processor's cache, and a value is looked at where the
// kernel has put it.
#include "load/run.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/check.h"
#include "base/memory.h"
#include "base/thread.h"

enum { READ_BYTES = 256 << 10, EVENTS_MAX = 128, SCAN_LIMIT = 50, OPEN_PATIENCE_NS = 1000000 };

struct slot {
    enum operation operation;
    bool writes_next; // the second half of a read-modify-write
    uint64_t key;
    char key_text[KEY_TEXT_BYTES];
    uint64_t due_ns;
};

struct lane {
    int fd;
    struct slot *slots;
    uint32_t *order; // of the slots in flight, oldest first: a ring of `pipeline`
    uint32_t order_head;
    uint32_t order_count;
    uint32_t *idle; // a stack
    uint32_t idle_count;
    struct buffer in; // the beginning of a response that is not whole
};

struct run {
    const struct plan *plan;
    struct outcome *outcome;
    struct key_chooser keys;
    struct lane *lanes;
    int epoll_fd;
    uint8_t *value;
    uint8_t *room;     // all lanes read into
    struct buffer out; // what one lane is about to send
    uint64_t started;  // operations
    uint64_t began_ns;
    uint64_t measures_ns; // where the warm-up ends
    uint64_t ends_ns;
    uint64_t next_due_ns; // open loop
};

static _Noreturn void give_up(const char *what)
{
    fprintf(stderr, "bench_load: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

// ---- Connections

static int connect_to(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    CHECK(strlen(path) < sizeof address.sun_path);
    memcpy(address.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) != 0) {
        give_up(path);
    }
    return fd;
}

static void open_lane(struct run *run, uint32_t number)
{
    const struct plan *plan = run->plan;
    struct lane *lane = &run->lanes[number];
    lane->fd = connect_to(plan->socket);
    lane->slots = memory_zeroed(plan->pipeline, sizeof *lane->slots);
    lane->order = memory_zeroed(plan->pipeline, sizeof *lane->order);
    lane->idle = memory_zeroed(plan->pipeline, sizeof *lane->idle);
    for (uint32_t i = 0; i < plan->pipeline; i++) {
        lane->idle[lane->idle_count++] = plan->pipeline - 1 - i;
    }
    struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.u32 = number};
    if (epoll_ctl(run->epoll_fd, EPOLL_CTL_ADD, lane->fd, &event) != 0) {
        give_up("epoll");
    }
}

static void close_lane(struct lane *lane)
{
    close(lane->fd);
    free(lane->slots);
    free(lane->order);
    free(lane->idle);
    buffer_deinit(&lane->in);
}

static void write_out(struct run *run, struct lane *lane)
{
    while (buffer_len(&run->out) > 0) {
        struct slice bytes = buffer_slice(&run->out);
        ssize_t len = send(lane->fd, bytes.at, bytes.len, MSG_NOSIGNAL);
        if (len < 0 && errno != EINTR) {
            give_up("send");
        }
        buffer_consume(&run->out, len < 0 ? 0 : (size_t)len);
    }
}

// ---- Operations

static void send_request(struct run *run, struct lane *lane, uint32_t number)
{
    const struct plan *plan = run->plan;
    struct slot *slot = &lane->slots[number];
    uint8_t *at = buffer_reserve(&run->out, REQUEST_BYTES_MAX + plan->value_bytes);
    const char *key = slot->key_text;
    size_t len;
    if (slot->operation == OPERATION_SCAN) {
        len = plan->protocol->scan(at, number, key, SCAN_LIMIT);
    } else if (slot->operation == OPERATION_READ || slot->writes_next) {
        len = plan->protocol->get(at, number, key);
    } else {
        value_format(slot->key, run->value, plan->value_bytes);
        len = plan->protocol->set(at, number, key, slice_of(run->value, plan->value_bytes));
    }
    buffer_commit(&run->out, len);
    lane->order[(lane->order_head + lane->order_count++) % plan->pipeline] = number;
}

static bool may_start(const struct run *run)
{
    return run->plan->operations == 0 || run->started < run->plan->operations;
}

static void start(struct run *run, struct lane *lane, uint64_t due_ns)
{
    uint32_t number = lane->idle[--lane->idle_count];
    struct slot *slot = &lane->slots[number];
    slot->operation = mix_draw(run->plan->mix, &run->keys);
    slot->writes_next = slot->operation == OPERATION_READ_MODIFY_WRITE;
    slot->key =
        slot->operation == OPERATION_INSERT ? keys_insert(&run->keys) : keys_next(&run->keys);
    key_format(slot->key, slot->key_text);
    slot->due_ns = due_ns;
    run->started++;
    send_request(run, lane, number);
}

static void note_error(struct run *run, struct slice text)
{
    struct outcome *outcome = run->outcome;
    if (outcome->errors++ == 0) {
        size_t len = 0;
        for (size_t i = 0; i < text.len && len < sizeof outcome->first_error - 1; i++) {
            uint8_t byte = text.at[i];
            bool plain = byte >= ' ' && byte < 0x7f && byte != '"' && byte != '\\';
            outcome->first_error[len++] = plain ? (char)byte : ' ';
        }
    }
}

static void judge(struct run *run, const struct slot *slot, const struct reply_seen *seen)
{
    struct outcome *outcome = run->outcome;
    if (seen->kind == REPLY_HIT) {
        outcome->hits++;
        outcome->wrong +=
            !value_is_of(slot->key_text, seen->value.at, seen->value.len, run->plan->value_bytes);
    } else if (seen->kind == REPLY_MISS) {
        outcome->misses++;
    } else if (seen->kind == REPLY_ERROR) {
        note_error(run, seen->text);
    }
}

static uint32_t take_slot(struct run *run, struct lane *lane, const struct reply_seen *seen)
{
    CHECK(lane->order_count > 0);
    uint32_t number = lane->order[lane->order_head];
    lane->order_head = (lane->order_head + 1) % run->plan->pipeline;
    lane->order_count--;
    if (seen->has_tag) {
        // Tags name the slot; the ring then only counts what is in flight.
        CHECK_VALUES(seen->tag < run->plan->pipeline, "tag %u", seen->tag);
        number = seen->tag;
    }
    return number;
}

static void end(struct run *run, struct lane *lane, const struct reply_seen *seen, uint64_t at_ns)
{
    uint32_t number = take_slot(run, lane, seen);
    struct slot *slot = &lane->slots[number];
    judge(run, slot, seen);
    if (slot->writes_next) {
        slot->writes_next = false;
        send_request(run, lane, number);
        return;
    }
    if (at_ns >= run->measures_ns) {
        run->outcome->operations++;
        hdr_record(&run->outcome->latency, at_ns - slot->due_ns);
    }
    lane->idle[lane->idle_count++] = number;
}

// Every response that is whole; the length of them all.
static size_t take_responses(struct run *run, struct lane *lane, struct slice bytes)
{
    uint64_t at_ns = now_ns();
    size_t taken = 0;
    struct reply_seen seen;
    for (;;) {
        run->plan->protocol->parse(slice_of(bytes.at + taken, bytes.len - taken), &seen);
        if (seen.kind == REPLY_BAD) {
            errno = EPROTO;
            give_up("response");
        }
        if (seen.kind == REPLY_NEED_MORE) {
            return taken;
        }
        end(run, lane, &seen, at_ns);
        taken += seen.consumed;
    }
}

// One read() and every response it completed. False: there was no more.
static bool take_input(struct run *run, struct lane *lane)
{
    bool continues = buffer_len(&lane->in) > 0;
    uint8_t *at = continues ? buffer_reserve(&lane->in, READ_BYTES) : run->room;
    ssize_t len = recv(lane->fd, at, READ_BYTES, MSG_DONTWAIT);
    if (len < 0 && (errno == EAGAIN || errno == EINTR)) {
        return errno == EINTR;
    }
    if (len <= 0) {
        give_up("the server closed the connection");
    }
    if (continues) {
        buffer_commit(&lane->in, (size_t)len);
        buffer_consume(&lane->in, take_responses(run, lane, buffer_slice(&lane->in)));
    } else {
        size_t taken = take_responses(run, lane, slice_of(run->room, (size_t)len));
        buffer_append(&lane->in, run->room + taken, (size_t)len - taken);
    }
    return len == READ_BYTES;
}

// All that has come: events of epoll are edge-triggered, and a read that did not fill its room has
// emptied the socket.
static void take_all(struct run *run, struct lane *lane)
{
    while (take_input(run, lane)) {
    }
}

static void refill(struct run *run, struct lane *lane)
{
    uint64_t at_ns = now_ns();
    while (lane->idle_count > 0 && at_ns < run->ends_ns && may_start(run)) {
        start(run, lane, at_ns);
    }
    write_out(run, lane);
}

// ---- Loops

static bool is_anything_out(const struct run *run)
{
    for (unsigned i = 0; i < run->plan->connections; i++) {
        if (run->lanes[i].order_count > 0) {
            return true;
        }
    }
    return false;
}

static void run_alone(struct run *run)
{
    struct lane *lane = &run->lanes[0];
    refill(run, lane);
    while (lane->order_count > 0) {
        struct pollfd entry = {.fd = lane->fd, .events = POLLIN};
        if (poll(&entry, 1, -1) > 0) {
            take_all(run, lane);
            refill(run, lane);
        }
    }
}

static void run_closed(struct run *run)
{
    struct epoll_event events[EVENTS_MAX];
    for (unsigned i = 0; i < run->plan->connections; i++) {
        refill(run, &run->lanes[i]);
    }
    while (is_anything_out(run)) {
        int count = epoll_wait(run->epoll_fd, events, EVENTS_MAX, run->plan->spins ? 0 : -1);
        for (int i = 0; i < count; i++) {
            struct lane *lane = &run->lanes[events[i].data.u32];
            take_all(run, lane);
            refill(run, lane);
        }
    }
}

// Starts what is due, on the lanes in turn, as far as slots are free.
static void start_due(struct run *run, unsigned *turn)
{
    double interval_ns = 1e9 / run->plan->rate;
    uint64_t at_ns = now_ns();
    unsigned full = 0;
    while (run->next_due_ns <= at_ns && run->next_due_ns < run->ends_ns &&
           full < run->plan->connections) {
        struct lane *lane = &run->lanes[(*turn)++ % run->plan->connections];
        if (lane->idle_count == 0) {
            full++;
            continue;
        }
        full = 0;
        start(run, lane, run->next_due_ns);
        write_out(run, lane);
        run->next_due_ns = run->began_ns + (uint64_t)((double)run->started * interval_ns);
    }
}

static bool has_room(const struct run *run)
{
    for (unsigned i = 0; i < run->plan->connections; i++) {
        if (run->lanes[i].idle_count > 0) {
            return true;
        }
    }
    return false;
}

// Until something is to be started; without a free slot, until an answer.
static struct timespec open_wait(const struct run *run)
{
    uint64_t at_ns = now_ns();
    uint64_t until_ns = run->next_due_ns < run->ends_ns && has_room(run) ? run->next_due_ns
                        : at_ns < run->ends_ns                           ? run->ends_ns
                                                                         : at_ns + OPEN_PATIENCE_NS;
    uint64_t wait_ns = run->plan->spins || until_ns <= at_ns ? 0 : until_ns - at_ns;
    return (struct timespec){.tv_sec = (time_t)(wait_ns / 1000000000U),
                             .tv_nsec = (long)(wait_ns % 1000000000U)};
}

static void run_open(struct run *run)
{
    struct epoll_event events[EVENTS_MAX];
    unsigned turn = 0;
    prctl(PR_SET_TIMERSLACK, 1UL);
    thread_ask_short_turns();
    while (now_ns() < run->ends_ns || is_anything_out(run)) {
        start_due(run, &turn);
        struct timespec wait = open_wait(run);
        int count = epoll_pwait2(run->epoll_fd, events, EVENTS_MAX, &wait, NULL);
        for (int i = 0; i < count; i++) {
            struct lane *lane = &run->lanes[events[i].data.u32];
            take_all(run, lane);
            write_out(run, lane);
        }
    }
    if (run->next_due_ns < run->ends_ns) {
        double behind_ns = (double)(run->ends_ns - run->next_due_ns);
        run->outcome->late = (uint64_t)(behind_ns * run->plan->rate / 1e9);
    }
}

void run_plan(const struct plan *plan, struct outcome *outcome)
{
    *outcome = (struct outcome){0};
    struct run run = {.plan = plan, .outcome = outcome};
    run.lanes = memory_zeroed(plan->connections, sizeof *run.lanes);
    run.value = memory_zeroed(1, plan->value_bytes);
    run.room = memory_zeroed(1, READ_BYTES);
    run.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    CHECK(run.epoll_fd >= 0);
    keys_init(&run.keys, plan->distribution, plan->keys, plan->first_key, plan->seed);
    for (unsigned i = 0; i < plan->connections; i++) {
        open_lane(&run, i);
    }
    run.began_ns = now_ns();
    run.measures_ns = run.began_ns + (uint64_t)(plan->warmup_seconds * 1e9);
    run.ends_ns = run.measures_ns + (uint64_t)(plan->seconds * 1e9);
    run.next_due_ns = run.began_ns;
    if (plan->rate > 0) {
        run_open(&run);
    } else if (plan->connections == 1) {
        run_alone(&run);
    } else {
        run_closed(&run);
    }
    outcome->seconds = (double)(now_ns() - run.measures_ns) / 1e9;
    for (unsigned i = 0; i < plan->connections; i++) {
        close_lane(&run.lanes[i]);
    }
    close(run.epoll_fd);
    free(run.lanes);
    free(run.value);
    free(run.room);
    buffer_deinit(&run.out);
}
