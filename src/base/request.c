#include "base/request.h"

#include <stdalign.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/entry.h"
#include "base/memory.h"
#include "base/messages.h"

static const struct {
    const char *name;
    size_t name_len;
    enum method_class class;
} METHODS[METHOD_COUNT] = {
#define METHOD_ROW(name, wire, class) [METHOD_##name] = {wire, sizeof(wire) - 1, class},
    METHOD_TABLE(METHOD_ROW)
#undef METHOD_ROW
};

const char *method_name(enum method method)
{
    CHECK_VALUES(method < METHOD_COUNT, "method %d", (int)method);
    return METHODS[method].name;
}

enum method_class method_class(enum method method)
{
    CHECK_VALUES(method < METHOD_COUNT, "method %d", (int)method);
    return METHODS[method].class;
}

bool method_flushes(enum method method)
{
    return method == METHOD_FLUSH || method == METHOD_BACKUP || method == METHOD_RESTORE;
}

enum method method_of_name(struct slice name)
{
    int method = 0;
    while (method < METHOD_COUNT &&
           !slice_equal(name, slice_of(METHODS[method].name, METHODS[method].name_len))) {
        method++;
    }
    return (enum method)method;
}

// A request and what a small call points to are one block.
enum { ROOM_BYTES = 512 };

struct block {
    struct request request;
    alignas(max_align_t) uint8_t room[ROOM_BYTES];
};

// All but the text of a failure that has none yet, which is half of it.
static void blank(struct request *request)
{
    char *message = request->reply.failure.message;
    size_t before = (size_t)(message - (char *)request);
    size_t after = before + sizeof request->reply.failure.message;
    memset(request, 0, before + 1);
    memset((char *)request + after, 0, sizeof *request - after);
}

static void copy_pairs(struct request *request, const struct call *call)
{
    struct pair *pairs =
        arena_alloc_raw(&request->arena, call->pairs_count * sizeof *request->call.pairs);
    request->call.pairs = pairs;
    if (method_class(call->method) == METHOD_WRITE) {
        size_t bytes = entry_pairs_bytes(call);
        uint8_t *at = arena_alloc_raw(&request->arena, bytes);
        entry_copy_pairs(call, at, pairs);
        request->encoded_pairs = slice_of(at, bytes);
        return;
    }
    for (size_t i = 0; i < call->pairs_count; i++) {
        pairs[i].key = arena_copy(&request->arena, call->pairs[i].key);
        pairs[i].value = arena_copy(&request->arena, call->pairs[i].value);
    }
}

static struct request *fill(struct block *block, const struct call *call, struct mailbox *home)
{
    struct request *request = &block->request;
    blank(request);
    arena_lend(&request->arena, block->room, sizeof block->room);
    request->message.kind = MESSAGE_REQUEST;
    request->home = home;
    request->call = *call;
    request->call.id = arena_copy(&request->arena, call->id);
    request->call.prefix = arena_copy(&request->arena, call->prefix);
    request->call.after = arena_copy(&request->arena, call->after);
    request->call.table = arena_copy(&request->arena, call->table);
    copy_pairs(request, call);
    request->message.bytes = sizeof *request + request->arena.bytes;
    return request;
}

struct request *request_create(const struct call *call, struct mailbox *home)
{
    return fill(memory_resize(NULL, sizeof(struct block)), call, home);
}

static void empty(struct request *request)
{
    arena_deinit(&request->reply.arena);
    arena_deinit(&request->arena);
}

void request_destroy(struct request *request)
{
    empty(request);
    free(request);
}

struct request *request_create_in(struct pool *pool, const struct call *call, struct mailbox *home)
{
    return fill(pool_take(pool, sizeof(struct block)), call, home);
}

void request_return(struct pool *pool, struct request *request)
{
    empty(request);
    pool_return(pool, request);
}

void request_finish(struct request *request)
{
    CHECK(request->home != NULL);
    mailbox_push(request->home, &request->message);
}

void request_fail(struct request *request, enum error error, const char *format, ...)
{
    struct failure failure;
    va_list values;
    va_start(values, format);
    failure_note_values(&failure, error, format, values);
    va_end(values);
    const struct failure *before = &request->reply.failure;
    failure.has_seq = before->has_seq;
    failure.seq = before->seq;
    memcpy(failure.sqlstate, before->sqlstate, sizeof failure.sqlstate);
    request->reply.failure = failure;
    request_finish(request);
}

struct item *reply_items(struct reply *reply, size_t count)
{
    reply->items = arena_alloc(&reply->arena, count * sizeof *reply->items);
    reply->items_count = count;
    return reply->items;
}

void reply_deinit(struct reply *reply)
{
    arena_deinit(&reply->arena);
    *reply = (struct reply){0};
}
