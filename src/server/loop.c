// The thread of some connections. One pass:
//
//   wait for events    bytes that came are read; mail is handled
//   take what was read in groups (reception.h), each as soon as it is complete
//   give turns         whoever has something to do goes on, writes once, or closes
//   free the closed    nothing is freed under a callback that may still hold it
//
// A connection with more to do than one turn allows asks for the next one, and the loop does not
// sleep until nobody has asked. A closed connection whose requests are out lingers until the last
// has come home.

#include "server/loop.h"

#include <stdlib.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/memory.h"
#include "base/thread.h"
#include "server/mail.h"
#include "server/undecided.h"

// The mailbox is a home: nobody offers, so its limits are never asked.
enum { MAIL_COUNT_MAX = 1 << 20, MAIL_BYTES_MAX = 1 << 30 };

enum { FRAME_BYTES_MIN = 16 << 20, FRAME_ROOM_BYTES = 64 << 10 };

// Flights and requests that are kept for the next ones, some two MiB in all.
enum { FLIGHTS_KEPT = 1024 };

// While requests wait for earlier ones, their deadlines are looked at this often.
static const int64_t WAITING_TICK_US = 50000;
// What a read has left behind and no event tells of is found so late.
static const int64_t LOOK_AGAIN_TICK_US = 250000;
static const int64_t IDLE_TICK_MIN_US = 10000;
static const int64_t IDLE_TICK_MAX_US = 1000000;

static void *run(void *context);
static void on_mail(evutil_socket_t fd, short what, void *context);
static void on_tick(evutil_socket_t fd, short what, void *context);
static void on_fetched(evutil_socket_t fd, short what, void *context);

// ---- Life

static enum error open_base(struct loop *loop)
{
    struct event_config *config = event_config_new();
    CHECK(config != NULL);
    event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
    event_config_require_features(config, EV_FEATURE_ET | EV_FEATURE_EARLY_CLOSE);
    loop->base = event_base_new_with_config(config);
    event_config_free(config);
    if (loop->base == NULL) {
        return ERROR_SYSTEM;
    }
    if (own_fetch_open(&loop->own_fetch, &loop->options.fetch, loop->base, on_fetched, loop) !=
        ERROR_NONE) {
        goto free_base;
    }
    loop->tick_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (loop->tick_fd < 0) {
        goto close_own_fetch;
    }
    loop->mail_event =
        event_new(loop->base, mailbox_fd(&loop->mailbox), EV_READ | EV_PERSIST, on_mail, loop);
    loop->tick_event = event_new(loop->base, loop->tick_fd, EV_READ | EV_PERSIST, on_tick, loop);
    CHECK(loop->mail_event != NULL && loop->tick_event != NULL);
    CHECK(event_add(loop->mail_event, NULL) == 0 && event_add(loop->tick_event, NULL) == 0);
    return ERROR_NONE;

close_own_fetch:
    own_fetch_close(&loop->own_fetch);
free_base:
    event_base_free(loop->base);
    return ERROR_SYSTEM;
}

static void init_desk(struct loop *loop)
{
    const struct loop_options *options = &loop->options;
    size_t frame_bytes = options->value_bytes_max + FRAME_ROOM_BYTES;
    struct desk *desk = &loop->desk;
    desk->status = options->status;
    desk->latency = options->latency;
    desk->flights.kept_max = FLIGHTS_KEPT;
    desk->out_bytes_max = options->not_taken_bytes_max;
    desk->frame_bytes_max = frame_bytes > FRAME_BYTES_MIN ? frame_bytes : FRAME_BYTES_MIN;
    desk->decoder = (struct rpc_decoder){
        .value_bytes_max = options->value_bytes_max,
        .timeout_ms = options->timeout_ms,
        .ack = options->ack,
    };
    desk->dispatch = (struct dispatch){
        .cache = options->cache,
        .writer = options->writer,
        .pg = options->pg,
        .home = &loop->mailbox,
        .own_fetch = &loop->own_fetch,
        .status = options->status,
        .facts = options->facts,
        .latencies = options->latencies,
        .reply_bytes_max = desk->frame_bytes_max,
        .requests = {.kept_max = FLIGHTS_KEPT},
    };
}

