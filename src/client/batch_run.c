// A run of a batch. A get is looked for in the map first, unless an earlier request may change what
// it answers, or has to be answered before it. The rest is sent; what is to be repeated after a
// broken connection is sent again, once, in the same order.

#include "client/batch_state.h"

#include "base/check.h"
#include "client/exchange.h"
#include "client/gets.h"
#include "client/options.h"
#include "client/response.h"

enum { ATTEMPTS_MAX = 2 };

// ---- Deciding

static pgnear_error *error_of(pgnear_batch *batch, pgnear_reply *reply)
{
    pgnear_error *error = arena_alloc(&batch->results, sizeof *error);
    reply->error = error;
    return error;
}

static void decide(pgnear_batch *batch, size_t place)
{
    CHECK(!batch->requests[place].decided && batch->undecided > 0);
    batch->requests[place].decided = true;
    batch->undecided--;
}

// The reply is there.
static void end_write(pgnear_batch *batch, size_t place)
{
    const struct batch_request *request = &batch->requests[place];
    if (request->kind == REQUEST_WRITE) {
        direct_write_end(&batch->handle->direct, request->hash, request->told,
                         batch->replies[place].code == PGNEAR_OK);
    }
}

// `item` is of the map: the reply is what the node would have sent.
static void answer_from_map(pgnear_batch *batch, size_t place, pgnear_item *item)
{
    uint8_t *room = arena_alloc_raw(&batch->results, GET_ANSWER_BYTES(item));
    struct slice result = get_answer(item, room);
    batch->replies[place] =
        (pgnear_reply){.code = PGNEAR_OK, .item = *item, .result = bytes_of_slice(result)};
    decide(batch, place);
}

// Answers the gets that come behind nothing on their keys, as far as the map has them.
static void answer_directly(pgnear_batch *batch)
{
    memset(&batch->order, 0, sizeof batch->order);
    for (size_t i = 0; i < batch->count; i++) {
        const struct batch_request *request = &batch->requests[i];
        direct_fetch_ahead(&batch->handle->direct, &batch->requests[0].hash, sizeof *request, i,
                           batch->count);
        pgnear_item item;
        if (request->kind == REQUEST_GET && order_is_free(&batch->order, request->hash) &&
            get_look(batch->handle, batch_bytes(batch, request), &request->options, &item)) {
            answer_from_map(batch, i, &item);
        } else {
            order_begin(&batch->order, request->kind, request->hash);
        }
    }
}

// The node is gone: what is left is answered by its cache, or all of it is not.
static bool answer_cut_off(pgnear_batch *batch)
{
    for (size_t i = 0; i < batch->count; i++) {
        const struct batch_request *request = &batch->requests[i];
        const struct direct_wish wish = get_wish(&request->options);
        pgnear_item item;
        if (request->decided) {
            continue;
        }
        if (request->kind != REQUEST_GET || get_asks_postgres(&request->options) ||
            !direct_get_cut_off(&batch->handle->direct, batch_bytes(batch, request), &wish,
                                &item)) {
            return false;
        }
        answer_from_map(batch, i, &item);
    }
    return true;
}

// The request of a msgid: they count up, with a gap where one was refused while it was added.
static size_t find(const pgnear_batch *batch, uint64_t msgid)
{
    size_t low = 0, high = batch->count;
    uint32_t first = batch->requests[0].msgid;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        // Counted from the first one, since msgids may wrap.
        if (batch->requests[middle].msgid - first < (uint32_t)msgid - first) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    bool found =
        low < batch->count && batch->requests[low].msgid == msgid && !batch->requests[low].decided;
    return found ? low : batch->count;
}

// False where the frame is not one of a node's.
static bool take_frame(pgnear_batch *batch, struct slice frame)
{
    struct response response;
    if (!response_read(frame, &response)) {
        return false;
    }
    if (response.is_event) {
        handle_keep_event(batch->handle, frame);
        return true;
    }
    size_t place = find(batch, response.msgid);
    if (place == batch->count) {
        return true; // the late answer to an earlier request
    }
    decide(batch, place);
    // The frame goes with the next one.
    response.result = arena_copy(&batch->results, response.result);
    pgnear_error error;
    const struct batch_request *request = &batch->requests[place];
    pgnear_reply *reply = &batch->replies[place];
    response_reply(&response, request->kind, reply, &error);
    if (reply->code != PGNEAR_OK) {
        *error_of(batch, reply) = error;
    } else if (request->kind == REQUEST_GET) {
        get_note(batch->handle, request->hash, &request->options, &reply->item);
    }
    end_write(batch, place);
    return true;
}

// ---- Running

// Makes the frames of what is to be sent (again), in order; the others are left out.
static void repack(pgnear_batch *batch, struct buffer *out)
{
    pgnear *handle = batch->handle;
    buffer_clear(out, SIZE_MAX);
    for (size_t i = 0; i < batch->count; i++) {
        struct batch_request *request = &batch->requests[i];
        struct slice frame = batch_bytes(batch, request);
        if (request->decided) {
            continue;
        }
        if (request->kind == REQUEST_GET) {
            exchange_begin_as(handle, request->msgid, "get", 2);
            get_pack(handle, frame, &request->options);
            frame = buffer_slice(&handle->request);
        }
        buffer_append_slice(out, frame);
        request->sent_bytes = frame.len;
    }
}

static void mark_sent(pgnear_batch *batch, size_t sent)
{
    size_t end = 0;
    for (size_t i = 0; i < batch->count; i++) {
        struct batch_request *request = &batch->requests[i];
        if (!request->decided) {
            end += request->sent_bytes;
            request->was_sent = request->was_sent || end <= sent;
        }
    }
}

