// The layout "document": all pairs live in one JSON object, in one text, json or jsonb column of
// one row of somebody else's table.
//
//      game_sessions                          pgnear_document, part of the document
//      id     game_name          others       key   value  version  ...  expires_at
//      0000.. {"a": 1, "b": 2}   untouched    a     1      7
//                                             b     2      9
//
//      a flush:   lock the row; batch on the part, as on any table; write the object once
//      a user:    UPDATE ... SET game_name; the trigger brings the part up to the object
//      a read:    from the part, by its key
//
// The object is the truth; the part of the companion is what it held when it was last seen, with
// what JSON has no room for. It is a table as the layout "table" has it, so that all statements,
// triggers and versions of that layout serve this one. Everything of ours is in the schema of the
// document's table:
//
//   pgnear_document              the companion, a partition for each document
//   pgnear_document_state        a row for each document: the digest of what was last seen
//   pgnear_document_HASH         the partition; HASH is of the names of the document
//   pgnear_document_HASH_pairs   a view on it: an error while the document is no JSON object
//   pgnear_document_HASH_...     the functions of document_functions.c, sequence, triggers
//
// Pure functions; any thread.
#pragma once

#include "base/settings.h"
#include "pg/layout.h"

extern const struct layout LAYOUT_DOCUMENT;

// Fills `options` from the settings of a document. ERROR_CONFIG where a name is none.
enum error document_options(const struct document_settings *settings,
                            struct schema_options *options, struct failure *failure);
