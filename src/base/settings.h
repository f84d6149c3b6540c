// The settings of one node, checked and in base units, as the configuration file, the environment
// and the defaults make them (SPEC section 2). Owned by main, constant after the start but for
// what SIGHUP re-reads (marked), which main hands out through atomics.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/log.h"
#include "base/request.h"

enum { ALLOW_UIDS_MAX = 64 };

// Whether DDL may be run.
enum schema_mode { SCHEMA_REQUIRE = 0, SCHEMA_CREATE = 1 };

enum updated_at_index { UPDATED_AT_BTREE, UPDATED_AT_BRIN, UPDATED_AT_NONE };

struct server_settings {
    char *socket;
    mode_t socket_mode;
    char *read_only_socket;           // "": none
    uid_t allow_uids[ALLOW_UIDS_MAX]; // re-read
    size_t allow_uids_count;          // re-read; 0: whoever the mode lets in
    int threads;
    int max_connections;
    size_t max_value_bytes;
    int64_t busy_poll_us;    // 0: not at all
    int64_t idle_timeout_us; // 0: never
    int64_t drain_timeout_us;
};

struct cache_settings {
    char *dir;
    size_t size_bytes;
    int64_t max_stale_us; // re-read
    bool negative;
    bool preload;
    int audit_rate; // re-read
};

struct writes_settings {
    char *dir;
    enum ack ack;
    size_t outbox_bytes;
    int64_t linger_us;
    int batch_rows;
    int64_t retain_us;
    int64_t timeout_us;
};

// The layout "document": as the settings write the names.
struct document_settings {
    char *table; // NULL: the layout is "table"
    char *id_column;
    char *id;
    char *column;
};

struct backup_settings {
    int64_t every_us; // 0: none
    int64_t keep_us;
};

struct expiry_settings {
    int jitter_percent;    // a time to live is shortened by at most this much
    int64_t reap_every_us; // 0: never
};

struct postgres_settings {
    char *conninfo;        // for libpq: a URL or keyword=value pairs; secret
    char *listen_conninfo; // NULL: conninfo
    char *place;           // which data conninfo leads to: without password, TLS, timeouts
    char *table;
    struct document_settings document;
    bool versioning;
    int partitions;
    enum schema_mode create_schema;
    int connections;
    enum updated_at_index updated_at_index;
    int64_t history_keep_us; // 0: for ever
    int64_t connect_timeout_us;
    int64_t statement_timeout_us;
};

struct settings {
    struct server_settings server;
    struct cache_settings cache;
    struct writes_settings writes;
    struct backup_settings backup;
    struct expiry_settings expiry;
    struct postgres_settings postgres;
    enum log_level log_level;   // re-read
    enum log_format log_format; // re-read
};

// The table that the operator knows: of the layout that is asked for.
static inline const char *settings_table(const struct postgres_settings *postgres)
{
    return postgres->document.table != NULL ? postgres->document.table : postgres->table;
}
