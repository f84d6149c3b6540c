// A count in a response is believed only as far as there are bytes for it: each element takes one
// at least, so no array is larger than the response that announces it.

#include "client/results.h"

static bool read_version(struct mpack_cursor *cursor, bool *has_version, int64_t *version)
{
    *has_version = mpack_read_int(cursor, version);
    return *has_version || mpack_read_nil(cursor);
}

static bool read_value(struct mpack_cursor *cursor, pgnear_bytes *value)
{
    struct slice bytes;
    if (mpack_skip(cursor, &bytes) != DECODE_OK) {
        return false;
    }
    *value = bytes_of_slice(bytes);
    return true;
}

static bool read_text(struct mpack_cursor *cursor, pgnear_bytes *text)
{
    struct slice bytes;
    if (!mpack_read_str(cursor, &bytes)) {
        return false;
    }
    *text = bytes_of_slice(bytes);
    return true;
}

// The head of an array, and room for its elements.
static bool read_array(pgnear *handle, struct mpack_cursor *cursor, size_t element_size,
                       uint32_t *count, void **elements)
{
    if (!mpack_read_array(cursor, count) || *count > (size_t)(cursor->end - cursor->at)) {
        return false;
    }
    *elements = *count == 0 ? NULL : arena_alloc(&handle->results, *count * element_size);
    return true;
}

// Reads one element into zeroed memory.
typedef bool (*read_element)(struct mpack_cursor *cursor, void *element);

// An array of what `read` reads. `count` may be NULL, and is written on success only.
static bool read_list(pgnear *handle, struct mpack_cursor *cursor, size_t element_size,
                      read_element read, const void **elements, size_t *count)
{
    uint32_t answered;
    void *room;
    if (!read_array(handle, cursor, element_size, &answered, &room)) {
        return false;
    }
    for (uint32_t i = 0; i < answered; i++) {
        if (!read(cursor, (char *)room + i * element_size)) {
            return false;
        }
    }
    *elements = room;
    if (count != NULL) {
        *count = answered;
    }
    return true;
}

bool result_item(struct mpack_cursor *cursor, pgnear_item *item)
{
    *item = (pgnear_item){0};
    if (mpack_read_nil(cursor)) {
        return true;
    }
    uint32_t count;
    item->present = true;
    return mpack_read_array(cursor, &count) && count == 2 && read_value(cursor, &item->value) &&
           read_version(cursor, &item->has_version, &item->version);
}

static bool read_item(struct mpack_cursor *cursor, void *element)
{
    return result_item(cursor, element);
}

bool result_items(pgnear *handle, struct mpack_cursor *cursor, size_t count,
                  const pgnear_item **items)
{
    const void *list;
    size_t answered;
    bool good = read_list(handle, cursor, sizeof(pgnear_item), read_item, &list, &answered) &&
                answered == count;
    if (good) {
        *items = list;
    }
    return good;
}

bool result_flag(struct mpack_cursor *cursor, bool *flag)
{
    bool answered;
    bool good = mpack_read_bool(cursor, &answered);
    if (good && flag != NULL) {
        *flag = answered;
    }
    return good;
}

bool result_written(struct mpack_cursor *cursor, pgnear_written *written)
{
    pgnear_written answered = {0};
    bool has_seq = false;
    uint32_t count;
    bool good = mpack_read_map(cursor, &count);
    for (uint32_t i = 0; good && i < count; i++) {
        struct slice name;
        good = mpack_read_str(cursor, &name);
        if (good && slice_equal(name, slice_of_string("seq"))) {
            good = has_seq = mpack_read_uint(cursor, &answered.seq);
        } else if (good && slice_equal(name, slice_of_string("version"))) {
            good = read_version(cursor, &answered.has_version, &answered.version);
        } else if (good && slice_equal(name, slice_of_string("deleted"))) {
            good = answered.has_deleted = mpack_read_uint(cursor, &answered.deleted);
        } else {
            good = good && mpack_skip(cursor, NULL) == DECODE_OK;
        }
    }
    if (good && has_seq && written != NULL) {
        *written = answered;
    }
    return good && has_seq;
}

