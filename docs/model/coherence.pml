/*
 * The rules of coherence: what a node caches, between misses, fills, notifications, flush results,
 * evictions, gaps, sweeps and failovers. README.md tells what each step stands for in the code,
 * what is assumed, and which bug each BUG_ define is.
 *
 * Two processes a node, as there are threads: its pg worker and its writer. PostgreSQL's
 * transactions are one step each, of whoever runs them. A value is the number of the commit that
 * made it, so a newer one is larger; a version is what PostgreSQL drew for it, which may be drawn
 * again after a failover. Version 0: no row.
 *
 * Bounds, set by -D: the size of the world, and how often each thing may happen.
 */
#ifndef NODES
#define NODES 1
#endif
#ifndef KEYS
#define KEYS 1
#endif
#ifndef FLIGHTS   /* SELECTs on their way at once, of a node */
#define FLIGHTS 1
#endif
#ifndef FETCHES   /* SELECTs, of each node */
#define FETCHES 1
#endif
#ifndef FOREIGN   /* writes of the foreign program */
#define FOREIGN 2
#endif
#ifndef OWN       /* writes of the nodes, in all */
#define OWN 0
#endif
#ifndef INCR      /* of them, those whose result PostgreSQL decides */
#define INCR 0
#endif
#ifndef GAPS      /* lost LISTEN connections, in all */
#define GAPS 0
#endif
#ifndef TRUNCATES
#define TRUNCATES 0
#endif
#ifndef BULKS     /* statements too large to announce key by key */
#define BULKS 0
#endif
#ifndef FAILOVERS
#define FAILOVERS 0
#endif
#ifndef SYNCS     /* questions of a client of node 0 */
#define SYNCS 0
#endif

#define HEARD 3   /* notifications on their way to a node, at most */
#define BOX 3     /* messages from a worker to its writer, at most */
#define ABSENT 0  /* the version of no row */
#define NEVER 255 /* no epoch: the feed was not live, or the results were lost */

mtype = { CHANGE, TRUNCATE, BULK, FILL, FLUSHED, LOST, STARTED, REPLACED, SWEPT, SYNC };
mtype = { NONE, CLEAN, PENDING };                   /* of a record */
mtype = { IDLE, SENT, ANSWERED, LANDED, SETTLING }; /* of a flight, a flush, a sweep */

/* Scratch of a step, no part of the state: a step writes before it reads, and reads none of it
 * behind a choice, since no search restores it. */
hidden byte k, f, m, value, version, epoch, seq, flag, is_delete, believed;

inline any_key()
{
    if
    :: k = 0
#if KEYS > 1
    :: k = 1
#endif
    fi
}

/* ---- PostgreSQL */

byte commits;       /* the number of the newest commit */
byte sequence;      /* of versions */
byte cur[KEYS];     /* the commit that made what the key holds */
byte ver[KEYS];     /* its version */
#if FAILOVERS > 0
byte server;        /* counts promotions */
bool may_lose;      /* the last commit, which the standby may not have: */
byte lost_key, lost_cur, lost_ver;
byte conn_server[NODES];
#define HERE(n) (conn_server[n] == server)
/* The node's control connection leads to the server of today. */
#define MET(n) (nodes[n].server == server)
#define AGREES(n) (conn_server[n] == nodes[n].server)
#else
#define HERE(n) true
#define MET(n) true
#define AGREES(n) true
#endif

/* The LISTEN connection: kind, key, version, whether it was a delete, whose (NODES: foreign). */
chan heard_0 = [HEARD] of { mtype, byte, byte, bool, byte };
chan heard_1 = [HEARD] of { mtype, byte, byte, bool, byte };
bool conn_on[NODES]; /* LISTEN is committed, and the server's side of it alive */

#define ROOM(n, heard) (!conn_on[n] || len(heard) < HEARD)
#if NODES > 1
#define CAN_COMMIT (ROOM(0, heard_0) && ROOM(1, heard_1))
#else
#define CAN_COMMIT ROOM(0, heard_0)
#endif

/* What a commit announces reaches whoever listens on this server, in the order of commits. */
inline announce(kind, k, v, deletes, origin)
{
    if
    :: conn_on[0] && HERE(0) -> heard_0!kind(k, v, deletes, origin)
    :: else
    fi;
#if NODES > 1
    if
    :: conn_on[1] && HERE(1) -> heard_1!kind(k, v, deletes, origin)
    :: else
    fi
#endif
}

