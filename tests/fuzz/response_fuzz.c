// Any bytes as what a node sends to the library: responses to every kind of request and events.
// Nothing is handed out that does not lie in the frame, and what is no answer is told to be none.
// The first byte says which result the frame is read as besides.
#include "base/check.h"
#include "client/response.h"
#include "client/results.h"

enum { ITEMS = 3 };

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static void check_within(struct slice frame, pgnear_bytes part)
{
    const uint8_t *at = part.at;
    CHECK(part.len == 0 || (at >= frame.at && at + part.len <= frame.at + frame.len));
}

static void check_item(struct slice frame, const pgnear_item *item)
{
    if (item->present) {
        check_within(frame, item->value);
    }
}

static void read_listing(struct slice frame, pgnear *handle)
{
    const pgnear_revision *revisions;
    const pgnear_dead_letter *letters;
    const pgnear_check_item *checks;
    const pgnear_bytes *texts;
    size_t count;
    struct mpack_cursor cursor = mpack_cursor_of(frame);
    if (result_history(handle, &cursor, &revisions, &count)) {
        for (size_t i = 0; i < count; i++) {
            check_within(frame, revisions[i].value);
        }
    }
    cursor = mpack_cursor_of(frame);
    if (result_letters(handle, &cursor, &letters, &count)) {
        for (size_t i = 0; i < count; i++) {
            check_within(frame, letters[i].key);
        }
    }
    cursor = mpack_cursor_of(frame);
    result_checks(handle, &cursor, &checks, &count);
    cursor = mpack_cursor_of(frame);
    if (result_texts(handle, &cursor, &texts, &count)) {
        for (size_t i = 0; i < count; i++) {
            check_within(frame, texts[i]);
        }
    }
}

static void read_result(struct slice frame, uint8_t choice, pgnear *handle)
{
    struct mpack_cursor cursor = mpack_cursor_of(frame);
    const pgnear_item *items;
    const pgnear_backup_item *backups;
    pgnear_backup_item backup;
    pgnear_page page;
    size_t count;
    switch (choice % 5) {
    case 0:
        if (result_items(handle, &cursor, ITEMS, &items)) {
            for (size_t i = 0; i < ITEMS; i++) {
                check_item(frame, &items[i]);
            }
        }
        break;
    case 1:
        result_page(handle, &cursor, &page);
        break;
    case 2:
        result_backup(&cursor, &backup);
        break;
    case 3:
        result_backups(handle, &cursor, &backups, &count);
        break;
    default:
        read_listing(frame, handle);
    }
    arena_deinit(&handle->results);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    if (len < 1) {
        return 0;
    }
    static pgnear handle; // but for its arena not looked at
    struct slice frame = slice_of(bytes + 1, len - 1);
    struct response response;
    pgnear_event event;
    read_result(frame, bytes[0], &handle);
    if (response_event(frame, &event)) {
        check_within(frame, event.key);
    }
    if (!response_read(frame, &response) || response.is_event) {
        return 0;
    }
    for (int kind = REQUEST_GET; kind <= REQUEST_OTHER; kind++) {
        pgnear_reply reply;
        pgnear_error error = {0};
        response_reply(&response, (enum request_kind)kind, &reply, &error);
        CHECK((reply.code == PGNEAR_OK) == (reply.error == NULL));
        if (reply.code == PGNEAR_OK) {
            check_within(frame, reply.result);
            check_item(frame, &reply.item);
        }
    }
    return 0;
}
