// libpgnear without waiting: requests are handed in, and each is answered by a callback from the
// application's own event loop. An adapter connects it to a loop: pgnear/adapters/libevent.h,
// pgnear/adapters/poll.h, or the six hooks below for any other.
//
//      static void on_reply(pgnear_async *node, const pgnear_reply *reply, void *context)
//      {
//          ... reply->code, reply->item ...
//      }
//
//      pgnear_async *node;
//      if (pgnear_async_open(NULL, NULL, &node, &error) == PGNEAR_OK) {
//          pgnear_libevent_attach(node, base);
//          pgnear_async_get(node, pgnear_text("greeting"), NULL, on_reply, NULL, &error);
//          event_base_dispatch(base);
//      }
//
// Threads: everything that has to do with one connection happens on one thread, its loop's. After
// fork() the child leaves an inherited connection alone: it shares the parent's loop.
//
// Direct reads: pgnear_async_get looks into the node's cache as pgnear_get does (pgnear.h), while
// it is called, unless an earlier request on the same key, or of pgnear_async_call, is undecided.
// What it finds is called back with the loop's next turn, like every answer: never from inside the
// call, and before the answers to what was asked later. options.socket_only turns it off.
//
// Memory: what goes in is copied before the call returns. A reply and all it points to lives until
// its callback returns. Callbacks may call any function here, pgnear_async_close included: the
// connection is freed once they have returned.
//
// Errors: a function that takes a request returns PGNEAR_OK, and its callback is called exactly
// once; or another code, and it is not called. A connection that breaks does not come back: every
// undecided request is answered (PGNEAR_OUTCOME_UNKNOWN for a write that was sent), then on_close
// is called; close it and open another. No function blocks. A write that is not answered in time is
// PGNEAR_OUTCOME_UNKNOWN too, and undecided no longer: a get after it may see it done or not, and
// nothing older than what this connection was told before.
#ifndef PGNEAR_ASYNC_H
#define PGNEAR_ASYNC_H

#include <pgnear.h>