inline change(k, deletes, origin)
{
#if FAILOVERS > 0
    may_lose = true; lost_key = k; lost_cur = cur[k]; lost_ver = ver[k];
#endif
    commits++;
    sequence++;
    cur[k] = commits;
    ver[k] = (deletes -> ABSENT : sequence);
    announce(CHANGE, k, sequence, deletes, origin)
}

/* ---- A node */

typedef record {
    mtype state = NONE;
    byte cur, ver, epoch;
    byte seq;       /* of the pending write */
    bool tainted;
};

typedef flight {
    mtype state = IDLE;
    byte key, cur, ver, epoch;
    bool live;
    bool marked;
};

typedef node {
    /* The worker's. The feed: */
    byte epoch;
    bool live;
    bool listening;     /* LISTEN is committed; a heartbeat may come back */
    bool swept;
#if FAILOVERS > 0
    byte server;        /* that the control connection leads to */
    bool replaced;      /* another one than before the gap */
#endif
    /* fetches: */
    flight flights[FLIGHTS];
    byte fetches;       /* left */
    /* the flush: */
#if OWN > 0
    mtype flush = IDLE;
    byte flush_key, flush_seq, flush_cur, flush_ver, flush_epoch;
    bool flush_incr;
#endif
    /* the sweep, whose page is one key: */
#if GAPS + BULKS + FAILOVERS > 0
    mtype sweep = IDLE;
    byte sweep_key, sweep_ver;
    bool sweeps, drops;
#endif
    /* To the writer: kind, key or hand, value, version, epoch, seq, flag. */
    chan box = [BOX] of { mtype, byte, byte, byte, byte, byte, bool };
    /* The writer's. The cache and the control page: */
    record records[KEYS];
    byte page_epoch;
    bool page_live;
    byte hand;          /* keys before it are swept */
    byte next_hand;     /* between the commit of the cache and the page; 0: not there */
    /* the outbox, oldest first: */
#if OWN > 0
    byte outbox[2];
    bool outbox_incr[2];
    byte outbox_count;
    byte next_seq;
#endif
#if INCR > 0
    bool awaited[KEYS], awaited_taint[KEYS];
#endif
    /* What was promised: */
#if OWN > 0
    byte own_seq[KEYS]; /* the last acknowledged write to the key */
    byte own_cur[KEYS]; /* its commit, once there is one */
#endif
};
node nodes[NODES];

byte foreign_left = FOREIGN, own_left = OWN, incrs_left = INCR;
byte gaps_left = GAPS, truncates_left = TRUNCATES, bulks_left = BULKS, failovers_left = FAILOVERS;
#if SYNCS > 0
byte syncs_left = SYNCS;
mtype sync = IDLE;      /* one at a time; SENT: its heartbeat is out */
byte sync_cur[KEYS];    /* what PostgreSQL held when it was asked */
#endif

#define N nodes[n]
#define R nodes[n].records[k]
#define F nodes[n].flights[f]

/* ---- The promises */

/* trust.c: TRUST_GOOD of a clean record while the feed is live */
#define GOOD(n, k) (nodes[n].records[k].state == CLEAN && nodes[n].page_live && \
                    (nodes[n].records[k].epoch >= nodes[n].page_epoch || k < nodes[n].hand))
#define HEARD_ALL(n, heard) (conn_on[n] && HERE(n) && nodes[n].live && len(heard) == 0 && \
                             len(nodes[n].box) == 0)
/* No stale read for ever: once what was announced has come and is applied, what is good is true. */
#define STALE(n, k, heard) (GOOD(n, k) && HEARD_ALL(n, heard) && \
                            nodes[n].records[k].cur != cur[k])
/* Read your writes: what is good is this node's last acknowledged write, or newer. */
#if OWN > 0
#define FORGETS(n, k) ((GOOD(n, k) && nodes[n].own_seq[k] != 0 && \
                        (nodes[n].own_cur[k] == 0 || \
                         nodes[n].records[k].cur < nodes[n].own_cur[k])) || \
                       (nodes[n].records[k].state == PENDING && \
                        nodes[n].records[k].seq != nodes[n].own_seq[k]))
#else
#define FORGETS(n, k) false
#endif

#define BREAKS(broken) atomic { broken -> assert(!(broken)) }

