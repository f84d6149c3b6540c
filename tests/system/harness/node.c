// The daemon's executable is $PGNEARD, or the one that was built with the test.

#include "system/harness/node.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "system/harness/deadline.h"

static const char *program(void)
{
    const char *chosen = getenv("PGNEARD");
    return chosen != NULL && chosen[0] != '\0' ? chosen : PGNEARD_PROGRAM;
}

// Whether the test's own settings hold the key, and not just one that begins with it.
static bool sets(const char *own, const char *key)
{
    const char *found = own == NULL ? NULL : strstr(own, key);
    while (found != NULL && (found[strlen(key)] == '_' || found[strlen(key)] == '.')) {
        found = strstr(found + 1, key);
    }
    return found != NULL;
}

// A line of the configuration, unless the test sets that key itself.
static void write_setting(FILE *file, const char *own, const char *key, const char *value)
{
    if (!sets(own, key)) {
        fprintf(file, "%s = \"%s\"\n", key, value);
    }
}

void node_configure(struct node *node, const struct pg *pg, const struct node_options *options)
{
    FILE *file = fopen(node->config_path, "we");
    if (file == NULL) {
        scenario_fail("cannot write %s: %s", node->config_path, strerror(errno));
    }
    const char *own = options != NULL ? options->config : NULL;
    write_setting(file, own, "server.socket", node->socket_path);
    write_setting(file, own, "cache.dir", node->cache_dir);
    write_setting(file, own, "cache.size", "64MiB");
    write_setting(file, own, "writes.dir", node->outbox_dir);
    write_setting(file, own, "writes.outbox_size", "32MiB");
    write_setting(file, own, "log.level", "debug");
    if (pg != NULL) {
        write_setting(file, own, "postgres.url", pg->url);
    }
    if (options != NULL && options->table != NULL) {
        write_setting(file, own, "postgres.table", options->table);
    }
    fputs(own != NULL ? own : "", file);
    if (fclose(file) != 0) {
        scenario_fail("cannot write %s: %s", node->config_path, strerror(errno));
    }
}

struct node *node_create(struct scenario *scenario, const struct pg *pg,
                         const struct node_options *options)
{
    const char *name = options != NULL && options->name != NULL ? options->name : "node";
    struct node *node = scenario_alloc(scenario, sizeof *node);
    *node = (struct node){
        .scenario = scenario,
        .process = process_create(scenario, name),
        .name = name,
        .config_path = scenario_text(scenario, "%s/%s.toml", scenario->directory, name),
        .socket_path = scenario_text(scenario, "%s/%s.sock", scenario->directory, name),
        .cache_dir = scenario_text(scenario, "%s/%s.cache", scenario->directory, name),
        .outbox_dir = scenario_text(scenario, "%s/%s.outbox", scenario->directory, name),
        .environment = options != NULL ? options->environment : NULL};
    node_configure(node, pg, options);
    return node;
}

void node_spawn(struct node *node)
{
    const char *arguments[] = {program(), "-c", node->config_path, NULL};
    process_start(node->process, arguments,
                  &(struct process_options){.environment = node->environment});
}

static void disconnect(struct node *node)
{
    if (node->rpc != NULL) {
        rpc_close(node->rpc);
        node->rpc = NULL;
    }
}

// The state that hello tells, as JSON; NULL while nobody answers.
static const char *try_state(struct node *node)
{
    if (node->rpc == NULL) {
        node->rpc = rpc_try_open(node->scenario, node->socket_path);
    }
    if (node->rpc == NULL) {
        return NULL;
    }
    const char *hello = rpc_try_call(node->rpc, "hello", "[\"harness\"]");
    if (hello == NULL) {
        disconnect(node);
        return NULL;
    }
    return json_at(node->scenario, hello, "state");
}

