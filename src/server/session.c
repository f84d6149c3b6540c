// A request that cannot be answered at once is a flight: entered into the order of its connection,
// then either sent (its request is out, owned by another thread, and comes home through the loop's
// mailbox) or waiting for its turn (the session owns a copy of the call). A flight belongs to its
// session and ends exactly once, in finish().
//
// All on the session's loop.

#include "server/session.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/memory.h"
#include "base/words.h"
#include "server/rpc_encode.h"

// How much one turn of one connection may do, in requests and keys, before the others have theirs.
enum { TURN_WORK_MAX = 512 };

// What an answer that is still to come may weigh, by rough guess, so that many requests with small
// questions and large answers meet the bound as well.
enum { KEY_ANSWER_WEIGHT = 16 << 10, LETTER_ANSWER_WEIGHT = 1 << 10 };

struct flight {
    struct order_entry entry; // first: the order hands out entries
    TAILQ_ENTRY(flight) link;
    struct session *session;
    uint32_t msgid;
    bool answered; // its deadline passed while it waited: it only keeps its place
    int64_t started_boot_us;
    int64_t deadline_boot_us;
    size_t weight_bytes;
    struct request *waiting; // the call, until it is sent
    struct held held;
};

// The answer to one message, for the dispatch.
struct addressee {
    struct session *session;
    uint32_t msgid;
};

static void run_ready(struct session *session);

void desk_deinit(struct desk *desk)
{
    pool_deinit(&desk->flights);
    rpc_decoder_deinit(&desk->decoder);
    dispatch_deinit(&desk->dispatch);
    pool_deinit(&desk->dispatch.requests);
}

void session_init(struct session *session, struct desk *desk, bool read_only, void *owner)
{
    *session = (struct session){
        .desk = desk,
        .read_only = read_only,
        .owner = owner,
        .frames = {.frame_bytes_max = desk->frame_bytes_max},
    };
    order_init(&session->order);
    TAILQ_INIT(&session->flights);
}

bool session_may_take(const struct session *session)
{
    return session->flights_count < SESSION_FLIGHTS_MAX &&
           session->weight_bytes < SESSION_WEIGHT_MAX &&
           buffer_len(&session->out) < SESSION_OUT_PAUSE;
}

// ---- Answers

static void answer_failure(struct session *session, uint32_t msgid, const struct failure *failure)
{
    status_add(session->desk->status, STATUS_SERVER_ERRORS, 1);
    rpc_encode_failure(&session->out, msgid, failure);
}

static void answer_overloaded(struct session *session, uint32_t msgid, const struct call *call)
{
    struct failure failure;
    failure_set(&failure, ERROR_OVERLOADED, "%s: too many requests are queued on this node",
                call_words(call).text);
    answer_failure(session, msgid, &failure);
}

static void answer_reply(void *context, const struct call *call, const struct reply *reply)
{
    const struct addressee *addressee = context;
    if (reply->failure.error != ERROR_NONE) {
        answer_failure(addressee->session, addressee->msgid, &reply->failure);
    } else {
        rpc_encode_reply(&addressee->session->out, addressee->msgid, call, reply);
    }
}

static void answer_item(void *context, const struct item *item)
{
    const struct addressee *addressee = context;
    rpc_encode_item(&addressee->session->out, addressee->msgid, item);
}

static void answer_hello(void *context, const struct hello *hello)
{
    const struct addressee *addressee = context;
    rpc_encode_hello(&addressee->session->out, addressee->msgid, hello);
}

static void answer_stats(void *context, const struct stats *stats)
{
    const struct addressee *addressee = context;
    rpc_encode_stats(&addressee->session->out, addressee->msgid, stats);
}

static bool answer_at_once(struct session *session, uint32_t msgid, const struct call *call,
                           struct route *route)
{
    struct addressee addressee = {session, msgid};
    struct caller caller = {
        .watch = &session->watch,
        .read_only = session->read_only,
        .answer = {&addressee, answer_reply, answer_item, answer_hello, answer_stats},
    };
    return dispatch_answer(&session->desk->dispatch, &caller, call, route);
}

// ---- Flights

