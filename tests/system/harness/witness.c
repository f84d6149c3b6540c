// Each write carries an id and is repeated until it is decided, so that what a key holds is known
// whatever breaks meanwhile.

#include "system/harness/witness.h"

#include <stdio.h>
#include <string.h>

#include "base/buffer.h"
#include "system/harness/deadline.h"
#include "system/harness/node.h"

// ---- Requests

static const char *error_of(struct witness *witness, const char *answer)
{
    return strncmp(answer, "{\"error\"", strlen("{\"error\"")) == 0
               ? json_at(witness->scenario, answer, "error.code")
               : NULL;
}

static bool is_to_be_repeated(const char *code)
{
    static const char *const CODES[] = {"\"UNAVAILABLE\"", "\"TIMEOUT\"", "\"OVERLOADED\"",
                                        "\"OUTCOME_UNKNOWN\""};
    for (size_t i = 0; i < sizeof CODES / sizeof CODES[0]; i++) {
        if (strcmp(code, CODES[i]) == 0) {
            return true;
        }
    }
    return false;
}

// The answer, or CONFLICT as NULL. Asked again while the node is restarted or cut off.
static const char *decide(struct witness *witness, const char *method, const char *params)
{
    struct deadline deadline = deadline_in(3 * DEADLINE_MS);
    const char *answer = "nobody listens";
    do {
        if (witness->rpc == NULL) {
            witness->rpc = rpc_try_open(witness->scenario, witness->node->socket_path);
        }
        if (witness->rpc == NULL) {
            continue;
        }
        answer = rpc_try_call(witness->rpc, method, params);
        if (answer == NULL) {
            rpc_close(witness->rpc);
            witness->rpc = NULL;
            answer = "the connection broke";
            continue;
        }
        const char *code = error_of(witness, answer);
        if (code == NULL) {
            return answer;
        }
        if (strcmp(code, "\"CONFLICT\"") == 0) {
            return NULL;
        }
        if (!is_to_be_repeated(code)) {
            scenario_fail("%s %s: %s", method, params, answer);
        }
    } while (deadline_again(&deadline));
    scenario_fail("%s %s is not decided: %s", method, params, answer);
}

// A write whose params begin as `head`, with its id and `options`.
static const char *write_once(struct witness *witness, const char *method, const char *head,
                              const char *options)
{
    struct scenario *scenario = witness->scenario;
    const char *params =
        scenario_text(scenario, "[%s, {\"id\": \"%d-%d\", \"timeout_ms\": 2000%s}]", head,
                      witness->index, ++witness->writes, options);
    const char *answer = decide(witness, method, params);
    atomic_fetch_add(witness->acknowledged, 1);
    return answer;
}

const char *witness_number(struct witness *witness, long long number)
{
    return number == WITNESS_ABSENT ? "null" : scenario_text(witness->scenario, "%lld", number);
}

static const char *own_key(struct witness *witness, const char *name, int number)
{
    return scenario_text(witness->scenario, "\"own:%d:%s%d\"", witness->index, name, number);
}

// ---- What is read

static void expect(const char *what, const char *answer, const char *expected)
{
    if (!json_matches(answer, expected)) {
        scenario_fail("%s: %s instead of %s", what, answer, expected);
    }
}

const char *witness_object(struct witness *witness)
{
    struct buffer text = {0};
    const char *comma = "";
    buffer_printf(&text, "{");
    for (int i = 0; i < WITNESS_MEMBERS; i++) {
        if (witness->members[i] != WITNESS_ABSENT) {
            buffer_printf(&text, "%s\"m%d\": %lld", comma, i, witness->members[i]);
            comma = ", ";
        }
    }
    buffer_printf(&text, "}");
    const char *copy = scenario_text(witness->scenario, "%.*s", SLICE_FORMAT(buffer_slice(&text)));
    buffer_deinit(&text);
    return copy;
}

