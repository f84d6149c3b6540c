/*
 * The outbox and the flush: each acknowledged write is applied exactly once and in order, whatever
 * crashes, is cut or is promoted. README.md tells what each step stands for in the code, what is
 * assumed, and which bug each BUG_ define is.
 *
 * One node, which is one process here: what its threads do is ordered by their mailboxes. A write
 * is a number, and so is its order; an entry is a write under a seq. PostgreSQL applies a batch in
 * one step, at any time after it was sent, also when nobody waits for it any more: that is the
 * orphan, a batch that lies unread at an old backend.
 *
 * Bounds, set by -D. (`i = 0` ends some steps because a d_step may not end in a loop.)
 */
#ifndef WRITES
#define WRITES 3
#endif
#ifndef CRASHES   /* of the node or its machine: what is not synced is gone */
#define CRASHES 2
#endif
#ifndef CUTS      /* connections lost */
#define CUTS 2
#endif
#ifndef FAILOVERS
#define FAILOVERS 1
#endif
#ifndef LOG       /* groups that the log in front of the outbox has room for; 0: there is none */
#define LOG 0
#endif

#ifndef RING      /* 1: writes may be acknowledged in memory, from the ring; with a log only */
#define RING 0
#endif

#define CHUNK 2                                /* seqs reserved at a time */
#define SEQS (1 + WRITES + CHUNK * (CRASHES + 2)) /* beyond every seq that is used */
#define NOBODY 255                             /* no write under a seq */

mtype = { NONE, UNSYNCED, LOGGED, WAITING, APPLIED }; /* of an entry; LOGGED: not in the outbox */
mtype = { IDLE, SENT, DONE, REFUSED };         /* of the batch on the connection */

/* ---- the node, durable */
mtype entry[SEQS];
byte write_of[SEQS];
byte ceiling;          /* seqs up to here may have been used */
#if LOG > 0
byte generation;             /* of the log, as the outbox names it */
byte group_generation[LOG];  /* of what is written there; 0: nothing whole */
short group_entries[LOG];    /* the set of their seqs */
byte last_seq;               /* of the outbox: the newest entry it has had */
#endif

#if RING > 0
/* ---- the node, lost with the machine and not with the process */
short ring;            /* the set of the seqs that are in it */
#endif

/* ---- the node, lost in a crash */
byte next_seq;
#if LOG > 0
byte log_end;          /* where the next group goes */
bool is_writing;       /* it is on its way to the disk */
byte moving;           /* entries up to here are on their way to the outbox; 0: none */
#endif
bool connected;
byte confirmed;        /* where the node's row is, as the node knows */

/* ---- its batch: which writes, in order; where the row is before and after */
mtype batch;
byte batch_writes, batch_from, batch_to;
bool orphaned;         /* another, of a connection that is lost */
byte orphan_writes, orphan_from, orphan_to;

/* ---- PostgreSQL, and its standby */
byte row;              /* applied_seq of the node's row */
byte applied[WRITES];  /* how often */
byte standby_row;
byte standby_applied[WRITES];

/* ---- what clients know */
byte written;          /* writes handed in */
byte acked;            /* the set of those acknowledged */
#if RING > 0
byte firm;             /* of them, those that the machine may not take with it */
#endif

byte crashes, cuts, failovers;

/* Scratch of a step, no part of the state. */
hidden byte i, s, w, found;
hidden mtype outcome;

#define HAS(set, w) (((set) >> (w)) & 1)

#if LOG > 0
#define MAY_WRITE (!is_writing)
#else
#define MAY_WRITE true
#endif

/* Promise 3: PostgreSQL holds each write once at most, and none without those that were
 * acknowledged before it. */
inline check_prefix()
{
    found = 0;
    for (i : 1 .. WRITES) {
        w = WRITES - i;
        assert(applied[w] <= 1);
        assert(!found || !HAS(acked, w) || applied[w] == 1);
        found = found || applied[w] > 0
    }
}

/* A batch of the writes `writes`, which moves the row from `from` to `to`. */
inline run_batch(writes, from, to, outcome)
{
    if
    :: row == from -> outcome = DONE
#ifdef BUG_GUARD_REMOVED
    :: row != from -> outcome = DONE
#elif defined(BUG_GUARD_SILENT)
    :: row != from -> outcome = DONE
#else
    :: row != from -> outcome = REFUSED
#endif
    fi;
    if
    :: outcome == DONE ->
        for (w : 0 .. WRITES - 1) {
            applied[w] = applied[w] + HAS(writes, w)
        }
#ifdef BUG_GUARD_SILENT
        if
        :: row == from -> row = to
        :: else
        fi;
#else
        row = to;
#endif
        check_prefix()
    :: else
    fi
}

