// The file of an outbox that nobody has open, as LMDB gives it.
#pragma once

#include "unit/cache/rig.h"

#include <lmdb.h>

struct raw_outbox {
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi rows; // of the database that is looked at
};

RIG_UNUSED static void raw_outbox_open_at(struct raw_outbox *raw, const struct rig *rig,
                                          const char *database)
{
    char path[160];
    snprintf(path, sizeof path, "%s/outbox.mdb", rig->outbox_dir);
    assert_int_equal(mdb_env_create(&raw->env), 0);
    assert_int_equal(mdb_env_set_maxdbs(raw->env, 8), 0);
    assert_int_equal(mdb_env_open(raw->env, path, MDB_NOSUBDIR | MDB_NOLOCK | MDB_NOSYNC, 0640), 0);
    assert_int_equal(mdb_txn_begin(raw->env, NULL, 0, &raw->txn), 0);
    assert_int_equal(mdb_dbi_open(raw->txn, database, 0, &raw->rows), 0);
}

RIG_UNUSED static void raw_outbox_open(struct raw_outbox *raw, const struct rig *rig)
{
    raw_outbox_open_at(raw, rig, "meta");
}

RIG_UNUSED static void raw_outbox_close(struct raw_outbox *raw)
{
    assert_int_equal(mdb_txn_commit(raw->txn), 0);
    mdb_env_close(raw->env);
}

// A row, copied; its length. -1 where there is none.
RIG_UNUSED static ssize_t raw_outbox_get(struct raw_outbox *raw, const char *name, uint8_t *row,
                                         size_t row_bytes_max)
{
    MDB_val key = {.mv_data = (void *)(uintptr_t)name, .mv_size = strlen(name)};
    MDB_val value;
    if (mdb_get(raw->txn, raw->rows, &key, &value) != 0) {
        return -1;
    }
    assert_true(value.mv_size <= row_bytes_max);
    memcpy(row, value.mv_data, value.mv_size);
    return (ssize_t)value.mv_size;
}

// Nothing is left of it where `row` is NULL.
RIG_UNUSED static void raw_outbox_put(struct raw_outbox *raw, const char *name, const uint8_t *row,
                                      size_t row_bytes)
{
    MDB_val key = {.mv_data = (void *)(uintptr_t)name, .mv_size = strlen(name)};
    MDB_val value = {.mv_data = (void *)(uintptr_t)row, .mv_size = row_bytes};
    assert_int_equal(row == NULL ? mdb_del(raw->txn, raw->rows, &key, NULL)
                                 : mdb_put(raw->txn, raw->rows, &key, &value, 0),
                     0);
}