static const char *entry_text(struct witness *witness, const char *value)
{
    return strcmp(value, "null") == 0 ? value
                                      : scenario_text(witness->scenario, "[%s, \"*\"]", value);
}

static void read_number(struct witness *witness, int number, const char *options)
{
    const char *key = own_key(witness, "n", number);
    const char *params = scenario_text(witness->scenario, "[%s%s]", key, options);
    expect(params, decide(witness, "get", params),
           entry_text(witness, witness_number(witness, witness->numbers[number])));
}

// Every own key at once, as SQL and scan show them: in byte order.
static void read_all(struct witness *witness)
{
    struct scenario *scenario = witness->scenario;
    struct buffer items = {0};
    const char *comma = "";
    for (int i = 0; i < WITNESS_NUMBERS; i++) {
        if (witness->numbers[i] != WITNESS_ABSENT) {
            buffer_printf(&items, "%s[%s, %lld, \"*\"]", comma, own_key(witness, "n", i),
                          witness->numbers[i]);
            comma = ", ";
        }
    }
    buffer_printf(&items, "%s[%s, %s, \"*\"]", comma, own_key(witness, "object", 0),
                  witness_object(witness));
    for (int i = 0; i < 2 && witness->pair != WITNESS_ABSENT; i++) {
        buffer_printf(&items, ", [%s, %lld, \"*\"]", own_key(witness, "p", i), witness->pair);
    }
    const char *params = scenario_text(scenario, "[{\"prefix\": \"own:%d:\"}]", witness->index);
    expect(params, decide(witness, "scan", params),
           scenario_text(scenario, "{\"items\": [%.*s], \"next\": null}",
                         SLICE_FORMAT(buffer_slice(&items))));
    buffer_deinit(&items);
}

// ---- What is written

static void set_if_version(struct witness *witness, int number, long long value)
{
    struct scenario *scenario = witness->scenario;
    const char *key = own_key(witness, "n", number);
    const char *held = decide(witness, "get", scenario_text(scenario, "[%s]", key));
    const char *version = json_at(scenario, held, "1");
    if (version == NULL || strcmp(version, "null") == 0) {
        return; // absent or on its way
    }
    bool deletes = random_below(&witness->random, 3) == 0;
    const char *condition = scenario_text(scenario, ", \"if_version\": %s", version);
    const char *head = deletes ? key : scenario_text(scenario, "%s, %lld", key, value);
    // CONFLICT where the key was applied again between the two.
    if (write_once(witness, deletes ? "delete" : "set", head, condition) != NULL) {
        witness->numbers[number] = deletes ? WITNESS_ABSENT : value;
    }
}

static void write_number(struct witness *witness)
{
    struct scenario *scenario = witness->scenario;
    int number = (int)random_below(&witness->random, WITNESS_NUMBERS);
    long long value = (long long)random_below(&witness->random, 1000000);
    long long *held = &witness->numbers[number];
    const char *key = own_key(witness, "n", number);
    const char *head = scenario_text(scenario, "%s, %lld", key, value);
    const char *answer;
    switch (random_below(&witness->random, 6)) {
    case 0:
        write_once(witness, "set", head, ", \"ack\": \"postgres\"");
        *held = value;
        break;
    case 1:
        answer = write_once(witness, "incr", scenario_text(scenario, "%s, 7", key), "");
        *held = (*held == WITNESS_ABSENT ? 0 : *held) + 7;
        expect(key, answer, entry_text(witness, witness_number(witness, *held)));
        break;
    case 2:
        write_once(witness, "delete", key, "");
        *held = WITNESS_ABSENT;
        break;
    case 3:
        if (write_once(witness, "set", head, ", \"if_absent\": true") != NULL) {
            if (*held != WITNESS_ABSENT) {
                scenario_fail("%s was set although it held %lld", key, *held);
            }
            *held = value;
        } else if (*held == WITNESS_ABSENT) {
            scenario_fail("%s was not set although it was absent", key);
        }
        break;
    case 4:
        set_if_version(witness, number, value);
        break;
    default:
        write_once(witness, "set", head, "");
        *held = value;
    }
}

