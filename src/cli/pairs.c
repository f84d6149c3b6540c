// A line is an object like the other form's, so both are split by members.h, and each name and
// value is read by json/json.h.

#include "cli/pairs.h"

#include <inttypes.h>

#include "base/mpack.h"
#include "base/request.h"
#include "json/json.h"

enum { KEEP_BYTES_MAX = 1024 * 1024 };

static const struct json_limits LIMITS = {.value_bytes_max = MEMBERS_VALUE_BYTES_MAX};

// ---- The form

enum line_member {
    LINE_KEY,
    LINE_VALUE,
    LINE_TTL_MS,
    LINE_EXPIRES_AT_US,
    LINE_VERSION,
    LINE_OTHER
};

static const char *const LINE_NAMES[LINE_OTHER] = {
    [LINE_KEY] = "\"key\"",         [LINE_VALUE] = "\"value\"",
    [LINE_TTL_MS] = "\"ttl_ms\"",   [LINE_EXPIRES_AT_US] = "\"expires_at_us\"",
    [LINE_VERSION] = "\"version\"",
};

static enum line_member line_member_of(struct slice name)
{
    int member = 0;
    while (member < LINE_OTHER && !slice_equal(name, slice_of_string(LINE_NAMES[member]))) {
        member++;
    }
    return (enum line_member)member;
}

// As export begins one: a line holds a whole object, and what is indented was printed for people.
static bool begins_as_export_writes_it(struct slice first)
{
    return slice_starts_with(first, slice_of_string("{\n\""));
}

static bool begins_as_line(struct slice text)
{
    struct members members;
    bool is_line = false;
    members_init(&members);
    // A byte a time up to the first of the first value.
    while (text.len > 0 && members.state != MEMBERS_IN_VALUE) {
        struct slice byte = slice_of(text.at, 1);
        if (members_next(&members, &byte) == MEMBERS_BROKEN) {
            break;
        }
        text = slice_of(text.at + 1, text.len - 1);
    }
    if (members.state == MEMBERS_IN_VALUE) {
        enum line_member member = line_member_of(buffer_slice(&members.name));
        struct slice value = buffer_slice(&members.value);
        bool is_text = slice_starts_with(value, slice_of_string("\""));
        is_line = member == LINE_KEY ? is_text : member != LINE_OTHER;
    }
    members_deinit(&members);
    return is_line;
}

// Whether a line begins what goes on in the next: an object, or an array, which is no form of ours.
static bool is_left_open(struct slice line)
{
    struct members members;
    enum members_event event;
    if (slice_starts_with(line, slice_of_string("["))) {
        return true;
    }
    members_init(&members);
    do {
        event = members_next(&members, &line);
    } while (event == MEMBERS_MEMBER);
    bool is_open = event == MEMBERS_NEED_MORE && members.state != MEMBERS_BEFORE &&
                   !members_is_closed(&members);
    members_deinit(&members);
    return is_open;
}

static struct slice cut_line(struct slice *text)
{
    const uint8_t *end = memchr(text->at, '\n', text->len);
    size_t len = end == NULL ? text->len : (size_t)(end - text->at) + 1;
    struct slice line = slice_of(text->at, len);
    *text = slice_of(text->at + len, text->len - len);
    return line;
}

enum pairs_form pairs_detect(struct slice first)
{
    if (begins_as_export_writes_it(first)) {
        return PAIRS_OBJECT;
    }
    // The first lines may be wrong.
    while (!begins_as_line(first)) {
        if (first.len == 0 || is_left_open(cut_line(&first))) {
            return PAIRS_OBJECT;
        }
    }
    return PAIRS_LINES;
}

// ---- Life

void pairs_init(struct pairs *pairs, enum pairs_form form, uint64_t skipped_bytes)
{
    *pairs = (struct pairs){.form = form, .at_line = 1, .line = 1, .offset = skipped_bytes};
    members_init(&pairs->members);
    pairs->members.offset = skipped_bytes;
}

void pairs_resume(struct pairs *pairs, enum pairs_form form, const struct pairs_position *position)
{
    *pairs = (struct pairs){
        .form = form,
        .at_line = position->line,
        .line = position->line,
        .offset = position->offset,
    };
    members_resume(&pairs->members, position->offset, position->line);
}

void pairs_deinit(struct pairs *pairs)
{
    members_deinit(&pairs->members);
    buffer_deinit(&pairs->text);
    buffer_deinit(&pairs->key);
    buffer_deinit(&pairs->value);
}

