#include "system/harness/steps.h"

#include <string.h>

#include "base/buffer.h"
#include "system/harness/deadline.h"

struct run {
    struct node *node;
    struct pg *pg;
    const char *kept; // what $v stands for
};

static const char *fill_in(const struct run *run, const char *text)
{
    if (text == NULL || strstr(text, "$v") == NULL) {
        return text;
    }
    if (run->kept == NULL) {
        scenario_fail("nothing was kept for %s", text);
    }
    struct buffer filled = {0};
    const char *place;
    while ((place = strstr(text, "$v")) != NULL) {
        buffer_printf(&filled, "%.*s%s", (int)(place - text), text, run->kept);
        text = place + 2;
    }
    buffer_printf(&filled, "%s", text);
    const char *copy =
        scenario_text(run->node->scenario, "%.*s", SLICE_FORMAT(buffer_slice(&filled)));
    buffer_deinit(&filled);
    return copy;
}

static bool is_expected(struct run *run, const char *answer, const char *expected)
{
    if (expected[0] != '!') {
        return json_matches(answer, expected);
    }
    struct scenario *scenario = run->node->scenario;
    const char *code = json_at(scenario, answer, "error.code");
    const char *message = json_at(scenario, answer, "error.message");
    return code != NULL && message != NULL && strcmp(message, "\"\"") != 0 &&
           strcmp(code, scenario_text(scenario, "\"%s\"", expected + 1)) == 0;
}

static void request(struct run *run, size_t number, const char *method, const char *params,
                    const char *expected)
{
    const char *answer = rpc(run->node, method, params);
    if (!is_expected(run, answer, expected)) {
        scenario_fail("step %zu, %s %.500s: %.1000s instead of %.500s", number, method, params,
                      answer, expected);
    }
}

static void await(struct run *run, size_t number, const char *text, const char *expected)
{
    const char *blank = strchr(text, ' ');
    const char *method = scenario_text(run->node->scenario, "%.*s", (int)(blank - text), text);
    struct deadline deadline = deadline_in(DEADLINE_MS);
    const char *answer;
    while (!is_expected(run, answer = rpc(run->node, method, blank + 1), expected)) {
        if (!deadline_again(&deadline)) {
            scenario_fail("step %zu, %s: still %.1000s, not %.500s", number, text, answer,
                          expected);
        }
    }
}

void run_steps(struct node *node, struct pg *pg, const struct step *steps, size_t count)
{
    struct run run = {.node = node, .pg = pg};
    for (size_t i = 0; i < count; i++) {
        const char *what = steps[i].what;
        const char *text = fill_in(&run, steps[i].text);
        const char *expected = fill_in(&run, steps[i].expected);
        if (strcmp(what, SQL) == 0) {
            pg_exec(pg, "%s", text);
        } else if (strcmp(what, SQL_VALUE) == 0) {
            const char *value = pg_value(pg, "%s", text);
            if ((value == NULL) != (expected == NULL) ||
                (value != NULL && strcmp(value, expected) != 0)) {
                scenario_fail("step %zu, %s: %s instead of %s", i, text,
                              value == NULL ? "null" : value, expected == NULL ? "null" : expected);
            }
        } else if (strcmp(what, KEEP) == 0) {
            run.kept = pg_value(pg, "%s", text);
        } else if (strcmp(what, AWAIT) == 0) {
            await(&run, i, text, expected);
        } else {
            request(&run, i, what, text, expected);
        }
    }
}
