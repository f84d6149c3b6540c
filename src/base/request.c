#include "base/request.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/memory.h"
#include "base/messages.h"

static const struct {
    const char *name;
    enum method_class class;
} METHODS[METHOD_COUNT] = {
#define METHOD_ROW(name, wire, class) [METHOD_##name] = {wire, class},
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
    while (method < METHOD_COUNT && !slice_equal(name, slice_of_string(METHODS[method].name))) {
        method++;
    }
    return (enum method)method;
}

static void copy_pairs(struct request *request, const struct call *call)
{
    struct pair *pairs = arena_alloc(&request->arena, call->pairs_count * sizeof *pairs);
    for (size_t i = 0; i < call->pairs_count; i++) {
        pairs[i].key = arena_copy(&request->arena, call->pairs[i].key);
        pairs[i].value = arena_copy(&request->arena, call->pairs[i].value);
    }
    request->call.pairs = pairs;
}

struct request *request_create(const struct call *call, struct mailbox *home)
{
    struct request *request = memory_zeroed(1, sizeof *request);
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

void request_destroy(struct request *request)
{
    reply_deinit(&request->reply);
    arena_deinit(&request->arena);
    free(request);
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
    failure_set_values(&failure, error, format, values);
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