// LINK_OK: all are decided. LINK_LATE: the deadline has passed.
static enum link_result receive_all(pgnear_batch *batch, int64_t deadline_us)
{
    while (batch->undecided > 0) {
        struct slice frame;
        enum link_result received = link_receive(&batch->handle->link, deadline_us, &frame);
        if (received != LINK_OK) {
            return received;
        }
        if (!take_frame(batch, frame)) {
            return LINK_BAD;
        }
    }
    return LINK_OK;
}

static enum link_result attempt(pgnear_batch *batch, struct buffer *frames, int64_t deadline_us)
{
    pgnear *handle = batch->handle;
    size_t sent;
    repack(batch, frames);
    size_t len = buffer_len(frames);
    enum link_result result = link_send(&handle->link, buffer_slice(frames), deadline_us, &sent);
    mark_sent(batch, sent);
    if (result == LINK_OK) {
        result = receive_all(batch, deadline_us);
    }
    // What is cut off leaves the stream unusable; an answer that is late does not.
    if (result == LINK_BROKEN || result == LINK_BAD || sent < len) {
        handle_disconnect(handle);
    }
    batch->why = result == LINK_LATE  ? "did not answer in time"
                 : result == LINK_BAD ? "sent what is not its protocol"
                                      : "closed the connection";
    return result;
}

// Ends a request that nobody will answer any more.
static void give_up(pgnear_batch *batch, size_t place, bool is_late)
{
    const struct batch_request *request = &batch->requests[place];
    pgnear_reply *reply = &batch->replies[place];
    const char *path = batch->handle->socket_path;
    decide(batch, place);
    bool writes = request->kind == REQUEST_WRITE || !request->repeatable;
    if (request->was_sent && writes) {
        reply->code =
            outcome_set(error_of(batch, reply), PGNEAR_OUTCOME_UNKNOWN,
                        "pgneard at %s %s: the write may have been done or not", path, batch->why);
    } else {
        reply->code =
            outcome_set(error_of(batch, reply), is_late ? PGNEAR_TIMEOUT : PGNEAR_UNREACHABLE,
                        "pgneard at %s %s", path, batch->why);
    }
    end_write(batch, place);
}

static void give_up_all(pgnear_batch *batch, bool is_late, bool but_repeatable)
{
    for (size_t i = 0; i < batch->count; i++) {
        const struct batch_request *request = &batch->requests[i];
        if (!request->decided && !(but_repeatable && (request->repeatable || !request->was_sent))) {
            give_up(batch, i, is_late);
        }
    }
}

// Writes that are sent into a connection that the node has closed would be lost.
static pgnear_code connect_anew(pgnear *handle, int64_t deadline_us, pgnear_error *error)
{
    if (link_is_open(&handle->link) && link_is_hung_up(&handle->link)) {
        handle_disconnect(handle);
    }
    return handle_connect(handle, deadline_us, error);
}

static void run(pgnear_batch *batch, int64_t deadline_us)
{
    struct buffer frames = {0};
    enum link_result result = LINK_BROKEN;
    for (int i = 0; i < ATTEMPTS_MAX && batch->undecided > 0; i++) {
        if (i > 0 && connect_anew(batch->handle, deadline_us, NULL) != PGNEAR_OK) {
            break;
        }
        result = attempt(batch, &frames, deadline_us);
        if (result != LINK_BROKEN) {
            break;
        }
        give_up_all(batch, false, true);
    }
    give_up_all(batch, result == LINK_LATE, false);
    buffer_deinit(&frames);
}

static void begin_writes(pgnear_batch *batch)
{
    for (size_t i = 0; i < batch->count; i++) {
        struct batch_request *request = &batch->requests[i];
        if (request->kind == REQUEST_WRITE) {
            request->told = direct_write_begin(&batch->handle->direct, request->hash);
        }
    }
}

// Connects and asks for what the map did not answer.
static pgnear_code ask(pgnear_batch *batch, int64_t timeout_ms, pgnear_error *error)
{
    int64_t deadline_us = exchange_deadline_us(batch->handle, timeout_ms);
    pgnear_code code = connect_anew(batch->handle, deadline_us, error);
    if (code == PGNEAR_UNREACHABLE && answer_cut_off(batch)) {
        return PGNEAR_OK;
    }
    if (code == PGNEAR_OK) {
        begin_writes(batch);
        run(batch, deadline_us);
    }
    return code;
}

static void begin_run(pgnear_batch *batch)
{
    arena_deinit(&batch->results);
    batch->replies = arena_alloc(&batch->results, (batch->count + 1) * sizeof *batch->replies);
    batch->undecided = batch->count;
    for (size_t i = 0; i < batch->count; i++) {
        batch->requests[i].decided = false;
    }
}

pgnear_code pgnear_batch_run(pgnear_batch *batch, const pgnear_call_options *options,
                             const pgnear_reply **replies, size_t *count, pgnear_error *error)
{
    pgnear_call_options own;
    pgnear_code code = options_take(&own, sizeof own, options, error);
    code = code != PGNEAR_OK ? code : exchange_check_timeout(own.timeout_ms, error);
    code = code != PGNEAR_OK ? code : handle_enter(batch->handle, error);
    if (code != PGNEAR_OK) {
        return code;
    }
    begin_run(batch);
    answer_directly(batch);
    if (batch->undecided > 0 || batch->count == 0) {
        code = ask(batch, own.timeout_ms, error);
    }
    if (code != PGNEAR_OK) {
        return code;
    }
    CHECK(batch->undecided == 0);
    if (replies != NULL) {
        *replies = batch->replies;
    }
    if (count != NULL) {
        *count = batch->count;
    }
    batch->count = 0;
    buffer_clear(&batch->frames, BATCH_BYTES_MAX);
    return PGNEAR_OK;
}
