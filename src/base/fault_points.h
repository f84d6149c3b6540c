// The fault points by name. Each is one place in the daemon where a test may break it; what may be
// done there, see base/fault.h. system/fault_walk passes through all of them.
#pragma once

enum fault_kind {
    FAULT_MOMENT, // nothing can fail there, but the process may end or stand still
    FAULT_ERROR,  // something fails that the daemon lives with
    FAULT_STOPS,  // something fails without which it cannot go on: it ends with status 1
    FAULT_ABORTS, // the same, at once: a CHECK
};

// X(id, name, kind, where it is, or what fails there)
#define FAULT_POINTS(X)                                                                            \
    X(MEMORY, "memory.alloc", ABORTS, "no memory is left")                                         \
    X(MAILBOX_FULL, "mailbox.full", ERROR, "a mailbox has no room for a request or an event")      \
    X(OUTBOX_OPEN, "outbox.open", STOPS, "LMDB does not open the outbox")                          \
    X(OUTBOX_ROOM, "outbox.room", ERROR, "the disk has no room for the outbox to grow")            \
    X(OUTBOX_BEGIN, "outbox.begin", STOPS, "LMDB begins no transaction of the outbox")             \
    X(OUTBOX_PUT, "outbox.put", STOPS, "LMDB does not take an entry")                              \
    X(OUTBOX_MAP_FULL, "outbox.map_full", ERROR, "MDB_MAP_FULL at an entry")                       \
    X(OUTBOX_ID, "outbox.id", STOPS, "LMDB does not take an opts.id")                              \
    X(OUTBOX_META, "outbox.meta", STOPS, "LMDB does not take the numbers of a commit")             \
    X(MOVE_MEMORY, "outbox.move_memory", STOPS,                                                    \
      "what is acknowledged and on its way does not move to the outbox")                           \
    X(OUTBOX_BEFORE_TRIM, "outbox.before_trim", MOMENT,                                            \
      "applied entries are about to be given up")                                                  \
    X(OUTBOX_TRIM, "outbox.trim", STOPS, "LMDB opens no cursor to give up entries")                \
    X(OUTBOX_BEFORE_SYNC, "outbox.before_sync", MOMENT, "before the outbox's commit")              \
    X(OUTBOX_DISK_FULL, "outbox.disk_full", ERROR, "ENOSPC at the outbox's commit")                \
    X(OUTBOX_SYNC, "outbox.sync", STOPS, "EIO at the outbox's commit")                             \
    X(OUTBOX_AFTER_SYNC, "outbox.after_sync", MOMENT, "after the outbox's commit")                 \
    X(OUTBOX_LOG_FULL, "outbox.log_full", ERROR, "a group does not fit into the outbox's log")     \
    X(OUTBOX_BEFORE_LOG, "outbox.before_log", MOMENT, "before a group is written to the log")      \
    X(OUTBOX_AFTER_LOG, "outbox.after_log", MOMENT, "after a group was synced to the log")         \
    X(OUTBOX_LOG_SYNC, "outbox.log_sync", ERROR,                                                   \
      "EIO at a group of the log, though it is on the disk")                                       \
    X(OUTBOX_RING_ROOM, "outbox.ring_room", ERROR, "the disk has no room for the outbox's ring")   \
    X(OUTBOX_RING_FULL, "outbox.ring_full", ERROR, "a turn does not fit into the ring")            \
    X(OUTBOX_AFTER_RING, "outbox.after_ring", MOMENT, "after writes were added to the ring")       \
    X(OUTBOX_READ, "outbox.read", ERROR, "LMDB begins no transaction to read entries")             \
    X(BETWEEN_COMMITS, "writer.between_commits", MOMENT,                                           \
      "the outbox is committed, the cache is not begun")                                           \
    X(BEFORE_ANSWERS, "writer.before_answers", MOMENT, "both are committed, nobody is answered")   \
    X(CACHE_OPEN, "cache.open", STOPS, "LMDB does not open the cache")                             \
    X(CACHE_RECOVER, "cache.recover", MOMENT,                                                      \
      "at a start, before the outbox is laid over the cache")                                      \
    X(CACHE_LAY, "cache.lay", ERROR,                                                               \
      "LMDB begins no transaction to lay the outbox over the cache")                               \
    X(CACHE_BEGIN, "cache.begin", STOPS, "LMDB begins no transaction of the cache")                \
    X(CACHE_PUT, "cache.put", STOPS, "LMDB does not take a record")                                \
    X(CACHE_MAP_FULL, "cache.map_full", ERROR, "MDB_MAP_FULL at the cache's turn")                 \
    X(CACHE_MEMTABLE_FULL, "cache.memtable_full", ERROR, "a write finds no room in the memtable")  \
    X(CACHE_MEMTABLE_TIGHT, "cache.memtable_tight", ERROR,                                         \
      "what is oldest in the memtable is in the way of what comes")                                \
    X(CACHE_CURSOR, "cache.cursor", STOPS, "LMDB opens no cursor on the cache")                    \
    X(CACHE_COMMIT, "cache.commit", STOPS, "LMDB does not commit the cache")                       \
    X(CACHE_FILL, "cache.fill", MOMENT, "what was fetched is about to be stored")                  \
    X(CACHE_SWEEP, "cache.sweep", MOMENT, "what the sweep found is about to be dropped")           \
    X(CACHE_EVICT, "cache.evict", ERROR, "LMDB does not commit an eviction")                       \
    X(CACHE_VISIT, "cache.visit", ERROR, "LMDB opens no cursor for the sweep")                     \
    X(PG_TURN, "pg.turn", MOMENT, "something is due in the pg worker, and not yet begun")          \
    X(CONN_CONNECT, "conn.connect", ERROR, "libpq: no connection is begun")                        \
    X(CONN_POLL, "conn.poll", ERROR, "libpq: a connection is not made")                            \
    X(CONN_SEND, "conn.send", ERROR, "libpq: a query is not taken")                                \
    X(CONN_FLUSH, "conn.flush", ERROR, "libpq: what is to be sent is not")                         \
    X(CONN_RESULT, "conn.result", ERROR, "libpq: a result is lost with its connection")            \
    X(NODE_LOOK, "handshake.look", MOMENT,                                                         \
      "the outbox is bound, the node's row is not yet read, or made")                              \
    X(NODE_ROW, "handshake.row", MOMENT, "the node's row is read and not yet judged")              \
    X(NODE_CLAIM, "handshake.claim", MOMENT, "before the node's row is claimed")                   \
    X(FLUSH_CLAIM, "flush.claim", MOMENT, "before the flush connection reads the node's row")      \
    X(FLUSH_BEFORE_COMMIT, "flush.before_commit", MOMENT,                                          \
      "before a batch is sent, its COMMIT with it")                                                \
    X(FLUSH_SENT, "flush.sent", ERROR, "the connection is lost once COMMIT is sent")               \
    X(FLUSH_ANSWERED, "flush.answered", ERROR, "the answer to COMMIT is lost")                     \
    X(FETCH_ANSWERED, "fetch.answered", MOMENT, "rows that were asked for are here")               \
    X(SWEEP_PAGE, "sweep.page", MOMENT, "a page of the sweep is decided and not yet told")         \
    X(LISTEN, "feed.listen", ERROR, "PostgreSQL refuses LISTEN")                                   \
    X(HEARTBEAT, "feed.heartbeat", ERROR, "a heartbeat does not come back")                        \
    X(PAYLOAD, "feed.payload", ERROR, "a notification is unreadable")                              \
    X(ACCEPT, "server.accept", ERROR, "accept: EMFILE")                                            \
    X(ASKS, "server.asks", MOMENT, "a request is about to be handed to another thread")            \
    X(VISIT, "server.visit", ERROR,                                                                \
      "a server loop finds the pg worker busy, and leaves a miss or its answer to it")             \
    X(READ, "server.read", ERROR, "a client's socket: ECONNRESET at a read")                       \
    X(WRITE, "server.write", ERROR, "a client's socket: EPIPE at a write")

enum fault {
#define FAULT_ENUM(id, name, kind, words) FAULT_##id,
    FAULT_POINTS(FAULT_ENUM)
#undef FAULT_ENUM
        FAULT_COUNT
};