active proctype promises()
{
end:do
    :: BREAKS(STALE(0, 0, heard_0))
    :: BREAKS(FORGETS(0, 0))
#if KEYS > 1
    :: BREAKS(STALE(0, 1, heard_0))
    :: BREAKS(FORGETS(0, 1))
#endif
#if NODES > 1
    :: BREAKS(STALE(1, 0, heard_1))
    :: BREAKS(FORGETS(1, 0))
#if KEYS > 1
    :: BREAKS(STALE(1, 1, heard_1))
    :: BREAKS(FORGETS(1, 1))
#endif
#endif
    od
}

/* ---- The foreign program, and what befalls the server */

inline forget_one(heard)
{
    if
    :: len(heard) > 0 -> heard?_,_,_,_,_
    :: else
    fi
}

inline forget_heard(heard) /* HEARD of them at most */
{
    forget_one(heard);
    forget_one(heard);
    forget_one(heard)
}

proctype world()
{
end:do
    :: atomic { foreign_left > 0 && CAN_COMMIT ->
        any_key();
        d_step { foreign_left--; change(k, false, NODES) }
       }
    :: d_step { foreign_left > 0 && CAN_COMMIT && ver[0] != ABSENT ->
        foreign_left--;
        k = 0;
        change(k, true, NODES)
       }
#if KEYS > 1
    :: d_step { foreign_left > 0 && CAN_COMMIT && ver[1] != ABSENT ->
        foreign_left--;
        k = 1;
        change(k, true, NODES)
       }
#endif
#if TRUNCATES > 0
    :: d_step { truncates_left > 0 && CAN_COMMIT ->
        truncates_left--;
        commits++;
        for (k : 0 .. KEYS - 1) { cur[k] = commits; ver[k] = ABSENT }
        announce(TRUNCATE, 0, 0, false, NODES)
       }
#endif
#if BULKS > 0
    :: d_step { bulks_left > 0 && CAN_COMMIT ->
        bulks_left--;
        commits++;
        for (k : 0 .. KEYS - 1) { sequence++; cur[k] = commits; ver[k] = sequence }
        announce(BULK, 0, 0, false, NODES)
       }
#endif
#if GAPS > 0
    /* What was on its way is lost with the connection. The node does not know yet. */
    :: d_step { gaps_left > 0 && conn_on[0] ->
        gaps_left--;
        conn_on[0] = false;
        forget_heard(heard_0)
       }
#endif
#if FAILOVERS > 0
    /* A standby takes over, perhaps without the last commit. What was asked of the old primary and
     * not answered is lost; a LISTEN may live on at it, and hears nothing any more. */
    :: atomic { failovers_left > 0 ->
        if
        :: may_lose -> d_step { cur[lost_key] = lost_cur; ver[lost_key] = lost_ver; sequence-- }
        :: true
        fi;
        d_step {
            for (m : 0 .. NODES - 1) {
                for (f : 0 .. FLIGHTS - 1) {
                    if
                    :: nodes[m].flights[f].state == SENT -> nodes[m].flights[f].state = IDLE
                    :: else
                    fi
                }
                if
                :: nodes[m].sweep == SENT -> nodes[m].sweep = IDLE; nodes[m].sweep_ver = 0
                :: else
                fi
            }
            failovers_left--;
            server++;
            may_lose = false; lost_key = 0; lost_cur = 0; lost_ver = 0
        }
       }
#endif
    od
}

/* ---- The worker */

inline mark(k)
{
    for (f : 0 .. FLIGHTS - 1) {
        if
        :: (F.state == SENT || F.state == ANSWERED) && F.key == k -> F.marked = true
        :: else
        fi
    }
}

inline mark_all()
{
    for (f : 0 .. FLIGHTS - 1) {
        if
        :: F.state == SENT || F.state == ANSWERED -> F.marked = true
        :: else
        fi
    }
}

inline forget_flight()
{
    F.state = IDLE; F.key = 0; F.cur = 0; F.ver = 0; F.epoch = 0; F.live = false; F.marked = false
}

inline stop_sweep()
{
#if GAPS + BULKS + FAILOVERS > 0
    N.sweep = IDLE; N.sweep_key = 0; N.sweep_ver = 0; N.drops = false;
    N.sweeps = false;
#endif
    N.swept = false
}

