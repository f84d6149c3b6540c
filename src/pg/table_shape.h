// What shows that somebody changed the table itself rather than its rows: dropped it and made it
// anew, put another in its place, changed a column, turned triggers off. No trigger announces that.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include <libpq-fe.h>

enum { TABLE_SHAPE_BYTES = 40 };
// Of each of the two tables that are asked about: what holds rows (itself or its partitions), and
// what is partitioned.
enum { TABLE_SHAPE_KINDS = 4 };

struct table_shape {
    // Of the table with its partitions, its columns and our triggers: another one after every
    // change of them. "": there is no such table.
    char digest[TABLE_SHAPE_BYTES];
    // How many triggers of ours always fire on that table of each kind which has the fewest, bare
    // partitions aside; -1: there is none of the kind.
    int64_t triggers[TABLE_SHAPE_KINDS];
    // The same of the one trigger for what logical replication applies, which nothing but a
    // subscription needs.
    int64_t replicated;
    bool is_subscribed; // some subscription has one of the tables
    bool has_disabled;  // some trigger of ours is
    bool is_demoted;    // none of our triggers is disabled, and some do not always fire
    // Partitions, of whatever level, that have none of the triggers which announce changes, as
    // after CREATE TABLE ... PARTITION OF and ATTACH PARTITION.
    int64_t bare;
};

// One row, for table_shape_take. $1 and $2 are names of tables, or twice the same; of another
// second one the triggers count whose names begin with $3 and "_". It takes no lock of them, so
// that nobody's DDL holds it up.
extern const char TABLE_SHAPE_SQL[];

void table_shape_take(struct table_shape *shape, const PGresult *result);

// Whether changes that were announced when the shape was `known` are no longer: triggers have been
// dropped or turned off since, a partition has come without them, or the table is gone. What was
// lacking then is for `check` to tell.
bool table_shape_lost_triggers(const struct table_shape *found, const struct table_shape *known);
// Whether nothing but the triggers of bare partitions is lacking.
bool table_shape_lacks_for_bare(const struct table_shape *found, const struct table_shape *known);
