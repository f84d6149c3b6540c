// The cache phase of a turn, between the files that make it up. Everything here runs within the
// transaction `turn->txn` and may run again for the same message, see apply.c.
#pragma once

#include "cache/coherence.h"
#include "cache/turn.h"

// ---- the transaction, with its cursor of the records; apply.c

enum error apply_begin(struct turn *turn);
void apply_abort(struct turn *turn);
enum error apply_commit(struct turn *turn);

// ---- records; apply.c

// What is held of the key, in `record`; `held` points to it, or is NULL where nothing is.
enum error apply_get(struct turn *turn, struct slice key, struct record *record,
                     const struct record **held);
// The same where a clean record is as good as none, which need not be looked for.
enum error apply_get_pending(struct turn *turn, struct slice key, struct record *record,
                             const struct record **held);

// Carries out what the coherence decided about the key of which one of them has just found `held`.
enum error apply_decision(struct turn *turn, struct slice key, const struct record *held,
                          const struct decision *decision);

// ---- this node's writes; apply_local.c

// Before the item of that index: has what later ones will look for come from memory meanwhile. To
// be called for each in turn, from the first on.
void apply_prefetch(struct turn *turn, size_t index);
enum error apply_entry(struct turn *turn, const struct entry *entry);
enum error apply_retire(struct turn *turn, const struct entry *entry);
enum error apply_rewind(struct turn *turn, const struct rewind_message *rewind);

// ---- PostgreSQL's side; apply_reports.c

enum error apply_fills(struct turn *turn, const struct fills_message *fills);
enum error apply_changes(struct turn *turn, const struct changes_message *changes);
enum error apply_feed(struct turn *turn, const struct feed_message *feed);
enum error apply_swept(struct turn *turn, const struct swept_message *swept);
enum error apply_flushed(struct turn *turn, const struct flushed_message *flushed);

// ---- apply_drop.c

// Drops every clean record; pending ones stay, tainted where `taints` says that others changed
// everything.
enum error apply_drop_all(struct turn *turn, bool taints, int64_t *dropped);
