// The control page: the file `control` beside the cache, one page of shared memory that says how
// far the cache may be trusted. The writer thread alone writes it; socket readers and the direct
// readers of other processes (which map it read-only) copy it out before they look.
//
// What lowers trust (a new epoch) is on the page before the cache's commit, what raises it (a
// heartbeat, the sweep's hand) after: so whoever reads the page first and the cache after it is
// never too trusting.
//
// Layout 6, in the machine's byte order; offsets are fixed by the asserts in control.c:
//
//      0  magic, layout, page bytes             constant once `magic` is set
//     16  boot id, node uuid                    constant while serving
//     96  source: hash of server and table      constant while serving
//    104  pid, clean, generation                pid: 0 while not serving
//    120  memory-acknowledged writes            of the release before, for the start after it
//    152  server: its start, its timeline        of use to the daemon only
//    176  namespace of the pids                 constant while serving
//    184  life: a lock held while serving       the kernel marks it where its holder dies
//    224  inode of the cache's file             of the generation
//    232  life of the hot tier                  see tier.h
//    240  check of what the sequence guards       of use to the next start only
//    248  life of the memtable                  see memtable.h
//    256  sequence, then what it guards         odd while it is being changed
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "cachefile/directory.h"
#include "cachefile/trust.h"

enum { CONTROL_BYTES = 4096, CONTROL_LAYOUT = 6, CONTROL_HAND_WORDS = 64 };

#define CONTROL_MAGIC 0x6c6f72746e6f6370ull // "pcontrol"

struct control_beat {
    _Atomic uint64_t epoch;
    _Atomic int64_t beat_us;
    _Atomic uint64_t swept;
};

struct control_page {
    _Atomic uint64_t magic;
    uint32_t layout;
    uint32_t bytes;
    char boot_id[BOOT_ID_BYTES];
    char node[BOOT_ID_BYTES];
    uint64_t source;
    _Atomic uint32_t pid;   // of the daemon that serves; 0: none
    _Atomic uint32_t clean; // 1: stopped in order, the files are whole whatever the machine did
    _Atomic uint64_t generation; // changes where the cache files were made anew
    // Of the release before, whose cache held them alone:
    _Atomic uint64_t memory_first_seq; // oldest memory-acknowledged write not yet in the outbox
    _Atomic uint64_t memory_last_seq;  // newest
    _Atomic uint64_t memory_count;
    _Atomic int64_t max_stale_us; // any thread of the daemon may set it
    int64_t server_started_us;    // the server whose rows are held; the daemon's alone
    char server_timeline[16];
    uint64_t pid_namespace;         // inode; pids in LMDB's reader table are of it
    pthread_mutex_t life;           // robust, shared between processes
    _Atomic uint64_t cache_inode;   // of the file that the generation is in
    _Atomic uint64_t tier_life;     // of entries of the hot tier that count; 0: none do
    uint64_t check;                 // of the guarded part, where the sequence is even
    _Atomic uint64_t memtable_life; // of the memtable that lies over the records; 0: none does
    _Atomic uint64_t sequence;
    _Atomic uint64_t epoch;
    _Atomic uint64_t feed_live;
    _Atomic int64_t clock_offset_us;
    struct control_beat beats[EPOCH_BEATS];
    _Atomic uint64_t hand_bytes;
    _Atomic uint64_t hand[CONTROL_HAND_WORDS];
};

struct control {
    struct control_page *page; // mapped; NULL: not open
    bool made;                 // there was no usable page before
};

// Maps the page in the directory, making it anew where it is missing, damaged or of another layout.
// A page that was left in the middle of a change loses its hand and heartbeats, never gains.
enum error control_open(struct control *control, const struct directory *directory,
                        struct failure *failure);
void control_close(struct control *control);

// Copies the guarded part out, whole. Any thread or process that maps the page; never blocks for
// longer than a change of the page takes.
void control_view(struct control_page *page, struct page_view *view);

// The same at once or not at all: false while the page is being changed. `sequence` becomes the
// number of what was copied. Never blocks, makes no system call.
bool control_try_view(struct control_page *page, struct page_view *view, uint64_t *sequence);

// Whether the page still holds what was copied with that number.
static inline bool control_is_unchanged(struct control_page *page, uint64_t sequence)
{
    return atomic_load_explicit(&page->sequence, memory_order_acquire) == sequence;
}

// The number of a copy that is none: what can be believed has an even one.
enum { CONTROL_NO_SEQUENCE = 1 };

// A copy that is no older than the call; it seldom has to be made. False while the page is being
// changed. `max_stale_us` is taken in any case: it is set without a new number.
static inline bool control_refresh(struct control_page *page, struct page_view *view,
                                   uint64_t *sequence)
{
    if (!control_is_unchanged(page, *sequence) && !control_try_view(page, view, sequence)) {
        return false;
    }
    view->max_stale_us = atomic_load_explicit(&page->max_stale_us, memory_order_relaxed);
    return true;
}

// ---- whether a daemon serves

// The calling thread serves from now on, until it ends its life or the process dies, however it
// dies: the kernel marks a robust lock whose holder is gone, so that the next read of any process
// knows without a system call. Begin and end are the same thread's.
void control_begin_life(struct control_page *page);
void control_end_life(struct control_page *page);

// Whether there is a daemon, alive or frozen. Any process that maps the page; no system call.
bool control_is_served(struct control_page *page);

// The inode of this process's namespace of pids; 0 where it is not known.
uint64_t control_pid_namespace(void);

// For a direct reader: maps the page of the cache in the directory for reading only. NULL where
// there is none of this layout, or no right to it. To be unmapped with control_unmap.
struct control_page *control_map(int directory_fd);
void control_unmap(struct control_page *page);

// The writer: puts `view` on the page (all but max_stale_us).
void control_publish(struct control_page *page, const struct page_view *view);

// The writer: whose rows are held, for the next start.
void control_note_server(struct control_page *page, int64_t started_us, const char timeline[16]);
// The writer: that of no server that the next start may meet.
void control_disown_server(struct control_page *page);

// ---- changes of a view, before it is published

// A new epoch: nothing of the one before is current any more. `beat_us` 0: no heartbeat yet.
void page_view_begin_epoch(struct page_view *view, uint64_t epoch, int64_t beat_us);
void page_view_heartbeat(struct page_view *view, int64_t beat_us);
void page_view_sweep(struct page_view *view, struct slice hand, bool done);
