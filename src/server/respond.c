#include "server/respond.h"

#include "base/words.h"
#include "server/rpc_encode.h"

void respond_failure(struct session *session, uint32_t msgid, const struct failure *failure)
{
    status_add(session->desk->status, STATUS_SERVER_ERRORS, 1);
    rpc_encode_failure(&session->out, msgid, failure);
}

void respond_overloaded(struct session *session, uint32_t msgid, const struct call *call)
{
    struct failure failure;
    failure_set(&failure, ERROR_OVERLOADED, "%s: too many requests are queued on this node",
                call_words(call).text);
    respond_failure(session, msgid, &failure);
}

void respond_reply(struct session *session, uint32_t msgid, const struct call *call,
                   const struct reply *reply)
{
    if (reply->failure.error != ERROR_NONE) {
        respond_failure(session, msgid, &reply->failure);
    } else {
        rpc_encode_reply(&session->out, msgid, call, reply);
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
