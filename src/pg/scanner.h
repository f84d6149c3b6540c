// Answers scan and all: complete, from PostgreSQL, in byte order of the keys, with this node's
// pending writes laid over (docs/architecture.md, "Rules of coherence", 13).
//
//   request --> wait --> pin the overlay --> SELECT, SELECT, ... --> fetch again --> reply home
//
// The wait is for what the overlay could not show: writes acknowledged in memory only, until they
// are journaled, and writes whose result PostgreSQL decides, until they are applied. A page takes
// as many SELECTs as its values need, each bounded in rows and bytes. What was flushed meanwhile is
// fetched once more at the end. The pg worker's thread.
#pragma once

#include "pg/worker.h"

struct scanner;

struct scanner *scanner_create(struct worker *worker);
// NULL is allowed. Every request was finished (scanner_refuse_all).
void scanner_destroy(struct scanner *scanner);

// Takes the request and finishes it exactly once. Errors as those of fetcher_request; TOO_LARGE
// where all has more than SCAN_BYTES_MAX.
void scanner_request(struct scanner *scanner, struct request *request);

void scanner_on_connected(struct scanner *scanner);
void scanner_on_lost(struct scanner *scanner, const struct failure *failure);

// The end: finishes every request with `failure`.
void scanner_refuse_all(struct scanner *scanner, const struct failure *failure);
