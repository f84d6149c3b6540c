// get in two halves, for those who do something with a value between them: a look (direct.h), and
// the question to the node.
#pragma once

#include "base/item.h"
#include "client/handle.h"

// Whether the options can be met by PostgreSQL alone.
bool get_asks_postgres(const pgnear_get_options *options);

// What they ask of a record.
struct direct_wish get_wish(const pgnear_get_options *options);

// A look for who sends his requests himself; `item` as of direct_get.
bool get_look(pgnear *handle, struct slice key, const pgnear_get_options *options,
              pgnear_item *item);

// What the node would have answered, in the GET_ANSWER_BYTES(item) bytes at `out`; the item's value
// lies there from now on.
#define GET_ANSWER_BYTES(item) (ITEM_BYTES_MAX + (item)->value.len)
struct slice get_answer(pgnear_item *item, uint8_t *out);

// Packs the parameters of a get that was begun: with what the handle was told of the key before,
// so that the answer does not lie behind it. The options are whole.
void get_pack(pgnear *handle, struct slice key, const pgnear_get_options *options);

// The options of a question: those of the call, and that the answer lie not behind what the handle
// was told before.
void get_pack_options(pgnear *handle, const pgnear_get_options *options,
                      const struct direct_wish *wish);

// What the node answered about the key with that sketch_hash.
void get_note(pgnear *handle, uint64_t key_hash, const pgnear_get_options *options,
              const pgnear_item *item);

// Asks the node; `wish` is that of the look that did not answer. As pgnear_get otherwise.
pgnear_code get_ask(pgnear *handle, pgnear_bytes key, const pgnear_get_options *options,
                    struct direct_wish *wish, pgnear_item *item, pgnear_error *error);
