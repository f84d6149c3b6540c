// A look at all expired rows, in the order of (expires_at, key): what a node remembers between the
// batches in which they are removed, where PostgreSQL refuses to delete some. A batch begins behind
// the last row that was refused, so that those in front hold up none of the others; what expires
// later comes behind it as well. After a while another pass tries them again. Until one of them has
// come to its end, what the one before it found is what holds. The pg worker's thread.
#pragma once

#include <libpq-fe.h>

#include "base/buffer.h"
#include "base/error.h"
#include "pg/schema.h"

// The answer of one batch. The texts are the caller's.
struct reaped {
    int64_t removed; // -1: another node is at it
    int64_t refused;
    const char *passed_at; // where the next batch begins
    const char *passed_key;
    const char *refused_key; // of the first that was refused; "" where none was
    const char *refused_sqlstate;
    const char *refused_message;
};

struct reap_pass {
    struct buffer passed_at; // "" at the beginning
    struct buffer passed_key;
    int64_t began_boot_us;
    int64_t again_boot_us; // when the next pass may begin; 0: this one has not come to its end
    int64_t refused;       // by this pass
    struct failure first;  // of them
    // What holds:
    int64_t found;         // how many are refused
    struct failure reason; // why the first of them is, with its key; .error == ERROR_NONE: none is
};

enum reap_news {
    REAP_NO_NEWS,
    REAP_REFUSED,    // rows are, or the first of them for another reason than before
    REAP_NONE_IS_NOW // refused any more
};

// A pass of all zeroes is one that has not begun.
void reap_pass_deinit(struct reap_pass *pass);

// Appends the query for a batch; begins another pass where it is time.
void reap_pass_ask(struct reap_pass *pass, const struct schema_names *names, int rows_max,
                   int64_t now_boot_us, struct buffer *sql);

// The columns of that query's one row.
struct reaped reap_pass_read(const PGresult *result);

// Takes note of the answer to a batch of at most `rows_max`.
enum reap_news reap_pass_take(struct reap_pass *pass, const struct reaped *reaped, int rows_max,
                              int64_t now_boot_us);

// Begins anew with the next batch, as after an outage: what was refused may not be any more.
void reap_pass_restart(struct reap_pass *pass);