static size_t weight_of(const struct desk *desk, const struct call *call)
{
    size_t weight = sizeof(struct flight) + sizeof(struct request);
    for (size_t i = 0; i < call->pairs_count; i++) {
        weight += sizeof call->pairs[i] + call->pairs[i].key.len + call->pairs[i].value.len;
    }
    if (call->method == METHOD_SCAN || call->method == METHOD_ALL ||
        call->method == METHOD_HISTORY) {
        weight += SCAN_BYTES_MAX;
    }
    if (call->method == METHOD_DEAD_LETTERS) {
        weight += (size_t)call->limit * LETTER_ANSWER_WEIGHT;
    }
    if (method_class(call->method) == METHOD_READ) {
        size_t answer_bytes = KEY_ANSWER_WEIGHT * call->pairs_count;
        weight += answer_bytes < desk->frame_bytes_max ? answer_bytes : desk->frame_bytes_max;
    }
    return weight;
}

static struct flight *start_flight(struct session *session, uint32_t msgid, const struct call *call)
{
    struct desk *desk = session->desk;
    struct flight *flight = pool_take(&desk->flights, sizeof *flight);
    *flight = (struct flight){
        .session = session,
        .msgid = msgid,
        .started_boot_us = desk->dispatch.now_boot_us,
        .deadline_boot_us = desk->dispatch.now_boot_us + call->timeout_ms * CLOCK_US_PER_MS,
        .weight_bytes = weight_of(desk, call),
    };
    TAILQ_INSERT_TAIL(&session->flights, flight, link);
    session->flights_count++;
    session->weight_bytes += flight->weight_bytes;
    desk->weight_bytes += flight->weight_bytes;
    return flight;
}

static void free_flight(struct flight *flight)
{
    struct session *session = flight->session;
    TAILQ_REMOVE(&session->flights, flight, link);
    session->flights_count--;
    session->weight_bytes -= flight->weight_bytes;
    session->desk->weight_bytes -= flight->weight_bytes;
    if (flight->waiting != NULL) {
        session->waiting_count--;
        session->desk->waiting_count--;
        request_return(&session->desk->dispatch.requests, flight->waiting);
    }
    order_entry_deinit(&flight->entry);
    held_deinit(&flight->held);
    pool_return(&session->desk->flights, flight);
}

// Decided and answered. Others may be ready now; the caller runs them.
static void finish(struct flight *flight)
{
    order_leave(&flight->session->order, &flight->entry);
    free_flight(flight);
}

static void send_flight(struct flight *flight, const struct call *call, const struct route *route)
{
    struct session *session = flight->session;
    struct request *request =
        dispatch_request(&session->desk->dispatch, call, route, &flight->held);
    request->flight = flight;
    request->deadline_boot_us = flight->deadline_boot_us;
    if (!dispatch_send(route, request)) {
        answer_overloaded(session, flight->msgid, call);
        request_return(&session->desk->dispatch.requests, request);
        finish(flight);
    }
}

static void wait_for_turn(struct session *session, uint32_t msgid, const struct call *call)
{
    struct flight *flight = start_flight(session, msgid, call);
    struct dispatch *dispatch = &session->desk->dispatch;
    flight->waiting = request_create_in(&dispatch->requests, call, dispatch->home);
    session->waiting_count++;
    session->desk->waiting_count++;
    bool runs = order_enter(&session->order, &flight->entry, call);
    CHECK(!runs);
}

static void submit(struct session *session, uint32_t msgid, const struct call *call)
{
    struct route route;
    bool must_wait = order_must_wait(&session->order, call);
    if (!must_wait && answer_at_once(session, msgid, call, &route)) {
        if (call->method == METHOD_GET) {
            session->desk->gets_count++;
        } else {
            latency_record(session->desk->latency, call->method, 1,
                           session->desk->dispatch.now_boot_us);
        }
        return;
    }
    if (session->desk->weight_bytes >= DESK_WEIGHT_MAX) {
        answer_overloaded(session, msgid, call);
    } else if (must_wait) {
        wait_for_turn(session, msgid, call);
    } else {
        struct flight *flight = start_flight(session, msgid, call);
        bool runs = order_enter(&session->order, &flight->entry, call);
        CHECK(runs);
        send_flight(flight, call, &route);
        run_ready(session);
    }
}

