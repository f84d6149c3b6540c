// get in two halves, for those who do something with a value between them: a look (direct.h), and
// the question to the node.
#pragma once

#include "client/handle.h"

// Whether the options can be met by PostgreSQL alone.
bool get_asks_postgres(const pgnear_get_options *options);

// What they ask of a record.
struct direct_wish get_wish(const pgnear_get_options *options);

// Asks the node; `wish` is that of the look that did not answer. As pgnear_get otherwise.
pgnear_code get_ask(pgnear *handle, pgnear_bytes key, const pgnear_get_options *options,
                    struct direct_wish *wish, pgnear_item *item, pgnear_error *error);