inline lose_connection()
{
    connected = false;
    /* One at a time may lie unread: of two, the older would be refused, as either is. */
    if
    :: batch == SENT && !orphaned ->
        orphaned = true;
        orphan_writes = batch_writes;
        orphan_from = batch_from;
        orphan_to = batch_to
    :: else
    fi;
    batch = IDLE; batch_writes = 0; batch_from = 0; batch_to = 0
}

/* The node's row was read FOR UPDATE, so no batch is half done. */
inline compare_row()
{
    for (s : 1 .. SEQS - 1) {
        if
#ifndef BUG_LOST_BATCH_SENT_AGAIN
        :: entry[s] == WAITING && s <= row -> entry[s] = APPLIED
#endif
#ifndef BUG_REWIND_IGNORED
        :: entry[s] == APPLIED && s > row -> entry[s] = WAITING
#endif
        :: else
        fi
    }
    confirmed = row;
    connected = true
}

/* All that waits, as one batch. */
inline fill_batch()
{
    batch_writes = 0;
    batch_from = confirmed;
    for (s : 1 .. SEQS - 1) {
        if
        :: entry[s] == WAITING && s > confirmed ->
            batch_writes = batch_writes | (1 << write_of[s]);
            batch_to = s
#ifdef BUG_LOST_BATCH_SENT_AGAIN
        :: entry[s] == WAITING && s <= confirmed ->
            batch_writes = batch_writes | (1 << write_of[s]);
            batch_to = confirmed
#endif
        :: else
        fi
    }
}

inline trim(upto)
{
    for (s : 1 .. SEQS - 1) {
        if
        :: s <= upto && entry[s] == APPLIED -> entry[s] = NONE; write_of[s] = NOBODY
#ifdef BUG_TRIM_BEFORE_CONFIRM
        :: s <= upto && entry[s] == WAITING -> entry[s] = NONE; write_of[s] = NOBODY
#endif
        :: else
        fi
    }
}

#if LOG > 0
inline begin_group()
{
    group_generation[log_end] = 0;
    group_entries[log_end] = 0;
    for (s : 1 .. SEQS - 1) {
        if
        :: entry[s] == UNSYNCED -> group_entries[log_end] = group_entries[log_end] | (1 << s)
        :: else
        fi
    }
    is_writing = true
}

inline end_group()
{
    for (s : 1 .. SEQS - 1) {
        if
        :: entry[s] == UNSYNCED && HAS(group_entries[log_end], s) -> entry[s] = LOGGED
        :: else
        fi
    }
    group_generation[log_end] = generation;
    log_end++;
    is_writing = false
}

/* What the log says of the entries that are in no outbox: those of the groups from the front that
 * are of the outbox's generation. */
inline replay()
{
    found = 1;
    for (i : 0 .. LOG - 1) {
        /* one that counts behind one that does not: a start takes it for damage */
        assert(found || group_generation[i] != generation);
        found = found && group_generation[i] == generation;
        for (s : 1 .. SEQS - 1) {
            if
#ifndef BUG_LOG_MOVED_REPLAYED
            :: found && HAS(group_entries[i], s) && s <= last_seq -> skip /* it was moved */
#else
            :: found && HAS(group_entries[i], s) && s <= last_seq -> assert(false)
#endif
            :: found && HAS(group_entries[i], s) && s > last_seq ->
                assert(entry[s] == LOGGED);
                entry[s] = WAITING;
                last_seq = s
            :: else
            fi
        }
    }
    for (s : 1 .. SEQS - 1) {
        if
        :: entry[s] == LOGGED -> entry[s] = UNSYNCED
        :: else
        fi
    }
    generation++;
    log_end = 0;
    moving = 0;
    is_writing = false
}

#if RING > 0
/* What the ring says of the entries that are in neither, after what the log said. */
inline replay_ring()
{
    for (s : 1 .. SEQS - 1) {
        if
        :: HAS(ring, s) && s > last_seq ->
            assert(entry[s] == UNSYNCED);
#ifndef BUG_RING_LEFT_OUT
            entry[s] = WAITING;
#endif
            last_seq = s
        :: else
        fi
    }
    ring = 0
}