static void answer_late(struct flight *flight)
{
    struct failure failure;
    failure_set(&failure, ERROR_TIMEOUT,
                "%s: an earlier request on the same key took too long; nothing was done",
                call_words(&flight->waiting->call).text);
    answer_failure(flight->session, flight->msgid, &failure);
    flight->answered = true;
}

// The turn of a flight that had to wait has come.
static void run_flight(struct flight *flight)
{
    struct session *session = flight->session;
    if (!flight->answered && flight->deadline_boot_us <= session->desk->dispatch.now_boot_us) {
        answer_late(flight);
    }
    struct request *waiting = flight->waiting;
    struct route route;
    flight->waiting = NULL;
    session->waiting_count--;
    session->desk->waiting_count--;
    if (flight->answered || answer_at_once(session, flight->msgid, &waiting->call, &route)) {
        latency_record(session->desk->latency, waiting->call.method, 1, flight->started_boot_us);
        finish(flight);
    } else {
        send_flight(flight, &waiting->call, &route);
    }
    request_return(&session->desk->dispatch.requests, waiting);
}

static void run_ready(struct session *session)
{
    struct order_entry *entry;
    while ((entry = order_next_ready(&session->order)) != NULL) {
        run_flight((struct flight *)entry);
    }
}

struct session *session_take_home(struct request *request)
{
    struct flight *flight = request->flight;
    struct session *session = flight->session;
    if (session->abandoned) {
        free_flight(flight);
    } else {
        struct addressee addressee = {session, flight->msgid};
        dispatch_complete(&session->desk->dispatch, &flight->held, request);
        answer_reply(&addressee, &request->call, &request->reply);
        latency_record(session->desk->latency, request->call.method, 1, flight->started_boot_us);
        finish(flight);
        run_ready(session);
    }
    request_return(&session->desk->dispatch.requests, request);
    return session;
}

void session_expire(struct session *session)
{
    struct flight *flight;
    if (session->waiting_count == 0) {
        return;
    }
    TAILQ_FOREACH(flight, &session->flights, link)
    {
        if (flight->waiting != NULL && !flight->answered &&
            flight->deadline_boot_us <= session->desk->dispatch.now_boot_us) {
            answer_late(flight);
        }
    }
}

// ---- Requests

static size_t take_request(struct session *session, const struct frame *frame)
{
    struct desk *desk = session->desk;
    struct call call;
    struct failure failure;
    status_add(desk->status, STATUS_SERVER_REQUESTS, 1);
    if (rpc_decode_call(&desk->decoder, frame->method, frame->params, &call, &failure) !=
        ERROR_NONE) {
        answer_failure(session, frame->msgid, &failure);
        return 1;
    }
    submit(session, frame->msgid, &call);
    return 1 + call.pairs_count;
}

static size_t take_get(struct session *session, const struct expected_get *get)
{
    struct call call;
    struct failure failure;
    status_add(session->desk->status, STATUS_SERVER_REQUESTS, 1);
    if (rpc_decode_get(&session->desk->decoder, get->key, &call, &failure) != ERROR_NONE) {
        answer_failure(session, get->msgid, &failure);
        return 1;
    }
    call.key_hash = get->hash;
    submit(session, get->msgid, &call);
    return 1 + call.pairs_count;
}

size_t session_expect(struct session *session, struct slice bytes, struct expected_get *gets,
                      size_t count_max)
{
    size_t count = 0, seen = 0, len;
    while (count < count_max) {
        struct expected_get *get = &gets[count];
        struct slice rest = slice_of(bytes.at + seen, bytes.len - seen);
        if (!frame_next_get(&session->frames, rest, &len, &get->msgid, &get->key)) {
            break;
        }
        seen += len;
        get->end = seen;
        get->hash = dispatch_expect_get(&session->desk->dispatch, get->key);
        count++;
    }
    return count;
}

// As many as may be taken; the length of their bytes.
static size_t take_expected(struct session *session, const struct expected_get *gets, size_t count,
                            size_t *work)
{
    size_t consumed = 0;
    for (size_t i = 0; i < count && (i == 0 || session_may_take(session)); i++) {
        *work += take_get(session, &gets[i]);
        consumed = gets[i].end;
    }
    return consumed;
}