#ifdef __cplusplus
extern "C" {
#endif

// A connection to one node. Opaque.
typedef struct pgnear_async pgnear_async;

// The answer to one request. Lent until it returns.
typedef void pgnear_async_callback(pgnear_async *async, const pgnear_reply *reply, void *context);

// An event of a watch. Lent until it returns.
typedef void pgnear_async_event_callback(pgnear_async *async, const pgnear_event *event,
                                         void *context);

// The connection has ended, for `error`.
typedef void pgnear_async_close_callback(pgnear_async *async, const pgnear_error *error,
                                         void *context);

// What a loop has to offer. Each is called with `context`; asking for what is there already is
// nothing to do. When the descriptor is ready the loop calls pgnear_async_handle_read or
// pgnear_async_handle_write; when the time is over, pgnear_async_handle_timer.
typedef struct pgnear_async_hooks {
    size_t size;
    void *context;
    void (*add_read)(void *context);
    void (*del_read)(void *context);
    void (*add_write)(void *context);
    void (*del_write)(void *context);
    void (*schedule_timer)(void *context, int64_t after_ms); // once; replaces the one before
    void (*cleanup)(void *context); // last of all: the adapter frees what is its own
} pgnear_async_hooks;

// Connects to the node at `socket_path` as pgnear_open does, and says hello. Does not block:
// whether the peer is a pgneard turns out in the loop. *async is the caller's, to be closed.
// PGNEAR_UNREACHABLE where nobody listens there. Any thread; it becomes the connection's.
// [thread: any; blocks: no; memory: caller; errors: local]
PGNEAR_API pgnear_code pgnear_async_open(const char *socket_path, const pgnear_options *options,
                                         pgnear_async **async, pgnear_error *error);

// Answers every undecided request with PGNEAR_UNREACHABLE or PGNEAR_OUTCOME_UNKNOWN (a get that was
// answered from the cache with what it found), detaches from
// the loop and frees the connection, at once or when the callback that it is called from returns;
// on_close is not called. NULL is nothing to do. Does not block and cannot fail. The loop's thread.
// [thread: loop; blocks: no; memory: none; errors: none]
PGNEAR_API void pgnear_async_close(pgnear_async *async);

// Connects it to a loop; for adapters. The hooks are copied and called from now on, from the loop's
// thread; what they point to is the caller's until `cleanup`. PGNEAR_BAD_REQUEST where it is
// attached already. Does not block.
// [thread: loop; blocks: no; memory: none; errors: local]
PGNEAR_API pgnear_code pgnear_async_attach(pgnear_async *async, const pgnear_async_hooks *hooks,
                                           pgnear_error *error);

// The descriptor that the loop watches, which stays the connection's; -1 once it has ended. Does
// not block and cannot fail. The loop's thread.
// [thread: loop; blocks: no; memory: none; errors: none]
PGNEAR_API int pgnear_async_fd(const pgnear_async *async);

// Called by the loop, on its thread: the descriptor can be read or written, or the time is over.
// They do not block; callbacks are called from here; errors go to those. The connection may be gone
// when they return.
// [thread: loop; blocks: no; memory: none; errors: none]
PGNEAR_API void pgnear_async_handle_read(pgnear_async *async);
PGNEAR_API void pgnear_async_handle_write(pgnear_async *async);
PGNEAR_API void pgnear_async_handle_timer(pgnear_async *async);

// Whom to tell of events and of the end; NULL for nobody. `context` stays the caller's. They do not
// block and cannot fail. The loop's thread.
// [thread: loop; blocks: no; memory: none; errors: none]
PGNEAR_API void pgnear_async_on_event(pgnear_async *async, pgnear_async_event_callback *callback,
                                      void *context);
PGNEAR_API void pgnear_async_on_close(pgnear_async *async, pgnear_async_close_callback *callback,
                                      void *context);

// How many requests have not been called back. Does not block and cannot fail. The loop's thread.
// [thread: loop; blocks: no; memory: none; errors: none]
PGNEAR_API size_t pgnear_async_pending(const pgnear_async *async);

// Milliseconds of the clock that an adapter may count its timer by, which no one sets
// (CLOCK_MONOTONIC).
// [thread: any; blocks: no; memory: none; errors: none]
PGNEAR_API int64_t pgnear_async_clock_ms(void);

// Requests as of the functions of pgnear.h with these names. What goes in is copied; `callback` may
// be NULL for an answer that is not wanted. They do not block; the loop's thread. PGNEAR_OVERLOADED
// where 65,536 requests or 64 MiB of them wait already, PGNEAR_UNREACHABLE once the connection has
// ended; the reply has the errors of the node, and PGNEAR_TIMEOUT at the deadline.
// [thread: loop; blocks: no; memory: none; errors: local]
PGNEAR_API pgnear_code pgnear_async_get(pgnear_async *async, pgnear_bytes key,
                                        const pgnear_get_options *options,
                                        pgnear_async_callback *callback, void *context,
                                        pgnear_error *error);
PGNEAR_API pgnear_code pgnear_async_set(pgnear_async *async, pgnear_bytes key, pgnear_bytes value,
                                        const pgnear_write_options *options,
                                        pgnear_async_callback *callback, void *context,
                                        pgnear_error *error);
PGNEAR_API pgnear_code pgnear_async_delete(pgnear_async *async, pgnear_bytes key,
                                           const pgnear_write_options *options,
                                           pgnear_async_callback *callback, void *context,
                                           pgnear_error *error);
// Any method, as pgnear_call; also watch and unwatch, whose events go to on_event.
// [thread: loop; blocks: no; memory: none; errors: local]
PGNEAR_API pgnear_code pgnear_async_call(pgnear_async *async, const char *method,
                                         pgnear_bytes params, bool writes,
                                         const pgnear_call_options *options,
                                         pgnear_async_callback *callback, void *context,
                                         pgnear_error *error);

#ifdef __cplusplus
}
#endif

#endif