/* feed.c: feed_begin_epoch */
inline begin_epoch()
{
#ifndef BUG_RULE_7_ANY_EPOCH
    mark_all();
#endif
    stop_sweep();
    N.epoch++;
#if GAPS + BULKS + FAILOVERS > 0
    N.sweeps = true;
#endif
#if FAILOVERS > 0 && !defined(BUG_RULE_8_SWEPT_NOT_DROPPED)
    if
    :: N.replaced -> N.box!REPLACED(0, 0, 0, N.epoch, 0, false)
    :: else -> N.box!STARTED(0, 0, 0, N.epoch, 0, false)
    fi;
    N.replaced = false
#else
    N.box!STARTED(0, 0, 0, N.epoch, 0, false)
#endif
}

/* fetch.c: may_fill */
#ifdef BUG_RULE_7_ANY_EPOCH
#define MAY_FILL !F.marked
#else
#define MAY_FILL (!F.marked && F.live && N.live && F.epoch == N.epoch)
#endif

/* fetch.c: land, post_fills */
inline land()
{
    if
#ifdef BUG_RULE_5_FILL_OVERTAKEN
    :: MAY_FILL -> F.state = LANDED
#else
    :: MAY_FILL -> N.box!FILL(F.key, F.cur, F.ver, F.epoch, 0, false); forget_flight()
#endif
    :: else -> forget_flight()
    fi
}

/* feed.c: on_payload */
inline hear(heard)
{
    if
    :: heard?CHANGE(k, version, flag, value) ->
#ifndef BUG_RULE_4_NO_MARK
        mark(k);
#endif
        N.box!CHANGE(k, flag, version, 0, 0, (value == n))
#if TRUNCATES > 0
    :: heard?TRUNCATE(k, version, flag, value) ->
        mark_all();
        N.box!TRUNCATE(0, 0, 0, 0, 0, false)
#endif
#if BULKS > 0
    :: heard?BULK(k, version, flag, value) ->
#ifndef BUG_RULE_10_BULK_IGNORED
        if
        :: N.live -> begin_epoch()
        :: else
        fi
#else
        skip
#endif
#endif
    fi
}

#define SWEPT_TO(next, key, drop) \
    N.sweep = IDLE; N.sweep_key = next; N.sweep_ver = 0; N.drops = false; \
    N.sweeps = (next < KEYS); N.swept = !N.sweeps; \
    N.box!SWEPT(next, key, 0, N.epoch, 0, drop)

