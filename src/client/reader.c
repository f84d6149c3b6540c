// A reader keeps its slot in LMDB's table from opening to closing: a renewed transaction needs no
// lock and no system call.
#include "client/reader.h"

#include "base/check.h"

bool reader_open(struct direct_reader *reader, struct mapping *mapping)
{
    *reader = (struct direct_reader){.mapping = mapping};
    if (mdb_txn_begin(mapping->env, NULL, MDB_RDONLY, &reader->txn) != MDB_SUCCESS) {
        reader->txn = NULL;
        reader_close(reader);
        return false;
    }
    mdb_txn_reset(reader->txn);
    return true;
}

void reader_close(struct direct_reader *reader)
{
    if (reader->txn != NULL) {
        mdb_txn_abort(reader->txn); // gives the slot back
    }
    tally_release(reader->row);
    if (reader->mapping != NULL) {
        mapping_release(reader->mapping);
    }
    *reader = (struct direct_reader){0};
}

void reader_count(struct direct_reader *reader)
{
    reader->row = tally_claim(&reader->mapping->tally);
}

bool reader_begin(struct direct_reader *reader)
{
    CHECK(!reader->is_reading);
    if (mdb_txn_renew(reader->txn) != MDB_SUCCESS) {
        // The map became too small, or the slot was taken from us.
        reader_close(reader);
        return false;
    }
    reader->is_reading = true;
    return true;
}

void reader_end(struct direct_reader *reader)
{
    CHECK(reader->is_reading);
    mdb_txn_reset(reader->txn);
    reader->is_reading = false;
}