/* The machine goes down: what was acknowledged from the ring alone may be gone. */
inline lose_ring()
{
    ring = 0;
    for (s : 1 .. SEQS - 1) {
        if
        :: entry[s] == UNSYNCED && !HAS(firm, write_of[s]) ->
            acked = acked & (255 - (1 << write_of[s]))
        :: else
        fi
    }
}
#endif

/* A commit of the outbox of those that were there when it began, while groups are written: they
 * stay in the log, whose generation goes on. */
inline move()
{
    for (s : 1 .. SEQS - 1) {
        if
        :: s <= moving && (entry[s] == UNSYNCED || entry[s] == LOGGED) ->
            entry[s] = WAITING;
            last_seq = s
        :: else
        fi
    }
#ifdef BUG_LOG_CUT_BY_MOVE
    log_end = 0;
#endif
#if RING > 0
#ifdef BUG_RING_CLEARED_BY_MOVE
    ring = 0;
#else
    for (s : 1 .. SEQS - 1) {
        if
        :: s <= moving && HAS(ring, s) -> ring = ring - (1 << s)
        :: else
        fi
    }
#endif
#endif
    moving = 0
}
#endif

/* The outbox's commit, with all that is in the log. */
inline commit()
{
    for (s : 1 .. SEQS - 1) {
        if
        :: entry[s] == UNSYNCED -> entry[s] = WAITING
#ifndef BUG_LOG_LEFT_OUT
        :: entry[s] == LOGGED -> entry[s] = WAITING
#endif
        :: else
        fi
    }
#if LOG > 0
#ifndef BUG_LOG_GENERATION_KEPT
    generation = generation + (log_end > 0);
#endif
    for (s : 1 .. SEQS - 1) {
        if
        :: entry[s] == WAITING && s > last_seq -> last_seq = s
        :: else
        fi
    }
#if RING > 0
    ring = 0;
#endif
    moving = 0;
    log_end = 0
#endif
}

/* A start: what is not synced is not there, and seqs go on beyond every one that may have been
 * used, also by entries that are trimmed. */
inline restart()
{
#if LOG > 0
    replay();
#endif
#if RING > 0
    replay_ring();
#endif
    found = 0;
    next_seq = 1;
    for (s : 1 .. SEQS - 1) {
        if
        :: entry[s] == UNSYNCED -> entry[s] = NONE; write_of[s] = NOBODY
        :: entry[s] == WAITING || entry[s] == APPLIED -> next_seq = s + 1
        :: else
        fi
    }
#ifndef BUG_SEQ_USED_TWICE
    next_seq = ceiling + 1;
#endif
    ceiling = ceiling + CHUNK;
    confirmed = 0
}

inline nothing_waits()
{
    found = 0;
    for (s : 1 .. SEQS - 1) {
        found = found || entry[s] == WAITING || entry[s] == UNSYNCED || entry[s] == LOGGED
    }
}

/* Promise 3 again: nothing acknowledged is missing once nothing waits. */
inline check_settled()
{
    nothing_waits();
    if
    :: !found && connected && batch == IDLE ->
        for (w : 0 .. WRITES - 1) {
            assert(!HAS(acked, w) || applied[w] == 1)
        }
    :: else
    fi
}

