// Takes whole requests from the bytes, in their order, and hands each on: what can be answered at
// once is (respond.h), all else is left undecided (undecided.h). And what a session is besides: a
// watcher.

#include "server/session.h"

#include "server/respond.h"
#include "server/rpc_encode.h"
#include "server/undecided.h"

// How much one turn of one connection may do, in requests and keys, before the others have theirs.
enum { TURN_WORK_MAX = 512 };

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

// ---- Requests

static size_t take_request(struct session *session, const struct frame *frame)
{
    struct desk *desk = session->desk;
    struct call call;
    struct failure failure;
    status_add(desk->status, STATUS_SERVER_REQUESTS, 1);
    if (rpc_decode_call(&desk->decoder, frame->method, frame->params, &call, &failure) !=
        ERROR_NONE) {
        respond_failure(session, frame->msgid, &failure);
        return 1;
    }
    undecided_submit(session, frame->msgid, &call);
    return 1 + call.pairs_count;
}

static size_t take_get(struct session *session, const struct expected_get *get)
{
    struct call call;
    struct failure failure;
    if (rpc_decode_get(&session->desk->decoder, get->key, &call, &failure) != ERROR_NONE) {
        respond_failure(session, get->msgid, &failure);
        return 1;
    }
    call.key_hash = get->hash;
    undecided_submit(session, get->msgid, &call);
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
    size_t taken = 0;
    while (taken < count && (taken == 0 || session_may_take(session))) {
        *work += take_get(session, &gets[taken++]);
    }
    if (taken == 0) {
        return 0;
    }
    status_add(session->desk->status, STATUS_SERVER_REQUESTS, (int64_t)taken);
    return gets[taken - 1].end;
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
                respond_failure(session, fault.msgid, &fault.failure);
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
    failure_note(&failure, ERROR_OVERLOADED, "too much is being received by this node");
    if (frame_msgid(bytes, &msgid)) {
        respond_failure(session, msgid, &failure);
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

void session_abandon(struct session *session)
{
    session->abandoned = true;
    undecided_free(session, false);
    order_deinit(&session->order);
    watch_deinit(&session->watch, session->desk->status);
    buffer_deinit(&session->out);
    session_count_out(session);
}

void session_deinit(struct session *session)
{
    undecided_free(session, true);
    session_abandon(session);
}
