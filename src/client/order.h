// Which keys a connection still has undecided requests on. A get must not overtake an earlier
// request on its key, so one that could be answered from the map goes the same way as those.
//
// Keys are told apart by a part of their hash: where two share it, a get asks the node in vain. One
// thread at a time; the memory of all zeroes is valid, and nothing is undecided.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/check.h"
#include "client/response.h"

enum { ORDER_PARTS = 1024 };

struct order {
    uint32_t keys[ORDER_PARTS];
    uint32_t others; // of which nobody knows what keys they change
};

static inline uint32_t *order_place(struct order *order, enum request_kind kind, uint64_t hash)
{
    return kind == REQUEST_OTHER ? &order->others : &order->keys[hash % ORDER_PARTS];
}

static inline void order_begin(struct order *order, enum request_kind kind, uint64_t hash)
{
    ++*order_place(order, kind, hash);
}

static inline void order_end(struct order *order, enum request_kind kind, uint64_t hash)
{
    uint32_t *place = order_place(order, kind, hash);
    CHECK(*place > 0);
    --*place;
}

// Whether a get of the key comes behind nothing.
static inline bool order_is_free(const struct order *order, uint64_t hash)
{
    return order->others == 0 && order->keys[hash % ORDER_PARTS] == 0;
}
