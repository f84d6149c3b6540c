// The meta records of the outbox: the layout, the node and its starts, whose outbox it is, and the
// numbers that its transactions move. Their rows are those of cache/outbox_rows.h.
#include "base/check.h"
#include "base/mpack.h"
#include "cache/outbox_rows.h"

enum { BINDING_FIELDS = 3, SERVER_FIELDS = 2, NUMBERS = 7 };

struct number {
    const char *name;
    uint64_t value;
};

static void list_numbers(const struct outbox_state *state, struct number numbers[NUMBERS])
{
    numbers[0] = (struct number){"layout", state->layout};
    numbers[1] = (struct number){"ceiling", state->ceiling};
    numbers[2] = (struct number){"applied", state->applied_seq};
    numbers[3] = (struct number){"trimmed", state->trimmed_seq};
    numbers[4] = (struct number){"log_generation", state->generation};
    numbers[5] = (struct number){"reapply", state->reapply_seq};
    numbers[6] = (struct number){"former", state->former_seq};
}

// ---- what the start reads

static enum error load_incarnations(struct outbox *outbox)
{
    struct slice list = {0};
    enum error error = outbox_row_get(outbox, "incarnations", &list);
    if (error == ERROR_NOT_FOUND) {
        return ERROR_NONE;
    }
    if (error != ERROR_NONE || list.len % UUID_BYTES != 0 ||
        list.len > sizeof outbox->incarnations) {
        return ERROR_CORRUPT;
    }
    memcpy(outbox->incarnations, list.at, list.len);
    outbox->incarnations_count = list.len / UUID_BYTES;
    return ERROR_NONE;
}

// Adds this start to the list; the oldest makes room.
static enum error journal_incarnation(struct outbox *outbox)
{
    char list[OUTBOX_INCARNATIONS_MAX][UUID_BYTES];
    size_t kept = outbox->incarnations_count;
    size_t skipped = kept == OUTBOX_INCARNATIONS_MAX ? 1 : 0;
    memcpy(list, outbox->incarnations + skipped, (kept - skipped) * UUID_BYTES);
    memcpy(list[kept - skipped], outbox->identity.incarnation, UUID_BYTES);
    return outbox_row_put(outbox, "incarnations",
                          slice_of(list, (kept - skipped + 1) * UUID_BYTES));
}

static enum error load_node(struct outbox *outbox)
{
    struct slice node = {0};
    enum error error = outbox_row_get(outbox, "node", &node);
    if (error == ERROR_NONE) {
        if (node.len != UUID_BYTES || node.at[UUID_BYTES - 1] != '\0') {
            return ERROR_CORRUPT;
        }
        memcpy(outbox->identity.node, node.at, UUID_BYTES);
        return ERROR_NONE;
    }
    char uuid[BOOT_ID_BYTES];
    if (error != ERROR_NOT_FOUND || directory_random_uuid(uuid) != ERROR_NONE) {
        return ERROR_SYSTEM;
    }
    memcpy(outbox->identity.node, uuid, UUID_BYTES);
    return outbox_row_put(outbox, "node", slice_of(outbox->identity.node, UUID_BYTES));
}

// One string of the binding; false where there is none or it is too long.
static bool read_text(struct mpack_cursor *cursor, char *text, size_t text_bytes)
{
    struct slice read;
    if (!mpack_read_str(cursor, &read) || read.len >= text_bytes) {
        return false;
    }
    memcpy(text, read.at, read.len);
    text[read.len] = '\0';
    return true;
}

static enum error load_binding(struct outbox *outbox)
{
    struct slice bytes = {0};
    enum error error = outbox_row_get(outbox, "binding", &bytes);
    if (error != ERROR_NONE) {
        return error == ERROR_NOT_FOUND ? ERROR_NONE : error;
    }
    struct outbox_binding *binding = &outbox->identity.binding;
    struct mpack_cursor cursor = mpack_cursor_of(bytes);
    uint32_t fields;
    bool whole = mpack_read_array(&cursor, &fields) && fields == BINDING_FIELDS &&
                 read_text(&cursor, binding->system_identifier, SYSTEM_IDENTIFIER_BYTES) &&
                 read_text(&cursor, binding->database, DATABASE_BYTES) &&
                 read_text(&cursor, binding->table, TABLE_BYTES);
    return whole ? ERROR_NONE : ERROR_CORRUPT;
}