enum error loop_create(const struct loop_options *options, struct loop **loop)
{
    struct loop *made = memory_zeroed(1, sizeof *made);
    made->options = *options;
    TAILQ_INIT(&made->connections);
    TAILQ_INIT(&made->turns);
    TAILQ_INIT(&made->closed);
    TAILQ_INIT(&made->lingering);
    CHECK(pthread_mutex_init(&made->mutex, NULL) == 0);
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    CHECK(pthread_cond_init(&made->changed, &attributes) == 0);
    pthread_condattr_destroy(&attributes);
    reception_init(&made->reception);
    init_desk(made);
    enum error error = mailbox_init(&made->mailbox, MAIL_COUNT_MAX, MAIL_BYTES_MAX);
    if (error != ERROR_NONE) {
        goto free_loop;
    }
    error = open_base(made);
    if (error != ERROR_NONE) {
        goto close_mailbox;
    }
    *loop = made;
    return ERROR_NONE;

close_mailbox:
    mailbox_deinit(&made->mailbox);
free_loop:
    pthread_cond_destroy(&made->changed);
    pthread_mutex_destroy(&made->mutex);
    reception_deinit(&made->reception);
    free(made);
    return error;
}

enum error loop_start(struct loop *loop)
{
    if (thread_start(&loop->thread, run, loop) != 0) {
        return ERROR_SYSTEM;
    }
    loop_lock(loop);
    while (!loop->running && loop->start_error == ERROR_NONE) {
        CHECK(pthread_cond_wait(&loop->changed, &loop->mutex) == 0);
    }
    enum error error = loop->start_error;
    loop_unlock(loop);
    if (error != ERROR_NONE) {
        pthread_join(loop->thread, NULL);
    }
    return error;
}

bool loop_is_running(struct loop *loop)
{
    loop_lock(loop);
    bool running = loop->running;
    loop_unlock(loop);
    return running;
}

static void begin_stop(struct loop *loop, void *context)
{
    (void)context;
    loop->stopping = true;
}

void loop_stop(struct loop *loop)
{
    if (loop_is_running(loop)) {
        mail_call(loop, begin_stop, NULL);
        pthread_join(loop->thread, NULL);
    }
}

static void free_list(struct connections *list)
{
    struct connection *connection;
    while ((connection = TAILQ_FIRST(list)) != NULL) {
        TAILQ_REMOVE(list, connection, in_all);
        connection_free(connection);
    }
}

void loop_destroy(struct loop *loop)
{
    CHECK(!loop->running && TAILQ_EMPTY(&loop->connections));
    mail_discard(loop);
    free_list(&loop->closed);
    free_list(&loop->lingering);
    event_free(loop->mail_event);
    event_free(loop->tick_event);
    own_fetch_close(&loop->own_fetch);
    event_base_free(loop->base);
    close(loop->tick_fd);
    mailbox_deinit(&loop->mailbox);
    desk_deinit(&loop->desk);
    pthread_cond_destroy(&loop->changed);
    pthread_mutex_destroy(&loop->mutex);
    reception_deinit(&loop->reception);
    buffer_deinit(&loop->answers);
    free(loop);
}

// ---- The thread

static void set_running(struct loop *loop, bool running, enum error start_error)
{
    loop_lock(loop);
    loop->running = running;
    loop->start_error = start_error;
    pthread_cond_broadcast(&loop->changed);
    loop_unlock(loop);
}

// To each that has asked by now; those who ask again meanwhile come in the next pass.
static void give_turns(struct loop *loop)
{
    const struct connection *last = TAILQ_LAST(&loop->turns, connections);
    struct connection *connection = NULL;
    while (connection != last) {
        connection = TAILQ_FIRST(&loop->turns);
        TAILQ_REMOVE(&loop->turns, connection, in_turns);
        connection->has_turn = false;
        connection_turn(connection);
    }
}

static void note_drained(struct loop *loop)
{
    if (loop->draining && !loop->drained && TAILQ_EMPTY(&loop->connections)) {
        loop_lock(loop);
        loop->drained = true;
        pthread_cond_broadcast(&loop->changed);
        loop_unlock(loop);
    }
}

