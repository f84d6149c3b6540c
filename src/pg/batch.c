#include "pg/batch.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/hash.h"

struct batch_key {
    UT_hash_handle hh;
    struct slice key;
    struct batch_op *last;
};

void batch_init(struct batch *batch, const struct batch_limits *limits)
{
    CHECK(limits->rows_max > 0 && limits->entries_max > 0);
    *batch = (struct batch){.limits = *limits};
}

void batch_deinit(struct batch *batch)
{
    HASH_CLEAR(hh, batch->keys);
    free(batch->entries);
    free(batch->ops);
    free(batch->groups);
    arena_deinit(&batch->arena);
    *batch = (struct batch){0};
}

// ---- Adding

static struct batch_key *find_key(const struct batch *batch, struct slice key)
{
    struct batch_key *found;
    HASH_FIND(hh, batch->keys, key.at, key.len, found);
    return found;
}

// Grows an array by doubling so that one more fits.
static void *room_for_one(void *array, size_t count, size_t *capacity, size_t size)
{
    if (count < *capacity) {
        return array;
    }
    *capacity = *capacity == 0 ? 64 : 2 * *capacity;
    return memory_resize(array, *capacity * size);
}

static enum batch_kind kind_of(const struct batch *batch, const struct entry *entry)
{
    switch (entry->op) {
    case ENTRY_INCR:
        return BATCH_INCR;
    case ENTRY_MERGE:
        return BATCH_MERGE;
    case ENTRY_TOUCH:
        return BATCH_TOUCH;
    case ENTRY_DELETE:
        return entry->condition == CONDITION_IF_VERSION ? BATCH_DELETE_IF_VERSION : BATCH_DELETE;
    case ENTRY_SET:
        break;
    }
    switch (entry->condition) {
    case CONDITION_IF_VERSION:
        return BATCH_PUT_IF_VERSION;
    case CONDITION_IF_ABSENT:
        return BATCH_PUT_IF_ABSENT;
    case CONDITION_NONE:
        break;
    }
    bool has_expired = entry->expires_at_us != 0 && entry->expires_at_us <= batch->limits.now_us;
    return has_expired ? BATCH_DELETE : BATCH_PUT;
}

// An mset answers its seq alone, whatever it waits for, and so does what tries a letter again; but
// an incr, a merge or a touch is never without its result.
static bool returns_result(const struct entry *entry)
{
    if (entry->letter_seq != 0) {
        return entry->op != ENTRY_SET && entry->op != ENTRY_DELETE;
    }
    return entry_returns_result(entry) ||
           (entry->ack == ACK_POSTGRES && (entry->op == ENTRY_DELETE || entry->pairs_count == 1));
}

// Whether `op` makes the write before it needless. A delete that counts needs what it deletes.
static bool may_absorb(const struct batch *batch, const struct batch_op *before,
                       const struct batch_op *op)
{
    bool is_plain = op->kind == BATCH_PUT || (op->kind == BATCH_DELETE && !op->returns);
    bool was_plain = before->kind == BATCH_PUT || before->kind == BATCH_DELETE;
    if (before->entry == op->entry) {
        return true; // an mset that names a key twice: the last one wins
    }
    return !batch->limits.versioning && is_plain && was_plain && !before->returns;
}

static void link_op(struct batch *batch, struct batch_op *op)
{
    struct batch_key *key = find_key(batch, op->key);
    if (key == NULL) {
        key = arena_alloc(&batch->arena, sizeof *key);
        key->key = op->key;
        HASH_ADD_KEYPTR(hh, batch->keys, key->key.at, key->key.len, key);
    } else if (may_absorb(batch, key->last, op)) {
        struct batch_op *before = key->last;
        before->absorbed = true;
        op->before = before->before;
        op->level = before->level;
        batch->rows_count--;
    } else {
        op->before = key->last;
        op->level = key->last->level + 1;
    }
    key->last = op;
    batch->rows_count++;
}

static struct batch_op *add_op(struct batch *batch, const struct entry *entry,
                               struct batch_entry *owner, const struct pair *pair)
{
    struct batch_op *op = arena_alloc(&batch->arena, sizeof *op);
    *op = (struct batch_op){
        .entry = owner,
        .kind = kind_of(batch, entry),
        .returns = owner->returns,
        .key = arena_copy(&batch->arena, pair->key),
        .value = arena_copy(&batch->arena, pair->value),
        .expires_at_us = entry->expires_at_us,
        .if_version = entry->if_version,
    };
    batch->ops =
        room_for_one(batch->ops, batch->ops_count, &batch->ops_capacity, sizeof *batch->ops);
    batch->ops[batch->ops_count++] = op;
    batch->bytes += pair->key.len + pair->value.len;
    link_op(batch, op);
    return op;
}

// Whether a write of the entry would stand higher than a batch may reach.
static bool is_too_high(const struct batch *batch, const struct entry *entry)
{
    struct entry_cursor cursor = entry_cursor_of(entry);
    struct pair pair;
    while (entry_next_pair(&cursor, &pair)) {
        const struct batch_key *key = find_key(batch, pair.key);
        if (key != NULL && key->last->level + 1 >= BATCH_LEVELS_MAX) {
            return true;
        }
    }
    return false;
}