active proctype world()
{
    d_step {
        for (s : 0 .. SEQS - 1) {
            entry[s] = NONE;
            write_of[s] = NOBODY
        }
        batch = IDLE;
        restart()
    }
end:
    do
    /* a client hands a write in */
    :: d_step { written < WRITES && next_seq < SEQS - 1 && MAY_WRITE ->
            if
            :: next_seq > ceiling -> ceiling = ceiling + CHUNK
            :: else
            fi;
            entry[next_seq] = UNSYNCED;
            write_of[next_seq] = written;
#ifdef BUG_ACK_BEFORE_SYNC
            acked = acked | (1 << written);
#endif
            written++;
            next_seq++ }
    /* the outbox is synced; a crash may come before the acknowledgement */
    :: d_step { MAY_WRITE -> commit(); i = 0 }
#if LOG > 0
    /* or a group of the log is; the power may go while it is written */
    :: d_step { !is_writing && log_end < LOG ->
            found = 0;
            for (s : 1 .. SEQS - 1) {
                found = found || entry[s] == UNSYNCED
            }
            if
            :: found -> begin_group()
            :: else
            fi }
    :: d_step { is_writing -> end_group() }
    /* or what is there moves to the outbox meanwhile */
    :: d_step { !is_writing && moving == 0 ->
            for (s : 1 .. SEQS - 1) {
                if
                :: entry[s] == UNSYNCED || entry[s] == LOGGED -> moving = s
                :: else
                fi
            }
            i = 0 }
    :: d_step { moving != 0 -> move() }
#if RING > 0
    /* or goes to the ring, for an acknowledgement in memory */
    :: d_step { !is_writing ->
            for (s : 1 .. SEQS - 1) {
                if
                :: entry[s] == UNSYNCED -> ring = ring | (1 << s)
                :: else
                fi
            }
            i = 0 }
#ifdef BUG_RING_PASSED_WHEN_ORDERED
    :: d_step { moving != 0 && ring != 0 -> ring = 0 }
#endif
#endif
#ifdef BUG_LOG_CUT_EARLY
    :: d_step { !is_writing && log_end > 0 -> log_end = 0; group_generation[0] = 0 }
#endif
#endif
    /* those that are synced are acknowledged */
    :: d_step { true ->
            for (s : 1 .. SEQS - 1) {
                if
                :: entry[s] == WAITING || entry[s] == LOGGED ->
                    acked = acked | (1 << write_of[s])
#if RING > 0
                    ; firm = firm | (1 << write_of[s])
                :: entry[s] == UNSYNCED && HAS(ring, s) -> acked = acked | (1 << write_of[s])
#endif
                :: else
                fi
            }
            i = 0 }
    /* a connection, and the node's row */
    :: d_step { !connected -> compare_row(); check_settled() }
    /* a batch is sent, runs, and is heard of */
    :: d_step { connected && batch == IDLE -> fill_batch();
            if
            :: batch_writes != 0 -> batch = SENT
            :: else
            fi }
    :: d_step { batch == SENT -> run_batch(batch_writes, batch_from, batch_to, batch) }
    :: d_step { batch == DONE ->
            for (s : 1 .. SEQS - 1) {
                if
                :: entry[s] == WAITING && s <= batch_to -> entry[s] = APPLIED
                :: else
                fi
            }
            confirmed = batch_to;
            batch = IDLE; batch_writes = 0; batch_from = 0; batch_to = 0;
            check_settled() }
    :: d_step { batch == REFUSED -> lose_connection() }
    /* an orphan wakes up, or never does */
    :: d_step { orphaned -> run_batch(orphan_writes, orphan_from, orphan_to, outcome);
            orphaned = false; orphan_writes = 0; orphan_from = 0; orphan_to = 0 }
    :: d_step { orphaned -> orphaned = false; orphan_writes = 0; orphan_from = 0; orphan_to = 0 }
    /* retained entries are trimmed once no failover can lose them */
#ifdef BUG_RETAIN_NOTHING
    :: d_step { connected -> trim(confirmed); i = 0 }
#elif defined(BUG_TRIM_BEFORE_CONFIRM)
    :: d_step { batch == SENT -> trim(batch_to); i = 0 }
#else
    :: d_step { connected && standby_row <= confirmed -> trim(standby_row); i = 0 }
#endif
    /* the connection is cut; the result of a batch may be on its way */
    :: d_step { connected && cuts < CUTS -> cuts++; lose_connection() }
    /* kill -9, or the power */
    :: d_step { crashes < CRASHES -> crashes++; lose_connection(); restart() }
#if RING > 0
    :: d_step { crashes < CRASHES -> crashes++; lose_connection(); lose_ring(); restart() }
#endif
    /* the standby follows, or takes over */
    :: d_step { failovers < FAILOVERS && standby_row != row ->
            standby_row = row;
            for (w : 0 .. WRITES - 1) {
                standby_applied[w] = applied[w]
            }
            i = 0 }
    :: d_step { failovers < FAILOVERS -> failovers++;
            row = standby_row;
            for (w : 0 .. WRITES - 1) {
                applied[w] = standby_applied[w]
            }
            lose_connection();
            orphaned = false; orphan_writes = 0; orphan_from = 0; orphan_to = 0 }
    od
}