proctype worker(byte n)
{
end:do
    /* fetch_send, at any time: a question may be fresh. flights_join: it marks the one before. */
    :: atomic { N.fetches > 0 && N.flights[FLIGHTS - 1].state == IDLE && MET(n) ->
        any_key();
        d_step {
            N.fetches--;
            mark(k);
            f = (N.flights[0].state == IDLE -> 0 : FLIGHTS - 1);
            F.state = SENT; F.key = k; F.epoch = N.epoch; F.live = N.live
        }
       }
    /* PostgreSQL takes its snapshot, of one flight or the other. */
    :: d_step { N.flights[0].state == SENT ->
        N.flights[0].state = ANSWERED;
        N.flights[0].cur = cur[N.flights[0].key]; N.flights[0].ver = ver[N.flights[0].key]
       }
#if FLIGHTS > 1
    :: d_step { N.flights[1].state == SENT ->
        N.flights[1].state = ANSWERED;
        N.flights[1].cur = cur[N.flights[1].key]; N.flights[1].ver = ver[N.flights[1].key]
       }
#endif
    :: d_step { N.flights[0].state == ANSWERED && len(N.box) < BOX -> f = 0; land() }
#if FLIGHTS > 1
    :: d_step { N.flights[1].state == ANSWERED && len(N.box) < BOX -> f = 1; land() }
#endif
#ifdef BUG_RULE_5_FILL_OVERTAKEN
    :: d_step { len(N.box) < BOX && N.flights[0].state == LANDED ->
        f = 0;
        N.box!FILL(F.key, F.cur, F.ver, F.epoch, 0, false);
        forget_flight()
       }
#endif
    :: d_step { n == 0 && len(heard_0) > 0 && len(N.box) + 1 < BOX -> hear(heard_0) }
#if NODES > 1
    :: d_step { n == 1 && len(heard_1) > 0 && len(N.box) + 1 < BOX -> hear(heard_1) }
#endif
#if OWN > 0
    /* flusher.c: send_batch, of one write */
    :: d_step { N.flush == IDLE && N.outbox_count > 0 ->
        N.flush = SENT;
        N.flush_key = N.outbox[0];
        N.flush_incr = N.outbox_incr[0];
        N.flush_seq = N.next_seq - N.outbox_count;
        N.flush_epoch = (N.live -> N.epoch : NEVER)
       }
    /* PostgreSQL commits the batch. */
    :: atomic { N.flush == SENT && CAN_COMMIT ->
        if
        :: is_delete = false
        :: ver[N.flush_key] != ABSENT && !N.flush_incr -> is_delete = true
        fi;
        d_step {
            k = N.flush_key;
            change(k, is_delete, n);
            N.flush = ANSWERED; N.flush_cur = cur[k]; N.flush_ver = ver[k];
            if
            :: N.own_seq[k] == N.flush_seq -> N.own_cur[k] = N.flush_cur
            :: else
            fi
        }
       }
    /* on_committed, post_flushed; or the answer is lost, and flusher_settle has no results. */
    :: atomic { N.flush == ANSWERED && len(N.box) < BOX ->
        if
        :: epoch = N.flush_epoch
        :: GAPS > 0 && N.flush_epoch != NEVER -> epoch = NEVER
        fi;
        d_step {
            mark(N.flush_key);
            N.flush = SETTLING;
            N.box!FLUSHED(N.flush_key, N.flush_cur, N.flush_ver, epoch, N.flush_seq, N.flush_incr)
        }
       }
#endif
    /* heartbeat_is_back, sent on the control connection and heard on this one */
    :: d_step { N.listening && !N.live && conn_on[n] && AGREES(n) && len(N.box) + 1 < BOX ->
        N.live = true;
        begin_epoch()
       }
#if GAPS + FAILOVERS > 0
    /* lose: it closed, or no heartbeat came back in time. handshake.c asks who the server is. */
    :: d_step { N.listening && len(N.box) < BOX && (!conn_on[n] || !HERE(n) || !MET(n)) ->
        conn_on[n] = false;
        if
        :: n == 0 -> forget_heard(heard_0)
#if NODES > 1
        :: n == 1 -> forget_heard(heard_1)
#endif
        fi;
        N.listening = false;
#ifndef BUG_RULE_6_GAP_UNNOTICED
#ifndef BUG_RULE_7_ANY_EPOCH
        mark_all();
#endif
        stop_sweep();
        if
        :: N.live -> N.live = false; N.box!LOST(0, 0, 0, 0, 0, false)
        :: else
        fi;
#endif
#if FAILOVERS > 0
        if
        :: N.server != server -> N.server = server; N.replaced = true
        :: else
        fi
#endif
       }
    /* LISTEN is committed; after a failover perhaps on the server that was left behind. */
    :: atomic { !N.listening && MET(n) ->
#if FAILOVERS > 0
        if
        :: conn_server[n] = server
        :: server > 0 -> conn_server[n] = server - 1
        fi;
#endif
        conn_on[n] = true;
        N.listening = true
       }
#endif
#if GAPS + BULKS + FAILOVERS > 0
    /* sweeper.c: have_page, once the writer has begun the epoch */
    :: d_step { N.sweeps && N.sweep == IDLE && N.page_epoch >= N.epoch && len(N.box) < BOX ->
        k = N.sweep_key;
        if
        :: R.state == CLEAN && R.epoch < N.epoch -> N.sweep = SENT; N.sweep_ver = R.ver
        :: else -> SWEPT_TO(k + 1, k, false)
        fi
       }
    /* PostgreSQL tells the version. */
    :: d_step { N.sweep == SENT ->
        N.sweep = ANSWERED;
#ifdef BUG_RULE_9_SWEEP_KEEPS_ALL
        N.drops = ((ver[N.sweep_key] == ABSENT) != (N.sweep_ver == ABSENT))
#else
        N.drops = (ver[N.sweep_key] != N.sweep_ver)
#endif
        ;
        /* An absence that is confirmed is the one of now. */
        k = N.sweep_key;
        if
        :: ver[k] == ABSENT && R.state == CLEAN && R.ver == ABSENT -> R.cur = cur[k]
        :: else
        fi
       }
    :: d_step { N.sweep == ANSWERED && len(N.box) < BOX ->
        k = N.sweep_key;
        flag = N.drops;
        SWEPT_TO(k + 1, k, flag)
       }
#endif
#if SYNCS > 0
    :: d_step { n == 0 && syncs_left > 0 && sync == IDLE ->
        for (k : 0 .. KEYS - 1) { sync_cur[k] = cur[k] }
        syncs_left--;
        sync = SENT
       }
    /* pass_barrier: a heartbeat sent after the question is back behind all that was heard. */
    :: d_step { n == 0 && sync == SENT && N.live && conn_on[0] && len(heard_0) == 0 &&
                N.swept && len(N.box) < BOX ->
        sync = SETTLING;
        N.box!SYNC(0, 0, 0, 0, 0, false)
       }
#endif
    od
}