static bool read_page_items(pgnear *handle, struct mpack_cursor *cursor, pgnear_page *page)
{
    uint32_t count;
    void *room;
    if (!read_array(handle, cursor, sizeof(pgnear_item), &count, &room)) {
        return false;
    }
    pgnear_item *items = room;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t parts;
        int64_t expires_at_us = 0;
        items[i].present = true;
        if (!mpack_read_array(cursor, &parts) || parts < 3 || parts > 4 ||
            !read_text(cursor, &items[i].key) || !read_value(cursor, &items[i].value) ||
            !read_version(cursor, &items[i].has_version, &items[i].version) ||
            (parts == 4 && !mpack_read_nil(cursor) && !mpack_read_int(cursor, &expires_at_us))) {
            return false;
        }
        items[i].expires_at_us = expires_at_us;
    }
    page->items = items;
    page->items_count = count;
    return true;
}

static bool read_text_element(struct mpack_cursor *cursor, void *element)
{
    return read_text(cursor, element);
}

bool result_texts(pgnear *handle, struct mpack_cursor *cursor, const pgnear_bytes **texts,
                  size_t *count)
{
    const void *list;
    bool good = read_list(handle, cursor, sizeof(pgnear_bytes), read_text_element, &list, count);
    if (good && texts != NULL) {
        *texts = list;
    }
    return good;
}

bool result_page(pgnear *handle, struct mpack_cursor *cursor, pgnear_page *page)
{
    pgnear_page answered = {0};
    bool has_items = false;
    uint32_t count;
    bool good = mpack_read_map(cursor, &count);
    for (uint32_t i = 0; good && i < count; i++) {
        struct slice name;
        good = mpack_read_str(cursor, &name);
        if (good && slice_equal(name, slice_of_string("items"))) {
            good = has_items = read_page_items(handle, cursor, &answered);
        } else if (good && slice_equal(name, slice_of_string("next"))) {
            answered.has_next = read_text(cursor, &answered.next);
            good = answered.has_next || mpack_read_nil(cursor);
        } else if (good && slice_equal(name, slice_of_string("skipped"))) {
            good = result_texts(handle, cursor, &answered.skipped, &answered.skipped_count);
        } else {
            good = good && mpack_skip(cursor, NULL) == DECODE_OK;
        }
    }
    if (good && has_items && page != NULL) {
        *page = answered;
    }
    return good && has_items;
}

static bool read_check(struct mpack_cursor *cursor, void *element)
{
    pgnear_check_item *check = element;
    uint32_t count;
    bool good = mpack_read_map(cursor, &count);
    for (uint32_t i = 0; good && i < count; i++) {
        struct slice name;
        good = mpack_read_str(cursor, &name);
        if (good && slice_equal(name, slice_of_string("item"))) {
            good = read_text(cursor, &check->item);
        } else if (good && slice_equal(name, slice_of_string("message"))) {
            good = read_text(cursor, &check->message);
        } else if (good && slice_equal(name, slice_of_string("ok"))) {
            good = mpack_read_bool(cursor, &check->ok);
        } else {
            good = good && mpack_skip(cursor, NULL) == DECODE_OK;
        }
    }
    return good;
}

bool result_checks(pgnear *handle, struct mpack_cursor *cursor, const pgnear_check_item **items,
                   size_t *count)
{
    const void *list;
    bool good = read_list(handle, cursor, sizeof(pgnear_check_item), read_check, &list, count);
    if (good && items != NULL) {
        *items = list;
    }
    return good;
}

static bool read_revision(struct mpack_cursor *cursor, void *element)
{
    pgnear_revision *revision = element;
    uint32_t fields;
    struct slice op;
    if (!mpack_read_array(cursor, &fields) || fields != 4 ||
        !mpack_read_int(cursor, &revision->version) || !read_value(cursor, &revision->value) ||
        !mpack_read_str(cursor, &op) || !mpack_read_int(cursor, &revision->at_us)) {
        return false;
    }
    revision->deleted = slice_equal(op, slice_of_string("delete"));
    if (revision->deleted) {
        revision->value = (pgnear_bytes){0};
    }
    return true;
}