// A release before this one noted it in the cache alone.
static enum error load_server(struct outbox *outbox)
{
    struct slice bytes = {0};
    enum error error = outbox_row_get(outbox, "server", &bytes);
    if (error != ERROR_NONE) {
        return error == ERROR_NOT_FOUND ? ERROR_NONE : error;
    }
    struct server_start *server = &outbox->state.server;
    struct mpack_cursor cursor = mpack_cursor_of(bytes);
    uint32_t fields;
    bool whole = mpack_read_array(&cursor, &fields) && fields == SERVER_FIELDS &&
                 mpack_read_int(&cursor, &server->started_us) &&
                 read_text(&cursor, server->timeline, sizeof server->timeline);
    return whole ? ERROR_NONE : ERROR_CORRUPT;
}

// What a later release has in its other rows is not known.
static enum error load_layout(struct outbox *outbox)
{
    uint64_t *layout = &outbox->state.layout;
    enum error error = outbox_row_read_layout(outbox, layout);
    if (error == ERROR_NONE && *layout == 0) {
        *layout = OUTBOX_LAYOUT_ALONE;
    }
    return error == ERROR_NONE && *layout > OUTBOX_LAYOUT_MAX ? ERROR_CORRUPT : error;
}

static enum error load_log(struct outbox *outbox)
{
    struct slice id = {0};
    enum error error = outbox_row_get_number(outbox, "log_generation", &outbox->state.generation);
    if (error == ERROR_NONE) {
        error = outbox_row_get(outbox, "log", &id);
    }
    if (error == ERROR_NOT_FOUND) {
        return outbox_layout_logs(outbox->state.layout) ? ERROR_CORRUPT : ERROR_NONE;
    }
    if (error == ERROR_NONE && id.len != sizeof outbox->log_id) {
        error = ERROR_CORRUPT;
    }
    if (error == ERROR_NONE) {
        memcpy(outbox->log_id, id.at, id.len);
    }
    return error;
}

enum error outbox_put_log_id(struct outbox *outbox, const char *id)
{
    memcpy(outbox->log_id, id, sizeof outbox->log_id);
    return outbox_row_put(outbox, "log", slice_of(outbox->log_id, sizeof outbox->log_id));
}

static enum error load_numbers(struct outbox *outbox)
{
    struct outbox_state *state = &outbox->state;
    enum error error = outbox_row_get_number(outbox, "applied", &state->applied_seq);
    if (error == ERROR_NONE) {
        error = outbox_row_get_number(outbox, "trimmed", &state->trimmed_seq);
    }
    if (error == ERROR_NONE) {
        error = outbox_row_get_number(outbox, "ceiling", &state->ceiling);
    }
    if (error == ERROR_NONE) {
        error = outbox_row_get_number(outbox, "reapply", &state->reapply_seq);
    }
    if (error == ERROR_NONE) {
        error = outbox_row_get_number(outbox, "former", &state->former_seq);
    }
    MDB_cursor *cursor;
    if (error != ERROR_NONE || mdb_cursor_open(outbox->txn, outbox->entries, &cursor) != 0) {
        return error != ERROR_NONE ? error : ERROR_SYSTEM;
    }
    MDB_val key, value;
    state->last_seq =
        state->applied_seq > state->trimmed_seq ? state->applied_seq : state->trimmed_seq;
    if (mdb_cursor_get(cursor, &key, &value, MDB_LAST) == MDB_SUCCESS &&
        environment_number_of(key) > state->last_seq) {
        state->last_seq = environment_number_of(key);
    }
    mdb_cursor_close(cursor);
    if (state->last_seq > state->ceiling) {
        return ERROR_CORRUPT;
    }
    outbox->next_seq = state->ceiling + 1;
    state->ceiling += OUTBOX_SEQ_CHUNK;
    return ERROR_NONE;
}

