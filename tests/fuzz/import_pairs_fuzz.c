// Any bytes as the input of an import, in either form: the events must be the same when they come
// whole and cut into pieces, each pair must be one that a node could be sent, and reading must go
// on from any place that was reported as it went on without a pause. The first byte chooses the
// form and the length of the pieces.
#include "base/check.h"
#include "base/mpack.h"
#include "base/request.h"
#include "cli/pairs.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

// Notes an event, so that two runs can be compared.
static void note(struct buffer *trace, const struct pairs *pairs, enum pairs_event event,
                 const struct pairs_pair *pair)
{
    if (event == PAIRS_NEED_MORE) {
        return;
    }
    buffer_printf(trace, "%d %llu;", (int)event, (unsigned long long)pairs->line);
    if (event == PAIRS_PAIR) {
        struct mpack_cursor cursor = mpack_cursor_of(pair->value);
        CHECK(pair->key.len >= 1 && pair->key.len <= KEY_BYTES_MAX);
        CHECK(mpack_skip(&cursor, NULL) == DECODE_OK && cursor.at == cursor.end);
        CHECK(pair->ttl_ms >= 0 && pair->expires_at_us >= 0);
        buffer_append_slice(trace, pair->key);
        buffer_append_slice(trace, pair->value);
        buffer_printf(trace, "%lld %lld", (long long)pair->ttl_ms, (long long)pair->expires_at_us);
    }
}

static enum pairs_event take_all(struct pairs *pairs, struct slice piece, struct buffer *trace)
{
    for (;;) {
        struct pairs_pair pair;
        struct failure failure = {0};
        enum pairs_event event = pairs_next(pairs, &piece, &pair, &failure);
        if (event == PAIRS_NEED_MORE) {
            CHECK(piece.len == 0);
            return event;
        }
        note(trace, pairs, event, &pair);
        CHECK(event == PAIRS_PAIR || failure.message[0] != '\0');
        if (event == PAIRS_BROKEN) {
            return event;
        }
    }
}

static void read_in_pieces(struct pairs *pairs, struct slice text, size_t piece_bytes,
                           struct buffer *trace)
{
    struct pairs_pair pair;
    struct failure failure = {0};
    for (size_t at = 0; at < text.len; at += piece_bytes) {
        size_t len = text.len - at < piece_bytes ? text.len - at : piece_bytes;
        if (take_all(pairs, slice_of(text.at + at, len), trace) == PAIRS_BROKEN) {
            return;
        }
    }
    note(trace, pairs, pairs_finish(pairs, &pair, &failure), &pair);
}

// Reads one pair, then goes on with a new reader from where that was.
static void read_with_a_pause(enum pairs_form form, struct slice text, struct buffer *trace)
{
    struct pairs pairs;
    struct pairs_pair pair;
    struct failure failure = {0};
    struct slice left = text;
    pairs_init(&pairs, form, 0);
    enum pairs_event event = pairs_next(&pairs, &left, &pair, &failure);
    struct pairs_position position = pairs_position(&pairs);
    bool may_pause = event == PAIRS_PAIR && !members_is_closed(&pairs.members);
    if (may_pause) {
        CHECK(position.offset == text.len - left.len);
        note(trace, &pairs, event, &pair);
        pairs_deinit(&pairs);
        pairs_resume(&pairs, form, &position);
        read_in_pieces(&pairs, left, text.len, trace);
    } else {
        pairs_deinit(&pairs);
        pairs_init(&pairs, form, 0);
        read_in_pieces(&pairs, text, text.len, trace);
    }
    pairs_deinit(&pairs);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    if (len < 2) {
        return 0;
    }
    enum pairs_form form = (bytes[0] & 1) != 0 ? PAIRS_OBJECT : PAIRS_LINES;
    size_t piece_bytes = 1 + (size_t)(bytes[0] >> 1) % 16;
    struct slice text = slice_of(bytes + 1, len - 1);
    struct buffer whole = {0}, pieces = {0}, paused = {0};
    struct pairs pairs;
    pairs_detect(text);
    pairs_init(&pairs, form, 0);
    read_in_pieces(&pairs, text, text.len, &whole);
    pairs_deinit(&pairs);
    pairs_init(&pairs, form, 0);
    read_in_pieces(&pairs, text, piece_bytes, &pieces);
    pairs_deinit(&pairs);
    read_with_a_pause(form, text, &paused);
    CHECK(slice_equal(buffer_slice(&whole), buffer_slice(&pieces)));
    CHECK(slice_equal(buffer_slice(&whole), buffer_slice(&paused)));
    buffer_deinit(&whole);
    buffer_deinit(&pieces);
    buffer_deinit(&paused);
    return 0;
}
