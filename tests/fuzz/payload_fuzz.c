// Any bytes as the payload of a notification, which whoever may NOTIFY in the database may send:
// the keys handed out are ones that a cache may hold, the origin lies in the payload, and only what
// is told to be changes has any.
#include "base/check.h"
#include "base/words.h"
#include "pg/payload.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static void check_changes(const struct changes_message *changes)
{
    CHECK(changes->changes_count <= PAYLOAD_BYTES_MAX);
    for (size_t i = 0; i < changes->changes_count; i++) {
        const struct change *change = &changes->changes[i];
        CHECK(change->key.len > 0 && change->key.len <= KEY_BYTES_MAX && is_text(change->key));
        CHECK(change->op == CHANGE_SET || change->op == CHANGE_DELETE);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct slice origin = {0};
    struct changes_message *changes = NULL;
    enum payload_kind kind = payload_decode(slice_of(bytes, len), &origin, &changes);
    CHECK((kind == PAYLOAD_CHANGES) == (changes != NULL));
    CHECK(kind != PAYLOAD_BAD || origin.at == NULL);
    if (origin.len > 0) {
        CHECK(origin.at > bytes && origin.at + origin.len < bytes + len);
        CHECK(is_text(origin));
    }
    if (changes != NULL) {
        check_changes(changes);
        message_destroy(&changes->message);
    }
    return 0;
}