static bool has_room(const struct batch *batch, const struct entry *entry)
{
    if (batch->entries_count == 0 || batch->limits.is_unbounded) {
        return true;
    }
    if (batch->entries_count >= batch->limits.entries_max || entry->is_guarded ||
        batch->entries[batch->entries_count - 1]->is_guarded) {
        return false;
    }
    if (entry->retired) {
        return true;
    }
    return batch->rows_count + entry->pairs_count <= batch->limits.rows_max &&
           batch->bytes + entry->pairs.len <= BATCH_BYTES_MAX && !is_too_high(batch, entry);
}

bool batch_add(struct batch *batch, const struct entry *entry)
{
    CHECK(!batch->is_sealed);
    CHECK(batch->entries_count == 0 || entry->seq > batch_to_seq(batch));
    if (!has_room(batch, entry)) {
        return false;
    }
    struct batch_entry *added = arena_alloc(&batch->arena, sizeof *added);
    *added = (struct batch_entry){
        .seq = entry->seq,
        .op = entry->op,
        .ack = entry->ack,
        .condition = entry->condition,
        .is_retired = entry->retired,
        .returns = !entry->retired && returns_result(entry),
        .is_guarded = !entry->retired && entry->is_guarded,
        .guards = arena_copy(&batch->arena, entry->guards),
        .letter_seq = entry->letter_seq,
        .id = arena_copy(&batch->arena, entry->id),
    };
    batch->entries = room_for_one(batch->entries, batch->entries_count, &batch->entries_capacity,
                                  sizeof *batch->entries);
    batch->entries[batch->entries_count++] = added;
    if (entry->retired) {
        return true;
    }
    added->ops = arena_alloc(&batch->arena, entry->pairs_count * sizeof *added->ops);
    struct entry_cursor cursor = entry_cursor_of(entry);
    struct pair pair;
    while (entry_next_pair(&cursor, &pair)) {
        CHECK(added->ops_count < entry->pairs_count);
        added->ops[added->ops_count++] = add_op(batch, entry, added, &pair);
    }
    return true;
}

// ---- Sealing

static int compare_ops(const void *a, const void *b)
{
    const struct batch_op *left = *(struct batch_op *const *)a;
    const struct batch_op *right = *(struct batch_op *const *)b;
    if (left->level != right->level) {
        return left->level < right->level ? -1 : 1;
    }
    if (left->kind != right->kind) {
        return left->kind < right->kind ? -1 : 1;
    }
    if (left->returns != right->returns) {
        return left->returns ? 1 : -1;
    }
    return slice_compare(left->key, right->key);
}

static bool belongs(const struct batch_group *group, const struct batch_op *op)
{
    return group->level == op->level && group->kind == op->kind && group->returns == op->returns &&
           (!op->returns || group->ops_count < BATCH_GROUP_RESULTS_MAX);
}

static struct batch_group *open_group(struct batch *batch, struct batch_op **first)
{
    batch->groups = room_for_one(batch->groups, batch->groups_count, &batch->groups_capacity,
                                 sizeof *batch->groups);
    struct batch_group *group = &batch->groups[batch->groups_count++];
    *group = (struct batch_group){
        .kind = (*first)->kind,
        .level = (*first)->level,
        .returns = (*first)->returns,
        .ops = first,
    };
    return group;
}

void batch_seal(struct batch *batch)
{
    CHECK(!batch->is_sealed);
    batch->is_sealed = true;
    size_t rows_count = 0;
    for (size_t i = 0; i < batch->ops_count; i++) {
        if (!batch->ops[i]->absorbed) {
            batch->ops[rows_count++] = batch->ops[i];
        }
    }
    CHECK_VALUES(rows_count == batch->rows_count, "%zu of %zu rows", rows_count, batch->rows_count);
    batch->ops_count = rows_count;
    if (rows_count > 0) {
        qsort(batch->ops, rows_count, sizeof *batch->ops, compare_ops);
    }
    struct batch_group *group = NULL;
    for (size_t i = 0; i < rows_count; i++) {
        if (group == NULL || !belongs(group, batch->ops[i])) {
            group = open_group(batch, &batch->ops[i]);
        }
        group->ops_count++;
    }
}

// ---- Asking

uint64_t batch_to_seq(const struct batch *batch)
{
    CHECK(batch->entries_count > 0);
    return batch->entries[batch->entries_count - 1]->seq;
}

struct batch_entry *batch_find(const struct batch *batch, uint64_t seq)
{
    size_t low = 0, high = batch->entries_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (batch->entries[middle]->seq < seq) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    bool found = low < batch->entries_count && batch->entries[low]->seq == seq;
    return found ? batch->entries[low] : NULL;
}

struct batch_op *batch_group_find(const struct batch_group *group, struct slice key)
{
    size_t low = 0, high = group->ops_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (slice_compare(group->ops[middle]->key, key) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    bool found = low < group->ops_count && slice_equal(group->ops[low]->key, key);
    return found ? group->ops[low] : NULL;
}

bool batch_has_key(const struct batch *batch, struct slice key)
{
    return find_key(batch, key) != NULL;
}

size_t batch_keys_count(const struct batch *batch)
{
    return HASH_COUNT(batch->keys);
}

void batch_visit_keys(const struct batch *batch, void *context,
                      void (*visit)(void *context, struct batch_op *last))
{
    for (const struct batch_key *key = batch->keys; key != NULL; key = key->hh.next) {
        visit(context, key->last);
    }
}
