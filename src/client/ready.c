// Each answer is one piece of memory with its bytes behind it.
#include "client/ready.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/memory.h"
#include "client/gets.h"

struct ready_answer {
    struct ready_answer *next;
    pgnear_async_callback *callback;
    void *context;
    pgnear_reply reply;
    size_t len;
    uint8_t bytes[];
};

void ready_add(struct ready *ready, pgnear_item *item, pgnear_async_callback *callback,
               void *context)
{
    size_t len = GET_ANSWER_BYTES(item);
    struct ready_answer *answer = memory_zeroed(1, sizeof *answer + len);
    struct slice result = get_answer(item, answer->bytes);
    answer->callback = callback;
    answer->context = context;
    answer->reply =
        (pgnear_reply){.code = PGNEAR_OK, .item = *item, .result = bytes_of_slice(result)};
    answer->len = len;
    if (ready->first == NULL) {
        ready->first = answer;
    } else {
        ready->last->next = answer;
    }
    ready->last = answer;
    ready->count++;
    ready->bytes += len;
}

void ready_call(struct ready *ready, pgnear_async *async)
{
    struct ready_answer *answer = ready->first;
    CHECK(answer != NULL && ready->count > 0);
    ready->first = answer->next;
    ready->count--;
    ready->bytes -= answer->len;
    if (answer->callback != NULL) {
        answer->callback(async, &answer->reply, answer->context);
    }
    free(answer);
}