bool result_history(pgnear *handle, struct mpack_cursor *cursor, const pgnear_revision **revisions,
                    size_t *count)
{
    const void *list;
    bool good = read_list(handle, cursor, sizeof(pgnear_revision), read_revision, &list, count);
    if (good && revisions != NULL) {
        *revisions = list;
    }
    return good;
}

static bool read_letter_field(struct mpack_cursor *cursor, struct slice name,
                              pgnear_dead_letter *letter)
{
    const struct {
        const char *name;
        uint64_t *number;
        pgnear_bytes *text;
    } fields[] = {
        {"seq", &letter->seq, NULL},           {"keys", &letter->keys, NULL},
        {"key", NULL, &letter->key},           {"op", NULL, &letter->op},
        {"sqlstate", NULL, &letter->sqlstate}, {"message", NULL, &letter->message},
    };
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        if (slice_equal(name, slice_of_string(fields[i].name))) {
            return fields[i].number != NULL ? mpack_read_uint(cursor, fields[i].number)
                                            : read_text(cursor, fields[i].text);
        }
    }
    if (slice_equal(name, slice_of_string("at_us"))) {
        return mpack_read_int(cursor, &letter->at_us);
    }
    return mpack_skip(cursor, NULL) == DECODE_OK;
}

static bool read_letter(struct mpack_cursor *cursor, void *element)
{
    pgnear_dead_letter *letter = element;
    uint32_t count;
    bool good = mpack_read_map(cursor, &count);
    for (uint32_t i = 0; good && i < count; i++) {
        struct slice name;
        good = mpack_read_str(cursor, &name) && read_letter_field(cursor, name, letter);
    }
    return good && letter->seq != 0;
}

bool result_letters(pgnear *handle, struct mpack_cursor *cursor, const pgnear_dead_letter **letters,
                    size_t *count)
{
    const void *list;
    bool good = read_list(handle, cursor, sizeof(pgnear_dead_letter), read_letter, &list, count);
    if (good && letters != NULL) {
        *letters = list;
    }
    return good;
}

bool result_backup(struct mpack_cursor *cursor, pgnear_backup_item *backup)
{
    pgnear_backup_item answered = {0};
    bool has_rows = false;
    uint32_t count;
    bool good = mpack_read_map(cursor, &count);
    for (uint32_t i = 0; good && i < count; i++) {
        struct slice name;
        good = mpack_read_str(cursor, &name);
        if (good && slice_equal(name, slice_of_string("table"))) {
            good = read_text(cursor, &answered.table);
        } else if (good && slice_equal(name, slice_of_string("rows"))) {
            good = has_rows = mpack_read_uint(cursor, &answered.rows);
        } else if (good && slice_equal(name, slice_of_string("created_at"))) {
            good = read_text(cursor, &answered.created_at);
        } else {
            good = good && mpack_skip(cursor, NULL) == DECODE_OK;
        }
    }
    if (good && has_rows && backup != NULL) {
        *backup = answered;
    }
    return good && has_rows;
}

static bool read_backup(struct mpack_cursor *cursor, void *element)
{
    return result_backup(cursor, element);
}

bool result_backups(pgnear *handle, struct mpack_cursor *cursor, const pgnear_backup_item **backups,
                    size_t *count)
{
    const void *list;
    bool good = read_list(handle, cursor, sizeof(pgnear_backup_item), read_backup, &list, count);
    if (good && backups != NULL) {
        *backups = list;
    }
    return good;
}

pgnear_code result_garbled(const char *method, pgnear_error *error)
{
    return outcome_set(error, PGNEAR_PROTOCOL, "the node's answer to %s is not of its protocol",
                       method);
}