/* ---- The writer */

inline drop()
{
    R.state = NONE; R.cur = 0; R.ver = 0; R.epoch = 0; R.seq = 0; R.tainted = false
}

inline drop_if_clean()
{
    if
    :: R.state == CLEAN -> drop()
    :: else
    fi
}

inline store_clean()
{
    R.state = CLEAN; R.cur = value; R.ver = version; R.epoch = N.page_epoch; R.seq = 0;
    R.tainted = false
}

/* coherence_fill */
inline apply_fill()
{
    if
#ifndef BUG_PENDING_NOT_PROTECTED
    :: R.state == PENDING
#endif
#ifndef BUG_RULE_7_ANY_EPOCH
    :: !(N.page_live && epoch == N.page_epoch)
#endif
    :: else -> store_clean()
    fi
}

/* coherence_foreign_notify and coherence_own_notify; awaited_taint */
inline apply_change()
{
    if
    :: R.state == PENDING && !flag ->
#ifndef BUG_RULE_3_NO_TAINT
        R.tainted = true
#else
            skip
#endif
    :: R.state == CLEAN && !flag && R.ver != version ->
#ifndef BUG_RULE_2_NOT_DROPPED
        drop()
#else
            skip
#endif
    :: R.state == CLEAN && flag &&
       ((R.ver == ABSENT) != (value == 1) || (value == 0 && R.ver != version)) ->
#ifndef BUG_OWN_NOTIFY_IGNORED
        drop()
#else
            skip
#endif
    :: else
    fi;
#if INCR > 0
    if
    :: !flag && N.awaited[k] -> N.awaited_taint[k] = true
    :: else
    fi
#endif
}

/* coherence_drop_all; awaited_taint_all */
inline apply_drop_all()
{
    for (k : 0 .. KEYS - 1) {
        if
        :: R.state == PENDING -> R.tainted = true
        :: else -> drop()
        fi;
#if INCR > 0
        if
        :: N.awaited[k] -> N.awaited_taint[k] = true
        :: else
        fi
#endif
    }
}

#ifdef BUG_LATER_WRITE_SETTLED
#define LATER_IS_PENDING false
#define THIS_IS_PENDING (R.state == PENDING && R.seq >= seq)
#else
#define LATER_IS_PENDING (R.state == PENDING && R.seq > seq)
#define THIS_IS_PENDING (R.state == PENDING && R.seq == seq)
#endif
#ifdef BUG_RULE_7_ANY_EPOCH
#define IS_KNOWN true
#else
#define IS_KNOWN (N.page_live && epoch == N.page_epoch)
#endif

/* coherence_flushed, after awaited_settle */
inline apply_flushed()
{
    believed = false;
#if INCR > 0
    if
    :: flag ->
        believed = !N.awaited_taint[k];
        /* The last of them to this key ends the waiting. */
        if
        :: N.outbox_count == 2 && N.outbox_incr[1] && N.outbox[1] == k
        :: else -> N.awaited[k] = false; N.awaited_taint[k] = false
        fi
    :: else
    fi;
#endif
    if
    :: LATER_IS_PENDING
    :: else ->
        if
        :: !IS_KNOWN || (THIS_IS_PENDING && R.tainted) -> drop()
        :: IS_KNOWN && THIS_IS_PENDING && !R.tainted -> store_clean()
        :: else ->
            if
            :: R.state == CLEAN && R.ver == version
            :: else ->
                if
                :: believed && !R.tainted -> store_clean()
                :: else -> drop()
                fi
            fi
        fi
    fi;
    /* The message goes back to the flusher, which takes its next step. */
    N.outbox[0] = N.outbox[1]; N.outbox[1] = 0;
    N.outbox_incr[0] = N.outbox_incr[1]; N.outbox_incr[1] = false;
    N.outbox_count--;
    N.flush = IDLE; N.flush_key = 0; N.flush_seq = 0; N.flush_cur = 0; N.flush_ver = 0;
    N.flush_epoch = 0; N.flush_incr = false
}

