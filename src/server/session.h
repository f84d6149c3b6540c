// What one client asks and is answered: bytes in, bytes out, and the requests in between. Knows no
// socket; connection.h moves the bytes.
//
// Bounds, each with its behaviour: while a session has SESSION_FLIGHTS_MAX undecided requests,
// SESSION_WEIGHT_MAX bytes of them, or SESSION_OUT_PAUSE bytes of answers that its client has not
// taken, it takes no further request; its connection then stops reading, and the client feels it.
// Where all sessions of the loop together have DESK_WEIGHT_MAX bytes of undecided requests, those
// that cannot be answered at once are OVERLOADED; what the cache answers never is. Where they have
// DESK_OUT_MAX bytes of answers that their clients have not taken, an answer that would leave a
// session with more than SESSION_OUT_PAUSE is OVERLOADED; that of a write, which is done, is
// OUTCOME_UNKNOWN.
#pragma once

#include <sys/queue.h>

#include "server/dispatch.h"
#include "server/frames.h"
#include "server/order.h"
#include "server/rpc_decode.h"

enum {
    SESSION_FLIGHTS_MAX = 1024,
    SESSION_WEIGHT_MAX = 32 << 20,
    SESSION_OUT_PAUSE = 1 << 20,
    DESK_WEIGHT_MAX = 256 << 20,
    DESK_OUT_MAX = 256 << 20,
    EXPECTED_GETS_MAX = 16, // of which the memory can be asked for side by side
};

// A get that bytes begin with, found before they are taken.
struct expected_get {
    struct slice key; // in the bytes
    uint64_t hash;    // by dispatch_expect_get
    size_t end;       // of its message, in the bytes
    uint32_t msgid;
};

// What all sessions of one loop share.
struct desk {
    struct rpc_decoder decoder;
    struct dispatch dispatch;
    struct status *status;
    struct latency *latency; // of the loop; may be NULL
    size_t frame_bytes_max;
    size_t out_bytes_max; // DESK_OUT_MAX, but for tests
    size_t weight_bytes;  // of all undecided requests
    size_t waiting_count; // of requests that wait for an earlier one
    size_t out_bytes;     // of answers not taken, in sessions with more than SESSION_OUT_PAUSE
    int64_t refused_logged_boot_us;
    int64_t outage_epoch; // in which it was told that clients feel one
    bool outage_told;
    uint32_t gets_count; // answered of what is being taken, and not recorded yet
    struct pool flights;
};

// After its last session.
void desk_deinit(struct desk *desk);

struct flight;
TAILQ_HEAD(flights, flight);

struct session {
    struct desk *desk;
    bool read_only;
    void *owner; // the connection
    struct frame_reader frames;
    struct order order;
    struct watch watch;
    struct flights flights; // undecided, oldest first
    size_t flights_count;
    size_t waiting_count; // of them, those that were not sent to anybody
    size_t weight_bytes;
    struct buffer out;  // answers, in the order they were decided; the owner consumes it
    size_t out_counted; // what of it the desk's out_bytes includes
    bool abandoned;     // nobody is there to answer
};

enum taking {
    TAKING_HUNGRY, // no whole message is left: read on
    TAKING_PAUSED, // a bound is reached: come again when session_may_take
    TAKING_YIELDS, // enough for one turn: come again in the next
    TAKING_ENDED,  // what the client sends is no protocol of ours: answer what is owed, and close
};

void session_init(struct session *session, struct desk *desk, bool read_only, void *owner);

// Finds the gets that `bytes` begin with, at most `count_max`, which session_take would take next,
// and begins to fetch what they look at. Their number.
size_t session_expect(struct session *session, struct slice bytes, struct expected_get *gets,
                      size_t count_max);

// Takes whole requests from the front of `bytes`, and says how many bytes are done with. What was
// left must be given again, with more behind it. `gets`: those that were expected of these bytes,
// since when the session has taken nothing; their number may be 0.
enum taking session_take(struct session *session, struct slice bytes,
                         const struct expected_get *gets, size_t gets_count, size_t *consumed);

// Answers OVERLOADED to the request that `bytes` begin, of which no more will be read.
void session_refuse(struct session *session, struct slice bytes);

// Whether no bound keeps it from taking requests.
bool session_may_take(const struct session *session);

// Answers were put into `out`, or were taken from it.
static inline void session_count_out(struct session *session)
{
    size_t len = buffer_len(&session->out);
    size_t counted = len > SESSION_OUT_PAUSE ? len : 0;
    session->desk->out_bytes += counted - session->out_counted;
    session->out_counted = counted;
}

// Tells a watcher. A slow one's events are dropped, and it is owed one resync.
void session_announce(struct session *session, const struct changes_message *changes);
// Sends the resync that is owed, once the client has taken most of what was before it.
void session_settle_watch(struct session *session);

// The client is gone: what was not sent yet is dropped, what was is waited for and dropped then.
// The session stays until its flights_count is 0.
void session_abandon(struct session *session);

// Frees what it holds. Requests that are still out must never come home.
void session_deinit(struct session *session);