// Every so often where something has a deadline of the loop's own; not at all otherwise.
static void set_tick(struct loop *loop)
{
    int64_t idle_us = loop->options.idle_timeout_us;
    int64_t wanted_us = loop->looks_again ? LOOK_AGAIN_TICK_US : 0;
    if (idle_us > 0) {
        int64_t idle_tick_us = idle_us / 4;
        idle_tick_us = idle_tick_us < IDLE_TICK_MIN_US ? IDLE_TICK_MIN_US : idle_tick_us;
        idle_tick_us = idle_tick_us > IDLE_TICK_MAX_US ? IDLE_TICK_MAX_US : idle_tick_us;
        wanted_us = wanted_us == 0 || idle_tick_us < wanted_us ? idle_tick_us : wanted_us;
    }
    if (loop->desk.waiting_count > 0) {
        wanted_us = WAITING_TICK_US;
    }
    if (wanted_us != 0 && (loop->tick_us == 0 || loop->tick_us > wanted_us)) {
        struct itimerspec after = {.it_value = {.tv_sec = wanted_us / CLOCK_US_PER_S,
                                                .tv_nsec = wanted_us % CLOCK_US_PER_S * 1000}};
        CHECK(timerfd_settime(loop->tick_fd, 0, &after, NULL) == 0);
        loop->tick_us = wanted_us;
    }
}

static void close_all(struct loop *loop)
{
    struct connection *connection;
    while ((connection = TAILQ_FIRST(&loop->connections)) != NULL) {
        connection_close(connection);
    }
}

// Whether to look for more instead of sleeping, which saves those who ask next the wake-up.
static bool is_busy(const struct loop *loop)
{
    return loop->options.busy_poll_us > 0 &&
           loop->desk.dispatch.now_boot_us - loop->served_boot_us < loop->options.busy_poll_us;
}

static void *run(void *context)
{
    struct loop *loop = context;
    struct dispatch *dispatch = &loop->desk.dispatch;
    thread_name("server");
    thread_ask_short_turns();
    enum error error = dispatch->cache->reader_open(dispatch->cache->cache, &dispatch->reader);
    set_running(loop, error == ERROR_NONE, error);
    if (error != ERROR_NONE) {
        return NULL;
    }
    contention_join(&dispatch->status->serving);
    mailbox_cork();
    while (!loop->stopping) {
        // A snapshot held while asleep would keep the pages of all that is replaced meanwhile.
        CHECK(!dispatch->reading);
        bool may_sleep = TAILQ_EMPTY(&loop->turns) && !is_busy(loop);
        // One pass: EVLOOP_NONBLOCK alone goes on while there is more, and would read a connection
        // again whose bytes have not been taken yet.
        int pass = may_sleep ? EVLOOP_ONCE : EVLOOP_ONCE | EVLOOP_NONBLOCK;
        CHECK(event_base_loop(loop->base, pass) >= 0);
        loop_take_received(loop);
        if (!TAILQ_EMPTY(&loop->turns) || loop->options.busy_poll_us > 0) {
            loop_look_at_clock(loop);
            give_turns(loop);
        }
        dispatch_end(dispatch);
        // The writer gets what this pass has read as one group.
        mailbox_uncork();
        mailbox_cork();
        free_list(&loop->closed);
        note_drained(loop);
        set_tick(loop);
    }
    mailbox_uncork();
    close_all(loop);
    free_list(&loop->closed);
    dispatch->cache->reader_close(dispatch->reader);
    set_running(loop, false, ERROR_NONE);
    return NULL;
}

// A read of the cache judges by the time of its begin, so it ends here too.
void loop_look_at_clock(struct loop *loop)
{
    dispatch_end(&loop->desk.dispatch);
    loop->desk.dispatch.now_boot_us = clock_boot_us();
}

// What was asked while this process stood still is not judged by the time of before: the clock is
// read after the bytes.
void loop_take_received(struct loop *loop)
{
    struct reception *reception = &loop->reception;
    if (reception->count == 0) {
        return;
    }
    loop_look_at_clock(loop);
    loop->served_boot_us = loop->desk.dispatch.now_boot_us;
    reception_prepare(reception, &loop->desk.dispatch);
    for (size_t i = 0; i < reception->count; i++) {
        connection_take(reception->receipts[i].connection, &reception->receipts[i]);
    }
    reception_clear(reception);
}