void node_await_state(struct node *node, const char *state)
{
    const char *wanted = scenario_text(node->scenario, "\"%s\"", state);
    struct deadline deadline = deadline_in(DEADLINE_MS);
    const char *found;
    while ((found = try_state(node)) == NULL || strcmp(found, wanted) != 0) {
        if (!process_is_running(node->process)) {
            scenario_fail("%s ended with wait status %d", node->name, node->process->status);
        }
        if (!deadline_again(&deadline)) {
            scenario_fail("%s is not %s but %s", node->name, state,
                          found == NULL ? "silent" : found);
        }
    }
}

void node_await_hello(struct node *node, const char *words)
{
    struct deadline deadline = deadline_in(DEADLINE_MS);
    const char *hello;
    while (strstr(hello = rpc(node, "hello", "[\"test\"]"), words) == NULL) {
        if (!deadline_again(&deadline)) {
            scenario_fail("hello does not say \"%s\": %s", words, hello);
        }
    }
}

void node_await_ready(struct node *node)
{
    node_await_state(node, "live");
    node_await_stat(node, "postgres.flushing", "1");
}

struct node *node_start(struct scenario *scenario, const struct pg *pg,
                        const struct node_options *options)
{
    struct node *node = node_create(scenario, pg, options);
    node_start_again(node);
    return node;
}

void node_start_again(struct node *node)
{
    node_spawn(node);
    node_await_ready(node);
}

void node_kill(struct node *node)
{
    process_signal(node->process, SIGKILL);
    process_wait(node->process);
    disconnect(node);
}

int node_stop(struct node *node)
{
    process_signal(node->process, SIGTERM);
    return node_await_exit(node);
}

int node_await_exit(struct node *node)
{
    int status = process_wait(node->process);
    disconnect(node);
    return status;
}

struct rpc *node_rpc(struct node *node)
{
    if (node->rpc == NULL) {
        node->rpc = node_open(node);
    }
    return node->rpc;
}

struct rpc *node_open(struct node *node)
{
    return rpc_open(node->scenario, node->socket_path);
}

const char *node_stat(struct node *node, const char *path)
{
    const char *stats = rpc(node, "stats", "[]");
    const char *part = json_at(node->scenario, stats, path);
    if (part == NULL) {
        scenario_fail("there is no %s in %s", path, stats);
    }
    return part;
}

int64_t node_stat_int(struct node *node, const char *path)
{
    return json_int_at(node->scenario, rpc(node, "stats", "[]"), path);
}

void node_await_stat(struct node *node, const char *path, const char *expected_json)
{
    struct deadline deadline = deadline_in(DEADLINE_MS);
    const char *found;
    while (!json_matches(found = node_stat(node, path), expected_json)) {
        if (!deadline_again(&deadline)) {
            scenario_fail("%s of %s is still %s, not %s", path, node->name, found, expected_json);
        }
    }
}

void node_await_stat_min(struct node *node, const char *path, int64_t at_least)
{
    struct deadline deadline = deadline_in(DEADLINE_MS);
    int64_t found;
    while ((found = node_stat_int(node, path)) < at_least) {
        if (!deadline_again(&deadline)) {
            scenario_fail("%s of %s is still %lld, below %lld", path, node->name, (long long)found,
                          (long long)at_least);
        }
    }
}

int node_log_count(struct node *node, const char *text)
{
    FILE *log = fopen(node->process->log_path, "re");
    if (log == NULL) {
        return 0;
    }
    char *line = NULL;
    size_t capacity = 0;
    int count = 0;
    while (getline(&line, &capacity, log) >= 0) {
        count += strstr(line, text) != NULL;
    }
    free(line);
    fclose(log);
    return count;
}

bool node_log_has(struct node *node, const char *text)
{
    return node_log_count(node, text) > 0;
}

void node_await_log(struct node *node, const char *text)
{
    struct deadline deadline = deadline_in(DEADLINE_MS);
    while (!node_log_has(node, text)) {
        if (!deadline_again(&deadline)) {
            scenario_fail("%s does not log \"%s\"", node->name, text);
        }
    }
}
