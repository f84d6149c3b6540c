#include "server/respond.h"

#include "base/log.h"
#include "base/words.h"
#include "server/rpc_encode.h"

// Once in each outage, when it begins to be felt: an epoch ends with the next feed.
static void tell_of_outage(struct desk *desk, const struct failure *failure)
{
    int64_t epoch = status_get(desk->status, STATUS_CACHE_EPOCH);
    if (desk->outage_told && desk->outage_epoch == epoch) {
        return;
    }
    desk->outage_told = true;
    desk->outage_epoch = epoch;
    LOG_WARNING("clients are answered UNAVAILABLE", LOG_TEXT("first", failure->message));
}

void respond_failure(struct session *session, uint32_t msgid, const struct failure *failure)
{
    status_add(session->desk->status, STATUS_SERVER_ERRORS, 1);
    if (failure->error == ERROR_UNAVAILABLE) {
        tell_of_outage(session->desk, failure);
    }
    rpc_encode_failure(&session->out, msgid, failure);
}

void respond_overloaded(struct session *session, uint32_t msgid, const struct call *call)
{
    struct failure failure;
    failure_note(&failure, ERROR_OVERLOADED, "%s: too many requests are queued on this node",
                 call_words(call).text);
    respond_failure(session, msgid, &failure);
}

// ---- Room for answers that clients do not take

// Of such answers a session's requests cannot make more than SESSION_OUT_PAUSE.
enum { SMALL_ANSWER_BYTES = SESSION_OUT_PAUSE / SESSION_FLIGHTS_MAX };

static bool has_room(const struct session *session, size_t answer_bytes)
{
    const struct desk *desk = session->desk;
    size_t len = buffer_len(&session->out) + answer_bytes;
    return len <= SESSION_OUT_PAUSE || answer_bytes <= SMALL_ANSWER_BYTES ||
           desk->out_bytes - session->out_counted + len <= desk->out_bytes_max;
}

// A write is done whether its answer has room or not.
static void respond_no_room(struct session *session, uint32_t msgid, const struct call *call,
                            uint64_t seq)
{
    struct desk *desk = session->desk;
    struct failure failure;
    bool is_write = method_class(call->method) == METHOD_WRITE;
    failure_note(&failure, is_write ? ERROR_OUTCOME_UNKNOWN : ERROR_OVERLOADED,
                 "%s: there is no room for the answer: clients of this node have not taken "
                 "%zu MiB of theirs",
                 call_words(call).text, desk->out_bytes >> 20);
    failure.has_seq = is_write;
    failure.seq = seq;
    if (log_is_due(&desk->refused_logged_boot_us, desk->dispatch.now_boot_us)) {
        LOG_WARNING("answers refused", LOG_INT("not_taken_bytes", desk->out_bytes),
                    LOG_INT("limit_bytes", desk->out_bytes_max));
    }
    respond_failure(session, msgid, &failure);
}

static size_t answer_bytes_of(const struct reply *reply)
{
    size_t bytes = 0;
    for (size_t i = 0; i < reply->items_count; i++) {
        bytes += reply->items[i].key.len + reply->items[i].value.len;
    }
    for (size_t i = 0; i < reply->skipped_count; i++) {
        bytes += reply->skipped[i].len;
    }
    for (size_t i = 0; i < reply->letters_count; i++) {
        bytes += reply->letters[i].key.len + reply->letters[i].message.len;
    }
    return bytes;
}

void respond_reply(struct session *session, uint32_t msgid, const struct call *call,
                   const struct reply *reply)
{
    if (reply->failure.error != ERROR_NONE) {
        respond_failure(session, msgid, &reply->failure);
    } else if (!has_room(session, answer_bytes_of(reply))) {
        respond_no_room(session, msgid, call, reply->seq);
    } else {
        rpc_encode_reply(&session->out, msgid, call, reply);
        session_count_out(session);
    }
}

// ---- For the dispatch

// To whom its answer goes.
struct addressee {
    struct session *session;
    uint32_t msgid;
};

static void answer_reply(void *context, const struct call *call, const struct reply *reply)
{
    const struct addressee *addressee = context;
    respond_reply(addressee->session, addressee->msgid, call, reply);
}

static void answer_item(void *context, const struct item *item)
{
    const struct addressee *addressee = context;
    struct session *session = addressee->session;
    if (!has_room(session, item->value.len)) {
        struct pair pair = {.key = item->key};
        struct call get = {.method = METHOD_GET, .pairs_count = 1, .pairs = &pair};
        respond_no_room(session, addressee->msgid, &get, 0);
        return;
    }
    rpc_encode_item(&session->out, addressee->msgid, item);
    session_count_out(session);
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

bool respond_at_once(struct session *session, uint32_t msgid, const struct call *call,
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