static void on_tick(evutil_socket_t fd, short what, void *context)
{
    (void)what;
    struct loop *loop = context;
    uint64_t ticks;
    (void)!read(fd, &ticks, sizeof ticks); // set anew meanwhile it has none to tell of
    loop_take_received(loop);
    loop_look_at_clock(loop);
    loop->tick_us = 0;
    bool looks_again = loop->looks_again;
    loop->looks_again = false;
    int64_t now_us = loop->desk.dispatch.now_boot_us;
    int64_t idle_us = loop->options.idle_timeout_us;
    struct connection *connection = TAILQ_FIRST(&loop->connections);
    while (connection != NULL) {
        struct connection *next = TAILQ_NEXT(connection, in_all);
        if (connection->session.waiting_count > 0) {
            undecided_expire(&connection->session);
            loop_give_turn(loop, connection);
        }
        if (idle_us > 0 && now_us - connection->active_boot_us >= idle_us &&
            connection_is_idle(connection)) {
            connection_close(connection);
        } else if (looks_again) {
            connection_look_again(connection);
        }
        connection = next;
    }
}

static void take_mail(struct loop *loop)
{
    loop_take_received(loop);
    loop_look_at_clock(loop);
    loop->served_boot_us = loop->desk.dispatch.now_boot_us;
    mail_handle(loop);
    dispatch_end(&loop->desk.dispatch);
}

static void on_mail(evutil_socket_t fd, short what, void *context)
{
    (void)fd;
    (void)what;
    take_mail(context);
}

// Its own answers are there at once, without a wake-up.
static void on_fetched(evutil_socket_t fd, short what, void *context)
{
    (void)fd;
    (void)what;
    struct loop *loop = context;
    own_fetch_take(&loop->own_fetch);
    take_mail(loop);
}

// ---- Draining

static void drain_all(struct loop *loop, void *context)
{
    (void)context;
    loop->draining = true;
    struct connection *connection = TAILQ_FIRST(&loop->connections);
    while (connection != NULL) {
        struct connection *next = TAILQ_NEXT(connection, in_all);
        connection_drain(connection);
        connection = next;
    }
}

void loop_begin_drain(struct loop *loop)
{
    mail_call(loop, drain_all, NULL);
}

bool loop_await_drained(struct loop *loop, int64_t deadline_boot_us)
{
    int64_t left_us = deadline_boot_us - clock_boot_us();
    left_us = left_us > 0 ? left_us : 0;
    struct timespec until;
    CHECK(clock_gettime(CLOCK_MONOTONIC, &until) == 0);
    int64_t until_ns = until.tv_nsec + left_us % CLOCK_US_PER_S * 1000;
    until.tv_sec += left_us / CLOCK_US_PER_S + until_ns / 1000000000;
    until.tv_nsec = until_ns % 1000000000;
    loop_lock(loop);
    int waited = 0;
    while (loop->running && !loop->drained && waited == 0) {
        waited = pthread_cond_timedwait(&loop->changed, &loop->mutex, &until);
    }
    bool drained = !loop->running || loop->drained;
    loop_unlock(loop);
    return drained;
}

// ---- From other modules of the loop

void loop_lock(struct loop *loop)
{
    CHECK(pthread_mutex_lock(&loop->mutex) == 0);
}

void loop_unlock(struct loop *loop)
{
    CHECK(pthread_mutex_unlock(&loop->mutex) == 0);
}

void loop_give_turn(struct loop *loop, struct connection *connection)
{
    if (!connection->has_turn) {
        connection->has_turn = true;
        TAILQ_INSERT_TAIL(&loop->turns, connection, in_turns);
    }
}

void loop_note_activity(struct loop *loop, struct connection *connection)
{
    connection->active_boot_us = loop->desk.dispatch.now_boot_us;
}

void loop_on_closed(struct loop *loop, struct connection *connection)
{
    TAILQ_REMOVE(&loop->connections, connection, in_all);
    bool done = connection_is_done(connection);
    TAILQ_INSERT_TAIL(done ? &loop->closed : &loop->lingering, connection, in_all);
    if (connection->has_turn) {
        connection->has_turn = false;
        TAILQ_REMOVE(&loop->turns, connection, in_turns);
    }
    atomic_fetch_sub(&loop->connections_count, 1);
    status_add(loop->options.status, STATUS_SERVER_CONNECTIONS, -1);
}
