// Reading the results of methods. What is handed out points into the response or lies in the
// handle's arena, is written on success only, and may be NULL where it is not wanted. False where
// the result is not what the protocol says, with the cursor anywhere.
#pragma once

#include "client/handle.h"

// nil or [value, version]; `item` is not NULL, and written in any case.
bool result_item(struct mpack_cursor *cursor, pgnear_item *item);

// An array of `count` such, in the order of the request; `items` is not NULL.
bool result_items(pgnear *handle, struct mpack_cursor *cursor, size_t count,
                  const pgnear_item **items);

// true or false.
bool result_flag(struct mpack_cursor *cursor, bool *flag);

// {seq, version, deleted}.
bool result_written(struct mpack_cursor *cursor, pgnear_written *written);

// {items: [[key, value, version]...], next, skipped}.
bool result_page(pgnear *handle, struct mpack_cursor *cursor, pgnear_page *page);

// [{item, ok, message}...].
bool result_checks(pgnear *handle, struct mpack_cursor *cursor, const pgnear_check_item **items,
                   size_t *count);

// [[version, value, "set" or "delete", at_us]...].
bool result_history(pgnear *handle, struct mpack_cursor *cursor, const pgnear_revision **revisions,
                    size_t *count);

// [{seq, key, keys, op, sqlstate, message, at_us}...].
bool result_letters(pgnear *handle, struct mpack_cursor *cursor, const pgnear_dead_letter **letters,
                    size_t *count);

// {table, rows, created_at}; what is not there stays empty.
bool result_backup(struct mpack_cursor *cursor, pgnear_backup_item *backup);

// An array of such, and an array of strings.
bool result_backups(pgnear *handle, struct mpack_cursor *cursor, const pgnear_backup_item **backups,
                    size_t *count);
bool result_texts(pgnear *handle, struct mpack_cursor *cursor, const pgnear_bytes **texts,
                  size_t *count);

// The error of a result that none of the above could read.
pgnear_code result_garbled(const char *method, pgnear_error *error);
