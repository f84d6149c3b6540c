// The preload: at the start, with cache.preload, the table is read into the cache before anybody
// misses, page by page in byte order of the keys, until all of it is there or the cache is as full
// as it can be without evicting. What is there already is left alone.
//
// A page is a fetch that nobody waits for, under the same rules (docs/architecture.md, "Rules of
// coherence", 4, 5 and 7): LISTEN was committed before, keys that are heard of while the page is on
// its way are left out, and a page of another epoch is asked for again once the sweep is done.
//
// One page at a time is in flight, on a read connection that is shared in turns (read_pool.h), and
// at most one more in the writer. The pg worker's thread.
#pragma once

#include "pg/worker.h"

struct preloader;

struct preloader *preloader_create(struct worker *worker);
// NULL is allowed.
void preloader_destroy(struct preloader *preloader);

// Everything held has been revalidated: begins, or goes on.
void preloader_on_swept(struct preloader *preloader);
void preloader_on_lost(struct preloader *preloader, const struct failure *failure);

// The key was changed, as far as the worker has heard, or a fetch has answered it, which may have
// seen more than the page in flight; or any key may have been changed.
void preloader_mark(struct preloader *preloader, struct slice key);
void preloader_mark_all(struct preloader *preloader);

// The writer is done with the last page.
void preloader_on_filled(struct preloader *preloader);