struct pairs_position pairs_position(const struct pairs *pairs)
{
    bool is_object = pairs->form == PAIRS_OBJECT;
    return (struct pairs_position){
        .offset = is_object ? pairs->members.offset : pairs->offset,
        .line = is_object ? pairs->members.at_line : pairs->at_line,
    };
}

// ---- Reading a pair

static bool read_json(struct slice text, struct buffer *out, const char *what,
                      struct failure *failure)
{
    struct failure why = {0};
    buffer_clear(out, KEEP_BYTES_MAX);
    if (json_to_msgpack(text, &LIMITS, out, &why) == ERROR_NONE) {
        return true;
    }
    failure_note(failure, why.error, "%s: %s", what, why.message);
    return false;
}

// The key as MessagePack str in pairs->key.
static bool read_key(struct pairs *pairs, struct slice text, struct pairs_pair *pair,
                     struct failure *failure)
{
    if (!read_json(text, &pairs->key, "key", failure)) {
        return false;
    }
    struct mpack_cursor cursor = mpack_cursor_of(buffer_slice(&pairs->key));
    if (!mpack_read_str(&cursor, &pair->key) || pair->key.len < 1 ||
        pair->key.len > KEY_BYTES_MAX) {
        failure_note(failure, ERROR_INVALID_KEY, "a key is a string of 1 to %d bytes",
                     KEY_BYTES_MAX);
        return false;
    }
    return true;
}

// null is 0, as if it were not said.
static bool read_positive(struct slice text, const char *what, int64_t *value,
                          struct failure *failure)
{
    struct buffer number = {0};
    struct failure why = {0};
    bool good = json_to_msgpack(text, &LIMITS, &number, &why) == ERROR_NONE;
    struct mpack_cursor cursor = mpack_cursor_of(buffer_slice(&number));
    good = good && (mpack_read_nil(&cursor) || (mpack_read_int(&cursor, value) && *value > 0));
    buffer_deinit(&number);
    if (!good) {
        failure_note(failure, ERROR_INVALID_VALUE, "%s is not a positive integer", what);
    }
    return good;
}

static bool read_line_member(struct pairs *pairs, const struct members *members,
                             struct pairs_pair *pair, struct failure *failure)
{
    struct slice value = buffer_slice(&members->value);
    switch (line_member_of(buffer_slice(&members->name))) {
    case LINE_KEY:
        return read_key(pairs, value, pair, failure);
    case LINE_VALUE:
        if (!read_json(value, &pairs->value, "value", failure)) {
            return false;
        }
        pair->value = buffer_slice(&pairs->value);
        return true;
    case LINE_TTL_MS:
        return read_positive(value, "ttl_ms", &pair->ttl_ms, failure);
    case LINE_EXPIRES_AT_US:
        return read_positive(value, "expires_at_us", &pair->expires_at_us, failure);
    case LINE_VERSION:
        return true;
    case LINE_OTHER:
        break;
    }
    failure_note(failure, ERROR_INVALID_VALUE,
                 "a line has key, value, ttl_ms, expires_at_us and version, not %.*s",
                 SLICE_FORMAT(buffer_slice(&members->name)));
    return false;
}

static bool read_members(struct pairs *pairs, struct members *members, struct slice line,
                         struct pairs_pair *pair, struct failure *failure)
{
    for (;;) {
        switch (members_next(members, &line)) {
        case MEMBERS_MEMBER:
            if (members->is_too_large) {
                failure_note(failure, ERROR_TOO_LARGE, "a member is larger than %d bytes",
                             MEMBERS_VALUE_BYTES_MAX);
                return false;
            }
            if (!read_line_member(pairs, members, pair, failure)) {
                return false;
            }
            break;
        case MEMBERS_NEED_MORE:
            if (!members_is_closed(members)) {
                failure_note(failure, ERROR_INVALID_VALUE, "the object is not closed");
            }
            return members_is_closed(members);
        case MEMBERS_BROKEN:
            failure_note(failure, ERROR_INVALID_VALUE, "%s", members->reason);
            return false;
        }
    }
}

