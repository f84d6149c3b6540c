// What became of a request when something went wrong decides what the caller is told:
//
//   not sent whole            the node cannot have acted: repeat, or nothing was done
//   sent, connection broke    repeat a read or a write with an id; the outcome of another write is
//                             unknown
//   sent, no answer in time   TIMEOUT for a read, OUTCOME_UNKNOWN for a write; the connection
//                             stays, and the answer is stepped over when it comes

#include "client/exchange.h"

#include "base/clock.h"
#include "client/response.h"

enum { REQUEST = 0, ATTEMPTS_MAX = 2 };

enum attempt {
    ATTEMPT_ANSWERED, // with a result or an error of the node
    ATTEMPT_NOT_SENT,
    ATTEMPT_LOST, // sent; the connection broke before the answer
    ATTEMPT_LATE, // sent; no answer by the deadline
};

struct answer {
    struct slice error; // nil: none
    struct slice result;
    bool garbled; // ATTEMPT_LOST since the peer sent nonsense
};

uint32_t exchange_reserve(pgnear *handle)
{
    return handle->next_msgid++;
}

static void pack_head_as(msgpack_packer *packer, uint32_t msgid, const char *method,
                         uint32_t params_count)
{
    msgpack_pack_array(packer, 4);
    msgpack_pack_uint8(packer, REQUEST);
    msgpack_pack_uint32(packer, msgid);
    mpack_pack_string(packer, method);
    msgpack_pack_array(packer, params_count);
}

uint32_t exchange_pack_head(msgpack_packer *packer, pgnear *handle, const char *method,
                            uint32_t params_count)
{
    uint32_t msgid = exchange_reserve(handle);
    pack_head_as(packer, msgid, method, params_count);
    return msgid;
}

msgpack_packer *exchange_begin_as(pgnear *handle, uint32_t msgid, const char *method,
                                  uint32_t params_count)
{
    enum { KEEP_BYTES_MAX = 256 * 1024 };
    buffer_clear(&handle->request, KEEP_BYTES_MAX);
    handle->request_msgid = msgid;
    pack_head_as(&handle->packer, msgid, method, params_count);
    return &handle->packer;
}

msgpack_packer *exchange_begin(pgnear *handle, const char *method, uint32_t params_count)
{
    return exchange_begin_as(handle, exchange_reserve(handle), method, params_count);
}

enum frame_kind { FRAME_OURS, FRAME_OTHER, FRAME_BAD };

// Whether the frame answers the request; notifications are kept for later.
static enum frame_kind sort_frame(pgnear *handle, struct slice frame, uint32_t msgid,
                                  struct answer *answer)
{
    struct response response;
    if (!response_read(frame, &response)) {
        return FRAME_BAD;
    }
    if (response.is_event) {
        handle_keep_event(handle, frame);
        return FRAME_OTHER;
    }
    if (response.msgid != msgid) {
        return FRAME_OTHER; // the late answer to an earlier request
    }
    answer->error = response.error;
    answer->result = response.result;
    return FRAME_OURS;
}

static enum attempt await_answer(pgnear *handle, uint32_t msgid, int64_t deadline_us,
                                 struct answer *answer)
{
    for (;;) {
        struct slice frame;
        enum link_result received = link_receive(&handle->link, deadline_us, &frame);
        if (received == LINK_LATE) {
            return ATTEMPT_LATE;
        }
        enum frame_kind kind =
            received == LINK_OK ? sort_frame(handle, frame, msgid, answer) : FRAME_BAD;
        if (kind == FRAME_OURS) {
            return ATTEMPT_ANSWERED;
        }
        if (kind == FRAME_BAD) {
            answer->garbled = received != LINK_BROKEN;
            handle_disconnect(handle);
            return ATTEMPT_LOST;
        }
    }
}

static enum attempt attempt(pgnear *handle, struct slice frame, uint32_t msgid, int64_t deadline_us,
                            struct answer *answer)
{
    size_t sent;
    enum link_result result = link_send(&handle->link, frame, deadline_us, &sent);
    if (result == LINK_OK) {
        return await_answer(handle, msgid, deadline_us, answer);
    }
    // A frame that is cut off leaves the stream unusable, for whatever reason it is.
    answer->garbled = result == LINK_BAD;
    handle_disconnect(handle);
    return sent < frame.len ? ATTEMPT_NOT_SENT : ATTEMPT_LOST;
}

