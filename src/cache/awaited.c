// A hash table of keys. A key that is not in it is not believed, so forgetting is always right.
#include "cache/awaited.h"

#include <stdlib.h>

#include "base/hash.h"

struct awaited_key {
    UT_hash_handle hh;
    uint64_t last_seq;
    bool tainted;
    bool is_left; // its newest write was taken back, so that no result will settle it
    size_t key_bytes;
    uint8_t key[];
};

static struct awaited_key *find(struct awaited *awaited, struct slice key)
{
    struct awaited_key *found;
    HASH_FIND(hh, awaited->keys, key.at, (unsigned)key.len, found);
    return found;
}

void awaited_deinit(struct awaited *awaited)
{
    struct awaited_key *each = awaited->keys;
    HASH_CLEAR(hh, awaited->keys); // frees the table; the list of its elements stays
    while (each != NULL) {
        struct awaited_key *next = each->hh.next;
        free(each);
        each = next;
    }
    *awaited = (struct awaited){0};
}

void awaited_add(struct awaited *awaited, struct slice key, uint64_t seq)
{
    struct awaited_key *held = find(awaited, key);
    if (held == NULL) {
        held = memory_zeroed(1, sizeof *held + key.len);
        held->key_bytes = key.len;
        memcpy(held->key, key.at, key.len);
        HASH_ADD_KEYPTR(hh, awaited->keys, held->key, (unsigned)key.len, held);
    }
    held->last_seq = seq > held->last_seq ? seq : held->last_seq;
}

void awaited_taint(struct awaited *awaited, struct slice key)
{
    struct awaited_key *held = find(awaited, key);
    if (held != NULL) {
        held->tainted = true;
    }
}

void awaited_taint_all(struct awaited *awaited, uint64_t last_seq)
{
    awaited->distrusted_seq = last_seq;
}

static void forget(struct awaited *awaited, struct awaited_key *held)
{
    awaited->left_count -= held->is_left;
    HASH_DEL(awaited->keys, held);
    free(held);
}

bool awaited_settle(struct awaited *awaited, struct slice key, uint64_t seq)
{
    struct awaited_key *held = find(awaited, key);
    if (held == NULL) {
        return false;
    }
    bool believed = !held->tainted && seq > awaited->distrusted_seq;
    if (held->last_seq <= seq) {
        forget(awaited, held);
    }
    return believed;
}

void awaited_take_back(struct awaited *awaited, struct slice key, uint64_t seq)
{
    struct awaited_key *held = find(awaited, key);
    if (held != NULL && held->last_seq <= seq && !held->is_left) {
        held->is_left = true;
        awaited->left_count++;
    }
}

void awaited_pass(struct awaited *awaited, uint64_t applied_seq)
{
    struct awaited_key *each = awaited->left_count > 0 ? awaited->keys : NULL;
    while (each != NULL) {
        struct awaited_key *next = each->hh.next;
        if (each->is_left && each->last_seq <= applied_seq) {
            forget(awaited, each);
        }
        each = next;
    }
}
