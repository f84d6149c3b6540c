// A request that cannot be answered at once is a flight: entered into the order of its connection,
// then either sent (its request is out, owned by another thread, and comes home through the loop's
// mailbox) or waiting for its turn (the session owns a copy of the call). A flight belongs to its
// session and ends exactly once, in finish().

#include "server/undecided.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/words.h"
#include "server/respond.h"

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

static void run_ready(struct session *session);

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
    if (!dispatch_send(&session->desk->dispatch, route, request)) {
        respond_overloaded(session, flight->msgid, call);
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

void undecided_submit(struct session *session, uint32_t msgid, const struct call *call)
{
    struct route route;
    bool must_wait = order_must_wait(&session->order, call);
    if (!must_wait && respond_at_once(session, msgid, call, &route)) {
        if (call->method == METHOD_GET) {
            session->desk->gets_count++;
        } else {
            latency_record(session->desk->latency, call->method, 1,
                           session->desk->dispatch.now_boot_us);
        }
        return;
    }
    if (session->desk->weight_bytes >= DESK_WEIGHT_MAX) {
        respond_overloaded(session, msgid, call);
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
    failure_note(&failure, ERROR_TIMEOUT,
                 "%s: an earlier request on the same key took too long; nothing was done",
                 call_words(&flight->waiting->call).text);
    respond_failure(flight->session, flight->msgid, &failure);
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
    if (flight->answered || respond_at_once(session, flight->msgid, &waiting->call, &route)) {
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

struct session *undecided_take_home(struct request *request)
{
    struct flight *flight = request->flight;
    struct session *session = flight->session;
    if (session->abandoned) {
        free_flight(flight);
    } else {
        dispatch_complete(&session->desk->dispatch, &flight->held, request);
        respond_reply(session, flight->msgid, &request->call, &request->reply);
        latency_record(session->desk->latency, request->call.method, 1, flight->started_boot_us);
        finish(flight);
        run_ready(session);
    }
    request_return(&session->desk->dispatch.requests, request);
    return session;
}

void undecided_expire(struct session *session)
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

void undecided_free(struct session *session, bool sent_too)
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
