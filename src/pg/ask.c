#include "pg/ask.h"

#include <stdio.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/words.h"
#include "pg/read_pool.h"
#include "pg/sqlstate.h"

static const char QUERY_CANCELED[] = "57014";

static void copy_sqlstate(struct failure *failure, const char *sqlstate)
{
    snprintf(failure->sqlstate, sizeof failure->sqlstate, "%s", sqlstate);
}

struct failure ask_no_connection(const struct failure *cause)
{
    struct failure failure = {0};
    failure_note(&failure, ERROR_UNAVAILABLE, "no connection to PostgreSQL: %s", cause->message);
    copy_sqlstate(&failure, cause->sqlstate);
    return failure;
}

bool ask_refusal_is_new(char told[FAILURE_MESSAGE_BYTES], const struct failure *refusal)
{
    if (strcmp(told, refusal->message) == 0) {
        return false;
    }
    snprintf(told, FAILURE_MESSAGE_BYTES, "%s", refusal->message);
    return true;
}

struct failure ask_refusal(const struct failure *refusal)
{
    struct failure failure = *refusal;
    failure.error = ERROR_REJECTED;
    if (strcmp(refusal->sqlstate, QUERY_CANCELED) == 0) {
        failure.error = ERROR_TIMEOUT;
    } else if (sqlstate_classify(refusal->sqlstate) == SQLSTATE_CONNECTION) {
        failure = ask_no_connection(refusal);
    }
    return failure;
}

void ask_fail(struct request *request, const struct failure *failure)
{
    struct failure *told = &request->reply.failure;
    struct call_words words = call_words(&request->call);
    failure_note(told, failure->error, "%s: %s", words.text, failure->message);
    copy_sqlstate(told, failure->sqlstate);
    request_finish(request);
}

bool ask_is_turned_away(struct worker *worker, struct request *request)
{
    if (read_pool_is_away(worker->read_pool)) {
        worker_refuse(worker, request);
        return true;
    }
    const struct failure *down = read_pool_down(worker->read_pool);
    if (down != NULL) {
        struct failure failure = ask_no_connection(down);
        ask_fail(request, &failure);
        return true;
    }
    return false;
}