// The gets that the bytes begin with, all looked at before the first is answered. 0 where the bytes
// begin with something else.
static size_t take_gets(struct session *session, struct slice bytes, size_t *work)
{
    struct expected_get gets[EXPECTED_GETS_MAX];
    size_t count = session_expect(session, bytes, gets, EXPECTED_GETS_MAX);
    for (size_t i = 0; i < count && count > 1; i++) {
        dispatch_expect_record(&session->desk->dispatch, gets[i].hash);
    }
    return take_expected(session, gets, count, work);
}

static enum taking take_frames(struct session *session, struct slice bytes,
                               const struct expected_get *gets, size_t gets_count, size_t *consumed)
{
    size_t work = 0;
    *consumed = session_may_take(session) ? take_expected(session, gets, gets_count, &work) : 0;
    while (work < TURN_WORK_MAX) {
        if (*consumed == bytes.len) {
            return TAKING_HUNGRY;
        }
        if (!session_may_take(session)) {
            return TAKING_PAUSED;
        }
        struct slice rest = slice_of(bytes.at + *consumed, bytes.len - *consumed);
        struct frame frame;
        struct frame_fault fault;
        size_t len = take_gets(session, rest, &work);
        if (len > 0) {
            *consumed += len;
            continue;
        }
        enum decode decoded = frame_next(&session->frames, rest, &len, &frame, &fault);
        if (decoded == DECODE_NEED_MORE) {
            return TAKING_HUNGRY;
        }
        if (decoded == DECODE_BAD) {
            if (fault.has_msgid) {
                answer_failure(session, fault.msgid, &fault.failure);
            }
            return TAKING_ENDED;
        }
        work += frame.kind == FRAME_REQUEST ? take_request(session, &frame) : 1;
        *consumed += len;
    }
    return TAKING_YIELDS;
}

enum taking session_take(struct session *session, struct slice bytes,
                         const struct expected_get *gets, size_t gets_count, size_t *consumed)
{
    struct desk *desk = session->desk;
    enum taking taking = take_frames(session, bytes, gets, gets_count, consumed);
    if (desk->gets_count > 0) {
        // The clock is read once for them all.
        latency_record(desk->latency, METHOD_GET, desk->gets_count, desk->dispatch.now_boot_us);
        desk->gets_count = 0;
    }
    return taking;
}

void session_refuse(struct session *session, struct slice bytes)
{
    uint32_t msgid;
    struct failure failure;
    failure_set(&failure, ERROR_OVERLOADED, "too much is being received by this node");
    if (frame_msgid(bytes, &msgid)) {
        answer_failure(session, msgid, &failure);
    }
}

// ---- Watchers

void session_announce(struct session *session, const struct changes_message *changes)
{
    struct watch *watch = &session->watch;
    if (watch->count == 0) {
        return;
    }
    if (changes->truncated || changes->resync) {
        watch->owes_resync = true;
    }
    for (size_t i = 0; i < changes->changes_count && !watch->owes_resync; i++) {
        if (watch_matches(watch, changes->changes[i].key)) {
            rpc_encode_changed(&session->out, &changes->changes[i]);
            watch->owes_resync = buffer_len(&session->out) >= SESSION_OUT_PAUSE;
        }
    }
    session_settle_watch(session);
}

void session_settle_watch(struct session *session)
{
    if (session->watch.owes_resync && buffer_len(&session->out) < SESSION_OUT_PAUSE / 2) {
        session->watch.owes_resync = false;
        if (session->watch.count > 0) {
            rpc_encode_resync(&session->out);
        }
    }
}

// ---- The end

// Frees the flights that no request stands for elsewhere; or all of them.
static void free_flights(struct session *session, bool sent_too)
{
    struct flight *flight = TAILQ_FIRST(&session->flights);
    while (flight != NULL) {
        struct flight *next = TAILQ_NEXT(flight, link);
        if (sent_too || flight->waiting != NULL) {
            free_flight(flight);
        }
        flight = next;
    }
}

void session_abandon(struct session *session)
{
    session->abandoned = true;
    free_flights(session, false);
    order_deinit(&session->order);
    watch_deinit(&session->watch, session->desk->status);
    buffer_deinit(&session->out);
}

void session_deinit(struct session *session)
{
    free_flights(session, true);
    session_abandon(session);
}