static void write_object(struct witness *witness)
{
    struct scenario *scenario = witness->scenario;
    int member = (int)random_below(&witness->random, WITNESS_MEMBERS);
    bool removes = random_below(&witness->random, 3) == 0;
    long long value = removes ? WITNESS_ABSENT : (long long)random_below(&witness->random, 1000000);
    const char *patch =
        scenario_text(scenario, "{\"m%d\": %s}", member, witness_number(witness, value));
    const char *key = own_key(witness, "object", 0);
    const char *answer =
        write_once(witness, "merge", scenario_text(scenario, "%s, %s", key, patch), "");
    witness->members[member] = value;
    expect(key, answer, entry_text(witness, witness_object(witness)));
}

static void write_pair(struct witness *witness)
{
    struct scenario *scenario = witness->scenario;
    const char *first = own_key(witness, "p", 0), *second = own_key(witness, "p", 1);
    if (random_below(&witness->random, 4) == 0) {
        write_once(witness, "delete", scenario_text(scenario, "[%s, %s]", first, second), "");
        witness->pair = WITNESS_ABSENT;
        return;
    }
    witness->pair = (long long)random_below(&witness->random, 1000000);
    write_once(witness, "mset",
               scenario_text(scenario, "[[%s, %lld], [%s, %lld]]", first, witness->pair, second,
                             witness->pair),
               "");
}

static void count(struct witness *witness)
{
    struct scenario *scenario = witness->scenario;
    int counter = (int)random_below(&witness->random, WITNESS_COUNTERS);
    long long by = 1 + (long long)random_below(&witness->random, 9);
    write_once(witness, "incr", scenario_text(scenario, "\"count:%d\", %lld", counter, by), "");
    witness->counted[counter] += by;
}

static void write_common(struct witness *witness)
{
    struct scenario *scenario = witness->scenario;
    if (witness->common_count == WITNESS_COMMON_WRITES_MAX) {
        return;
    }
    struct common_write *write = &witness->common[witness->common_count++];
    write->key = (int)random_below(&witness->random, WITNESS_COMMON_KEYS);
    const char *answer = write_once(witness, "set",
                                    scenario_text(scenario, "\"common:%d\", \"%d-%d\"", write->key,
                                                  witness->index, witness->common_count - 1),
                                    "");
    write->seq = json_int_at(scenario, answer, "seq");
}

// ---- Its life

void witness_init(struct witness *witness, struct scenario *scenario, struct node *node, int index,
                  atomic_ullong *acknowledged)
{
    *witness = (struct witness){
        .scenario = scenario,
        .node = node,
        .index = index,
        .acknowledged = acknowledged,
        .random = random_of(random_seed(), 200 + (uint64_t)index),
        .pair = WITNESS_ABSENT,
    };
    for (int i = 0; i < WITNESS_NUMBERS; i++) {
        witness->numbers[i] = WITNESS_ABSENT;
    }
    for (int i = 0; i < WITNESS_MEMBERS; i++) {
        witness->members[i] = WITNESS_ABSENT;
    }
    write_object(witness);
}

void witness_act(struct witness *witness)
{
    switch (random_below(&witness->random, 8)) {
    case 0:
        count(witness);
        break;
    case 1:
        write_common(witness);
        break;
    case 2:
        write_object(witness);
        break;
    case 3:
        write_pair(witness);
        break;
    case 4:
        read_all(witness);
        break;
    case 5:
        read_number(witness, (int)random_below(&witness->random, WITNESS_NUMBERS),
                    random_below(&witness->random, 2) == 0 ? "" : ", {\"fresh\": true}");
        break;
    default:
        write_number(witness);
    }
}
