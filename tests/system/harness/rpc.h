// A client of the tests' own for MessagePack-RPC over a Unix socket. Parameters go in and results
// come out as JSON text; bytes that are no request can be sent too. One thread a connection.
//
// A result text is the result as JSON, or {"error": {"code": ..., "message": ..., ...}} where the
// request was answered with an error. All texts are valid until the scenario ends.
#pragma once

#include "system/harness/json_text.h"

struct rpc;
struct node;

// Connects; fails the test where nobody listens. Closed with the scenario at the latest.
struct rpc *rpc_open(struct scenario *scenario, const char *socket_path);
// The same, NULL where nobody listens.
struct rpc *rpc_try_open(struct scenario *scenario, const char *socket_path);
void rpc_close(struct rpc *rpc);

// One request and its response. Fails the test where none comes.
const char *rpc_call(struct rpc *rpc, const char *method, const char *params_json);
// The same, NULL where the connection breaks or the deadline passes; only rpc_close is left then.
const char *rpc_try_call(struct rpc *rpc, const char *method, const char *params_json);

// Pipelining: sends a request and returns its msgid.
uint32_t rpc_send(struct rpc *rpc, const char *method, const char *params_json);
// The next response in order of arrival, whose msgid goes to `msgid` (may be NULL).
const char *rpc_receive(struct rpc *rpc, uint32_t *msgid);
// The same, false and NULL where the connection breaks or the deadline passes.
bool rpc_try_send(struct rpc *rpc, const char *method, const char *params_json, uint32_t *msgid);
const char *rpc_try_receive(struct rpc *rpc, uint32_t *msgid);
// The response to that request; others stay to be received.
const char *rpc_await(struct rpc *rpc, uint32_t msgid);
// The next notification, as ["changed", [...]].
const char *rpc_receive_event(struct rpc *rpc);

// The socket, for a test that polls or sends by itself.
int rpc_fd(const struct rpc *rpc);

// Bytes as they are, and requests with params that are MessagePack already.
bool rpc_try_send_bytes(struct rpc *rpc, const void *bytes, size_t len);
void rpc_send_bytes(struct rpc *rpc, const void *bytes, size_t len);
uint32_t rpc_send_msgpack(struct rpc *rpc, const char *method, struct slice params);

// Tells the peer that nothing more comes (shutdown), and waits until the peer has closed.
void rpc_end_sending(struct rpc *rpc);
void rpc_expect_closed(struct rpc *rpc);

// On the node's own connection, which is made when first used and after a restart; main thread.
const char *rpc(struct node *node, const char *method, const char *params_json);
// The result matches `expected_json` as json_matches says.
void assert_rpc(struct node *node, const char *method, const char *params_json,
                const char *expected_json);
// The answer is an error of that code with a message; returns the error's map as JSON.
const char *assert_rpc_error(struct node *node, const char *method, const char *params_json,
                             const char *code);

// For the scenario's end.
void rpc_close_all(struct scenario *scenario);
