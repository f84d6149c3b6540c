// The table of settings. The default of a row is parsed like a user's value, so a default that
// would be refused stops the first test.
#include "config/keys.h"

#include <string.h>
#include <sys/un.h>

#define AT(field)      offsetof(struct config, settings.field)
#define AT_PART(field) offsetof(struct config, parts.field)
#define SECONDS(count) ((int64_t)(count)*1000000)
#define DAYS(count)    SECONDS((int64_t)(count)*86400)
#define KIB(count)     ((int64_t)(count) << 10)
#define MIB(count)     ((int64_t)(count) << 20)
#define TIB(count)     ((int64_t)(count) << 40)

// The kernel wants the NUL as well (unix(7)).
enum { SOCKET_PATH_MAX = sizeof((struct sockaddr_un *)NULL)->sun_path - 1 };

const struct key_row KEY_ROWS[] = {
    {"server", "socket", KEY_PATH, "\"/run/pgnear/pgnear.sock\"", .offset = AT(server.socket),
     .max = SOCKET_PATH_MAX, .help = "The Unix socket that clients connect to."},
    {"server", "socket_mode", KEY_MODE, "\"0660\"", .offset = AT(server.socket_mode), .max = 0777,
     .help = "Permissions of the socket file, in octal."},
    {"server", "read_only_socket", KEY_PATH_OR_NOT, "\"\"", .offset = AT(server.read_only_socket),
     .max = SOCKET_PATH_MAX, .help = "A second socket on which writes are DENIED. Empty: none."},
    {"server", "allow_uids", KEY_UIDS, "[]", .offset = AT(server.allow_uids), .reread = true,
     .max = UINT32_MAX - 1,
     .help = "User ids that may connect, checked by SO_PEERCRED. Empty: whoever the mode lets in."},
    {"server", "threads", KEY_INTEGER, "1", .offset = AT(server.threads), .min = 1, .max = 64,
     .help = "Threads that serve clients. Reads from the shared map need none of them."},
    {"server", "busy_poll", KEY_DURATION, "\"0s\"", .offset = AT(server.busy_poll_us),
     .max = SECONDS(1),
     .help = "How long a thread that has just served goes on looking for more before it sleeps. "
             "Spares clients a wake-up and takes the processor all that time: 1ms where there is "
             "one to spare, 0s: not at all."},
    {"server", "max_connections", KEY_INTEGER, "1024", .offset = AT(server.max_connections),
     .min = 1, .max = 1000000, .help = "Clients beyond this are turned away."},
    {"server", "max_value", KEY_SIZE, "\"1MiB\"", .offset = AT(server.max_value_bytes),
     .min = KIB(1), .max = MIB(64), .help = "Largest value, encoded as MessagePack."},
    {"server", "idle_timeout", KEY_DURATION, "\"0s\"", .offset = AT(server.idle_timeout_us),
     .max = DAYS(365), .help = "A client silent for so long is disconnected. 0s: never."},
    {"server", "drain_timeout", KEY_DURATION, "\"5s\"", .offset = AT(server.drain_timeout_us),
     .max = SECONDS(3600),
     .help = "How long SIGTERM waits for the outbox to drain; the rest is flushed at the next "
             "start."},
    {"cache", "dir", KEY_PATH, "\"/var/lib/pgnear/cache\"", .offset = AT(cache.dir),
     .help = "Where the cache lives. Disposable: deleting it costs misses only."},
    {"cache", "size", KEY_SIZE, "\"1GiB\"", .offset = AT(cache.size_bytes), .min = MIB(8),
     .max = TIB(64),
     .help = "Disk and address space of the cache, allocated at the start, and half as much for "
             "the hot tier, a sixteenth for pending writes. Must exceed writes.outbox_size."},
    {"cache", "max_stale", KEY_DURATION, "\"60s\"", .offset = AT(cache.max_stale_us),
     .max = DAYS(365), .reread = true,
     .help = "How long after the last heartbeat of a dead feed what is held is still served."},
    {"cache", "negative", KEY_BOOLEAN, "true", .offset = AT(cache.negative),
     .help = "Remember that a key is absent."},
    {"cache", "preload", KEY_BOOLEAN, "false", .offset = AT(cache.preload),
     .help = "Fill the cache from the table at the start, as far as there is room without "
             "evicting."},
    {"cache", "audit_rate", KEY_INTEGER, "10", .offset = AT(cache.audit_rate), .max = 10000,
     .reread = true,
     .help = "Keys a second compared with PostgreSQL in the background; what was changed without "
             "being announced is found, logged and dropped. 0: off."},
    {"writes", "dir", KEY_PATH, "\"/var/lib/pgnear/outbox\"", .offset = AT(writes.dir),
     .help = "Where acknowledged writes wait for PostgreSQL. Not disposable; a tmpfs is refused."},
    {"writes", "ack", KEY_CHOICE, "\"journal\"", .offset = AT(writes.ack),
     .choices = "memory|journal|postgres",
     .help = "What an acknowledgement means where a write does not say: memory (applied on this "
             "node), journal (synced to disk), postgres (committed there)."},
    {"writes", "outbox_size", KEY_SIZE, "\"256MiB\"", .offset = AT(writes.outbox_bytes),
     .min = MIB(1), .max = TIB(1), .help = "Bound of the outbox; beyond it writes are OVERLOADED."},
    {"writes", "linger", KEY_DURATION, "\"1ms\"", .offset = AT(writes.linger_us),
     .max = SECONDS(10), .help = "How long a write waits for company before its batch is sent."},
    {"writes", "batch_rows", KEY_INTEGER, "2000", .offset = AT(writes.batch_rows), .min = 1,
     .max = 100000,
     .help = "Rows in one transaction to PostgreSQL, at most; an mset is never "
             "split."},
    {"writes", "retain", KEY_DURATION, "\"60s\"", .offset = AT(writes.retain_us), .max = DAYS(30),
     .help = "How long applied writes are kept, to be applied again after a failover that lost "
             "them."},
    {"writes", "timeout", KEY_DURATION, "\"5s\"", .offset = AT(writes.timeout_us), .min = 1000,
     .max = SECONDS(3600), .help = "timeout_ms of requests that do not say."},
    {"expiry", "jitter", KEY_PERCENT, "\"0%\"", .offset = AT(expiry.jitter_percent), .max = 100,
     .help = "Each time to live of a set or mset is shortened by a random part of this much, so "
             "that keys set together do not expire together."},
    {"expiry", "reap_every", KEY_DURATION, "\"1s\"", .offset = AT(expiry.reap_every_us),
     .max = DAYS(1),
     .help = "How often expired rows are removed from PostgreSQL, by one node at a time. 0s: "
             "never by this one."},
    {"backup", "every", KEY_DURATION_OR_NOT, "\"\"", .offset = AT(backup.every_us),
     .min = SECONDS(1), .max = DAYS(3650),
     .help = "Interval of scheduled backups, of which one node takes each. Empty: none."},
    {"backup", "keep", KEY_DURATION, "\"30d\"", .offset = AT(backup.keep_us), .min = SECONDS(1),
     .max = DAYS(36500),
     .help = "Age at which a scheduled backup removes older ones, whoever made them."},
    {"postgres", "url", KEY_TEXT, NULL, .offset = AT_PART(url), .secret = true,
     .help = "Connection URI or keyword string of libpq (PostgreSQL manual, 34.1.1). Instead of "
             "host; port, database, user, password and ssl complete it."},
    {"postgres", "host", KEY_TEXT, NULL, .offset = AT_PART(host),
     .help = "Host name, address or socket directory."},
    {"postgres", "port", KEY_INTEGER, "5432", .offset = AT_PART(port), .min = 1, .max = 65535,
     .help = "Port."},
    {"postgres", "database", KEY_TEXT, NULL, .offset = AT_PART(database),
     .help = "Database name. Unset: libpq's default."},
    {"postgres", "user", KEY_TEXT, NULL, .offset = AT_PART(user),
     .help = "Role. Unset: libpq's default."},
    {"postgres", "password", KEY_TEXT, NULL, .offset = AT_PART(password), .secret = true,
     .help = "Password. A passfile or the environment serves as well."},
    {"postgres", "ssl", KEY_BOOLEAN, NULL, .offset = AT_PART(ssl),
     .help =
         "true: sslmode=require, and an error where url asks for less. Unset: libpq's default."},
    {"postgres", "table", KEY_TEXT, "\"kv_store\"", .offset = AT(postgres.table),
     .help = "The table that holds the pairs, as an SQL name: schema and quotes allowed."},
    {"postgres", "versioning", KEY_BOOLEAN, "false", .offset = AT(postgres.versioning),
     .help = "Keep the history of every key. To be set alike on all nodes of a table."},
    {"postgres", "partitions", KEY_INTEGER, "0", .offset = AT(postgres.partitions), .max = 1024,
     .help = "Hash partitions of a table that pgneard creates. 0: a plain table."},
    {"postgres", "schema", KEY_CHOICE, "\"create\"", .offset = AT(postgres.create_schema),
     .choices = "require|create",
     .help = "create: make and upgrade what is missing; require: never run DDL."},
    {"postgres", "connections", KEY_INTEGER, "2", .offset = AT(postgres.connections), .min = 1,
     .max = 64, .help = "Connections for reads, beside those for writes, LISTEN and control."},
    {"postgres", "listen_url", KEY_TEXT, "\"\"", .offset = AT_PART(listen_url), .secret = true,
     .help = "Where LISTEN connects: a direct server where url is a pooler in transaction mode."},
    {"postgres", "history_keep", KEY_DURATION_OR_NOT, "\"\"",
     .offset = AT(postgres.history_keep_us), .min = SECONDS(1), .max = DAYS(36500),
     .help = "Age at which history is removed. Empty: kept for ever."},
    {"postgres", "updated_at_index", KEY_CHOICE, "\"btree\"",
     .offset = AT(postgres.updated_at_index), .choices = "btree|brin|none",
     .help = "Index on updated_at of a table that pgneard creates. It is the dearest part of an "
             "update."},
    {"postgres", "connect_timeout", KEY_DURATION, "\"3s\"",
     .offset = AT(postgres.connect_timeout_us), .min = 1000, .max = SECONDS(600),
     .help = "For one attempt to connect."},
    {"postgres", "statement_timeout", KEY_DURATION, "\"30s\"",
     .offset = AT(postgres.statement_timeout_us), .max = SECONDS(86400),
     .help = "For one statement on PostgreSQL. 0s: none."},
    {"postgres.document", "table", KEY_TEXT, NULL, .offset = AT(postgres.document.table),
     .help = "Table of the row that holds all pairs as one JSON object, as an SQL name. Instead of "
             "postgres.table."},
    {"postgres.document", "id_column", KEY_TEXT, NULL, .offset = AT(postgres.document.id_column),
     .help = "Its key column, with a unique index of its own."},
    {"postgres.document", "id", KEY_TEXT, NULL, .offset = AT(postgres.document.id),
     .help = "The key of the row, as text whatever the column's type."},
    {"postgres.document", "column", KEY_TEXT, NULL, .offset = AT(postgres.document.column),
     .help = "The column with the object: text, varchar, json or jsonb."},
    {"log", "level", KEY_CHOICE, "\"info\"", .offset = AT(log_level),
     .choices = "debug|info|warning|error", .reread = true, .help = "Least level that is written."},
    {"log", "format", KEY_CHOICE, "\"logfmt\"", .offset = AT(log_format), .choices = "logfmt|json",
     .reread = true, .help = "Form of the lines on standard error."},
};

const size_t KEY_ROWS_COUNT = sizeof KEY_ROWS / sizeof KEY_ROWS[0];

static const struct {
    const char *section;
    const char *help;
} SECTIONS[] = {
    {"server", "Clients."},
    {"cache", "The local cache."},
    {"writes", "The outbox and the way of writes to PostgreSQL."},
    {"expiry", "Keys with a time to live."},
    {"backup", "Scheduled backups."},
    {"postgres", "The database. DATABASE_URL in the environment serves where neither url nor host "
                 "is set."},
    {"postgres.document", "All pairs in one JSON object of one row of an existing table."},
    {"log", "What is said on standard error: never a password, never a value."},
};

const char *section_help(const char *section)
{
    for (size_t i = 0; i < sizeof SECTIONS / sizeof SECTIONS[0]; i++) {
        if (strcmp(SECTIONS[i].section, section) == 0) {
            return SECTIONS[i].help;
        }
    }
    return "";
}