proctype writer(byte n)
{
end:do
    /* A turn: one message, in the cache and on the page; but what a sweep lets be trusted is on the
     * page only after the commit of the cache (turn.c: publish). */
    :: d_step { N.next_hand == 0 && len(N.box) > 0 ->
        if
        :: N.box?FILL(k, value, version, epoch, seq, flag) -> apply_fill()
        :: N.box?CHANGE(k, value, version, epoch, seq, flag) -> apply_change()
#if TRUNCATES > 0
        :: N.box?TRUNCATE(k, value, version, epoch, seq, flag) ->
#ifndef BUG_RULE_10_TRUNCATE_IGNORED
            apply_drop_all()
#else
            skip
#endif
#endif
        :: N.box?LOST(k, value, version, epoch, seq, flag) -> N.page_live = false
        :: N.box?STARTED(k, value, version, epoch, seq, flag) ->
            N.page_epoch++; N.page_live = true; N.hand = 0
#if FAILOVERS > 0
        :: N.box?REPLACED(k, value, version, epoch, seq, flag) ->
            N.page_epoch++; N.page_live = true; N.hand = KEYS;
            apply_drop_all()
#endif
#if GAPS + BULKS + FAILOVERS > 0
        :: N.box?SWEPT(k, value, version, epoch, seq, flag) ->
            if
            :: epoch == N.page_epoch ->
                N.next_hand = k;
                k = value;
#ifdef BUG_RULE_11_TRUST_TOO_EARLY
                N.hand = N.next_hand
#else
                if
                :: flag && R.state == CLEAN && R.epoch < epoch -> drop()
                :: else
                fi
#endif
            :: else
            fi
#endif
#if OWN > 0
        :: N.box?FLUSHED(k, value, version, epoch, seq, flag) -> apply_flushed()
#endif
#if SYNCS > 0
        :: N.box?SYNC(k, value, version, epoch, seq, flag) ->
            for (k : 0 .. KEYS - 1) {
                assert(!GOOD(n, k) || R.cur >= sync_cur[k]);
                sync_cur[k] = 0
            }
            sync = IDLE
#endif
        fi
       }
    :: d_step { N.next_hand != 0 ->
        if
        :: N.next_hand > N.hand -> N.hand = N.next_hand
        :: else
        fi;
        N.next_hand = 0
       }
#if OWN > 0
    /* A client writes: journaled, laid over the cache (coherence_write), acknowledged. */
    :: atomic { own_left > incrs_left && N.outbox_count < 2 ->
        any_key();
        d_step {
            own_left--;
            N.outbox[N.outbox_count] = k;
            N.outbox_count++;
            R.state = PENDING; R.cur = 0; R.ver = 0; R.epoch = 0; R.tainted = false;
            R.seq = N.next_seq;
            N.own_seq[k] = N.next_seq;
            N.own_cur[k] = 0;
            N.next_seq++
        }
       }
#endif
#if INCR > 0
    /* A client asks for an incr (await_result), acknowledged when its batch is. */
    :: atomic { incrs_left > 0 && N.outbox_count < 2 ->
        any_key();
        d_step {
            own_left--;
            incrs_left--;
            N.outbox[N.outbox_count] = k;
            N.outbox_incr[N.outbox_count] = true;
            N.outbox_count++;
            N.next_seq++;
            N.awaited[k] = true
        }
       }
#endif
    /* eviction_run, or a client's invalidate */
    :: d_step { N.records[0].state == CLEAN -> k = 0; drop() }
#if KEYS > 1
    :: d_step { N.records[1].state == CLEAN -> k = 1; drop() }
#endif
    od
}

init {
    atomic {
        for (m : 0 .. NODES - 1) {
            nodes[m].fetches = FETCHES;
#if OWN > 0
            nodes[m].next_seq = 1;
#endif
            conn_on[m] = true;
            nodes[m].listening = true;
        }
        run worker(0);
        run writer(0);
#if NODES > 1
        run worker(1);
        run writer(1);
#endif
        run world()
    }
}
