// Reading the cache: the lookups of base/ports.h over one LMDB snapshot, judged by the control
// page. Each thread has its own reader; a reader belongs to one thread at a time.
#pragma once

#include "cache/store.h"

enum error reader_open(struct store *store, struct cache_reader **reader);
void reader_close(struct cache_reader *reader);

void reader_begin(struct cache_reader *reader);
enum lookup reader_lookup(struct cache_reader *reader, struct slice key, struct cached *cached);
bool reader_is_current(struct cache_reader *reader);
bool reader_is_torn(struct cache_reader *reader);
void reader_end(struct cache_reader *reader);
bool reader_look_up_hot(struct cache_reader *reader, struct slice key, uint64_t hash,
                        int64_t now_boot_us, enum lookup *found, struct cached *cached);
uint64_t reader_prefetch(struct cache_reader *reader, struct slice key);
void reader_prefetch_record(struct cache_reader *reader, uint64_t hash);

enum error reader_visit_suspects(struct cache_reader *reader, struct slice after, size_t count_max,
                                 bool (*visit)(void *context, const struct swept_record *record),
                                 void *context);
enum error reader_visit_held(struct cache_reader *reader, struct slice after, size_t count_max,
                             bool (*visit)(void *context, const struct held_record *held),
                             void *context);
bool reader_find_held(struct cache_reader *reader, struct slice key, struct held_record *held);