static pgnear_code answer_code(const struct answer *answer, pgnear_error *error)
{
    struct mpack_cursor cursor = mpack_cursor_of(answer->error);
    return mpack_read_nil(&cursor) ? PGNEAR_OK : outcome_of_response(answer->error, error);
}

pgnear_code exchange_once(pgnear *handle, struct slice frame, uint32_t msgid, int64_t deadline_us,
                          struct mpack_cursor *result, pgnear_error *error)
{
    struct answer answer = {0};
    if (attempt(handle, frame, msgid, deadline_us, &answer) == ATTEMPT_ANSWERED) {
        *result = mpack_cursor_of(answer.result);
        return answer_code(&answer, error);
    }
    return outcome_set(error, PGNEAR_UNREACHABLE, "the connection to pgneard at %s broke",
                       handle->socket_path);
}

static pgnear_code outcome_unknown(const pgnear *handle, const char *why, pgnear_error *error)
{
    return outcome_set(error, PGNEAR_OUTCOME_UNKNOWN,
                       "pgneard at %s %s: the write may have been done or not", handle->socket_path,
                       why);
}

// What to tell where no attempt was answered. `lost`: one of them was sent whole.
static pgnear_code unanswered(const pgnear *handle, const struct exchange *exchange,
                              enum attempt last, bool lost, const struct answer *answer,
                              pgnear_error *error)
{
    const char *why = answer->garbled        ? "sent what is not its protocol"
                      : last == ATTEMPT_LATE ? "did not answer in time"
                                             : "closed the connection";
    if (exchange->writes && lost) {
        return outcome_unknown(handle, why, error);
    }
    pgnear_code code = answer->garbled        ? PGNEAR_PROTOCOL
                       : last == ATTEMPT_LATE ? PGNEAR_TIMEOUT
                                              : PGNEAR_UNREACHABLE;
    return outcome_set(error, code, "pgneard at %s %s", handle->socket_path, why);
}

pgnear_code exchange_check_timeout(int64_t timeout_ms, pgnear_error *error)
{
    return timeout_ms >= 0
               ? PGNEAR_OK
               : outcome_set(error, PGNEAR_BAD_REQUEST,
                             "timeout_ms is %lld: it must not be negative", (long long)timeout_ms);
}

int64_t exchange_deadline_us(const pgnear *handle, int64_t timeout_ms)
{
    int64_t ms = timeout_ms > 0 ? timeout_ms : handle->timeout_ms;
    ms = ms <= 0 ? TIMEOUT_DEFAULT_MS : ms > TIMEOUT_MAX_MS ? TIMEOUT_MAX_MS : ms;
    return clock_boot_us() + (ms + GRACE_MS) * (int64_t)CLOCK_US_PER_MS;
}

// A connection to send on. A write that is sent into one that the node has closed would be lost.
static pgnear_code prepare(pgnear *handle, const struct exchange *exchange, int64_t deadline_us,
                           pgnear_error *error)
{
    bool repeatable = !exchange->writes || exchange->has_id;
    if (!repeatable && link_is_open(&handle->link) && link_is_hung_up(&handle->link)) {
        handle_disconnect(handle);
    }
    return handle_connect(handle, deadline_us, error);
}

pgnear_code exchange_run(pgnear *handle, const struct exchange *exchange,
                         struct mpack_cursor *result, pgnear_error *error)
{
    pgnear_code code = handle_enter(handle, error);
    code = code != PGNEAR_OK ? code : exchange_check_timeout(exchange->timeout_ms, error);
    if (code != PGNEAR_OK) {
        return code;
    }
    int64_t deadline_us = exchange_deadline_us(handle, exchange->timeout_ms);
    struct answer answer = {0};
    enum attempt last = ATTEMPT_NOT_SENT;
    bool lost = false;
    for (int i = 0; i < ATTEMPTS_MAX; i++) {
        code = prepare(handle, exchange, deadline_us, error);
        if (code != PGNEAR_OK) {
            return exchange->writes && lost ? outcome_unknown(handle, "is gone", error) : code;
        }
        answer = (struct answer){0};
        last = attempt(handle, buffer_slice(&handle->request), handle->request_msgid, deadline_us,
                       &answer);
        if (last == ATTEMPT_ANSWERED) {
            *result = mpack_cursor_of(answer.result);
            return answer_code(&answer, error);
        }
        lost = lost || last != ATTEMPT_NOT_SENT;
        if (last == ATTEMPT_LATE || answer.garbled ||
            (lost && exchange->writes && !exchange->has_id)) {
            break;
        }
    }
    return unanswered(handle, exchange, last, lost, &answer, error);
}