static enum error new_incarnation(struct outbox *outbox)
{
    char uuid[BOOT_ID_BYTES];
    enum error error = directory_random_uuid(uuid);
    if (error == ERROR_NONE) {
        memcpy(outbox->identity.incarnation, uuid, UUID_BYTES);
        error = journal_incarnation(outbox);
    }
    return error;
}

// All of them, so that one that is missing later is damage.
static enum error put_numbers(struct outbox *outbox)
{
    struct number numbers[NUMBERS];
    list_numbers(&outbox->state, numbers);
    enum error error = ERROR_NONE;
    for (size_t i = 0; error == ERROR_NONE && i < NUMBERS; i++) {
        error = outbox_row_put_number(outbox, numbers[i].name, numbers[i].value);
    }
    return error;
}

enum error outbox_load_meta(struct outbox *outbox)
{
    enum error (*const steps[])(struct outbox *) = {
        load_layout,      outbox_rows_check, load_node,   load_binding,
        load_server,      load_numbers,      load_log,    load_incarnations,
        outbox_check_ids, new_incarnation,   put_numbers,
    };
    enum error error = ERROR_NONE;
    for (size_t i = 0; error == ERROR_NONE && i < sizeof steps / sizeof steps[0]; i++) {
        error = steps[i](outbox);
    }
    return error;
}

bool outbox_knows_incarnation(const struct outbox *outbox, const char *incarnation)
{
    for (size_t i = 0; i < outbox->incarnations_count; i++) {
        if (strcmp(outbox->incarnations[i], incarnation) == 0) {
            return true;
        }
    }
    return false;
}

// ---- what transactions write

static enum error put_server(struct outbox *outbox)
{
    const struct server_start *server = &outbox->state.server;
    struct buffer bytes = {0};
    msgpack_packer packer;
    mpack_packer_init(&packer, &bytes);
    msgpack_pack_array(&packer, SERVER_FIELDS);
    msgpack_pack_int64(&packer, server->started_us);
    mpack_pack_string(&packer, server->timeline);
    enum error error = outbox_row_put(outbox, "server", buffer_slice(&bytes));
    buffer_deinit(&bytes);
    return error;
}

enum error outbox_put_state(struct outbox *outbox)
{
    struct number numbers[NUMBERS];
    struct number then[NUMBERS];
    list_numbers(&outbox->state, numbers);
    list_numbers(&outbox->committed, then);
    enum error error = ERROR_NONE;
    for (size_t i = 0; error == ERROR_NONE && i < NUMBERS; i++) {
        if (numbers[i].value != then[i].value) {
            error = outbox_row_put_number(outbox, numbers[i].name, numbers[i].value);
        }
    }
    if (error == ERROR_NONE &&
        !server_start_is_same(&outbox->state.server, &outbox->committed.server)) {
        error = put_server(outbox);
    }
    return error;
}

bool outbox_is_bound_elsewhere(const struct outbox *outbox, const struct outbox_binding *binding)
{
    const struct outbox_binding *bound = &outbox->identity.binding;
    return bound->system_identifier[0] != '\0' && !outbox_binding_is_same(bound, binding);
}

enum error outbox_bind(struct outbox *outbox, const struct outbox_binding *binding,
                       const struct server_start *server)
{
    CHECK(outbox->txn != NULL);
    if (outbox_is_bound_elsewhere(outbox, binding)) {
        outbox->state.former_seq = outbox->state.applied_seq;
    }
    if (outbox->state.server.started_us == 0) {
        outbox->state.server = *server;
    }
    struct buffer bytes = {0};
    msgpack_packer packer;
    mpack_packer_init(&packer, &bytes);
    msgpack_pack_array(&packer, BINDING_FIELDS);
    mpack_pack_string(&packer, binding->system_identifier);
    mpack_pack_string(&packer, binding->database);
    mpack_pack_string(&packer, binding->table);
    enum error error = outbox_row_put(outbox, "binding", buffer_slice(&bytes));
    buffer_deinit(&bytes);
    return error;
}