static enum pairs_event read_line(struct pairs *pairs, struct pairs_pair *pair,
                                  struct failure *failure)
{
    struct members members;
    bool good = !pairs->is_line_too_large;
    *pair = (struct pairs_pair){.line = pairs->line};
    if (!good) {
        failure_note(failure, ERROR_TOO_LARGE, "the line is longer than %d bytes",
                     MEMBERS_VALUE_BYTES_MAX);
        return PAIRS_BAD;
    }
    members_init(&members);
    good = read_members(pairs, &members, buffer_slice(&pairs->text), pair, failure);
    members_deinit(&members);
    if (good && (pair->key.len == 0 || pair->value.len == 0)) {
        failure_note(failure, ERROR_INVALID_VALUE, "a line has both key and value");
        good = false;
    }
    return good ? PAIRS_PAIR : PAIRS_BAD;
}

// ---- Lines

static bool is_blank(struct slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        // NOLINTNEXTLINE(clang-analyzer-core.NullDereference): what has a length has bytes
        if (text.at[i] != ' ' && text.at[i] != '\t' && text.at[i] != '\r') {
            return false;
        }
    }
    return true;
}

static void begin_line(struct pairs *pairs)
{
    if (pairs->is_line_lent) {
        pairs->is_line_lent = false;
        pairs->is_line_too_large = false;
        buffer_clear(&pairs->text, KEEP_BYTES_MAX);
    }
}

static enum pairs_event next_line(struct pairs *pairs, struct slice *input, struct pairs_pair *pair,
                                  struct failure *failure)
{
    while (input->len > 0) {
        begin_line(pairs);
        const uint8_t *end = memchr(input->at, '\n', input->len);
        size_t len = end == NULL ? input->len : (size_t)(end - input->at);
        if (pairs->is_line_too_large ||
            buffer_len(&pairs->text) + len > (size_t)MEMBERS_VALUE_BYTES_MAX) {
            pairs->is_line_too_large = true;
        } else {
            buffer_append(&pairs->text, input->at, len);
        }
        len += end != NULL;
        *input = slice_of(input->at + len, input->len - len);
        pairs->offset += len;
        if (end == NULL) {
            break;
        }
        pairs->line = pairs->at_line++;
        pairs->is_line_lent = true;
        if (pairs->is_line_too_large || !is_blank(buffer_slice(&pairs->text))) {
            return read_line(pairs, pair, failure);
        }
    }
    return PAIRS_NEED_MORE;
}

// ---- The object

static enum pairs_event next_member(struct pairs *pairs, struct slice *input,
                                    struct pairs_pair *pair, struct failure *failure)
{
    struct members *members = &pairs->members;
    enum members_event event = members_next(members, input);
    if (event == MEMBERS_NEED_MORE) {
        return PAIRS_NEED_MORE;
    }
    if (event == MEMBERS_BROKEN) {
        pairs->line = members->at_line;
        failure_note(failure, ERROR_INVALID_VALUE, "%s", members->reason);
        return PAIRS_BROKEN;
    }
    pairs->line = members->line;
    *pair = (struct pairs_pair){.line = members->line};
    if (members->is_too_large) {
        failure_note(failure, ERROR_TOO_LARGE, "a member is larger than %d bytes",
                     MEMBERS_VALUE_BYTES_MAX);
        return PAIRS_BAD;
    }
    if (!read_key(pairs, buffer_slice(&members->name), pair, failure) ||
        !read_json(buffer_slice(&members->value), &pairs->value, "value", failure)) {
        return PAIRS_BAD;
    }
    pair->value = buffer_slice(&pairs->value);
    return PAIRS_PAIR;
}

// ---- Both

enum pairs_event pairs_next(struct pairs *pairs, struct slice *input, struct pairs_pair *pair,
                            struct failure *failure)
{
    return pairs->form == PAIRS_OBJECT ? next_member(pairs, input, pair, failure)
                                       : next_line(pairs, input, pair, failure);
}

enum pairs_event pairs_finish(struct pairs *pairs, struct pairs_pair *pair, struct failure *failure)
{
    if (pairs->form == PAIRS_LINES) {
        begin_line(pairs);
        if (!pairs->is_line_too_large && is_blank(buffer_slice(&pairs->text))) {
            return PAIRS_NEED_MORE;
        }
        pairs->line = pairs->at_line;
        pairs->is_line_lent = true;
        return read_line(pairs, pair, failure);
    }
    // An input without anything in it holds no pairs, whatever its form.
    if (members_is_closed(&pairs->members) || pairs->members.state == MEMBERS_BEFORE) {
        return PAIRS_NEED_MORE;
    }
    pairs->line = pairs->members.at_line;
    failure_note(failure, ERROR_INVALID_VALUE, "the object is not closed: the text is cut off");
    return PAIRS_BROKEN;
}
