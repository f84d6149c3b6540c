// One byte after the other through a small automaton; runs of bytes that belong to a name or a
// value are copied at once. What a byte means depends on the state alone, so a cut between any two
// bytes changes nothing.

#include "cli/members.h"

#include "base/check.h"

enum { KEEP_BYTES_MAX = 1024 * 1024 };

void members_init(struct members *members)
{
    *members = (struct members){.state = MEMBERS_BEFORE, .at_line = 1};
}

void members_resume(struct members *members, uint64_t offset, uint64_t line)
{
    *members = (struct members){.state = MEMBERS_BEFORE_NAME, .offset = offset, .at_line = line};
}

void members_deinit(struct members *members)
{
    buffer_deinit(&members->name);
    buffer_deinit(&members->value);
}

static bool is_space(uint8_t byte)
{
    return byte == ' ' || byte == '\t' || byte == '\n' || byte == '\r';
}

static bool break_off(struct members *members, const char *reason)
{
    members->state = MEMBERS_BROKEN_STATE;
    members->reason = reason;
    return false;
}

static void keep(struct members *members, struct buffer *buffer, size_t bytes_max,
                 struct slice bytes)
{
    if (members->is_too_large || buffer_len(buffer) + bytes.len > bytes_max) {
        members->is_too_large = true;
    } else if (bytes.len > 0) {
        buffer_append_slice(buffer, bytes);
    }
}

// How many bytes at the front of `text` are inside the string; it may end with them.
static size_t run_of_string(struct members *members, struct slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        uint8_t byte = text.at[i];
        if (members->is_escaped) {
            members->is_escaped = false;
        } else if (byte == '\\') {
            members->is_escaped = true;
        } else if (byte == '"') {
            members->in_string = false;
            return i + 1;
        } else if (byte == '\n') {
            members->at_line++; // which JSON does not allow; the reader of the value says so
        }
    }
    return text.len;
}

// How many bytes at the front of `text` are the value's; *is_over where the next one ends it.
static size_t run_of_value(struct members *members, struct slice text, bool *is_over)
{
    size_t i = 0;
    *is_over = false;
    while (i < text.len) {
        if (members->in_string) {
            i += run_of_string(members, slice_of(text.at + i, text.len - i));
            continue;
        }
        uint8_t byte = text.at[i];
        if (members->depth == 0 && (byte == ',' || byte == '}' || byte == ']')) {
            *is_over = true;
            return i;
        }
        members->in_string = byte == '"';
        members->depth += byte == '[' || byte == '{';
        members->depth -= byte == ']' || byte == '}';
        members->at_line += byte == '\n';
        i++;
    }
    return i;
}

static void begin_member(struct members *members)
{
    members->is_too_large = false;
    members->line = members->at_line;
    members->in_string = true;
    members->state = MEMBERS_IN_NAME;
    buffer_append(&members->name, "\"", 1);
}

// Takes one byte outside of names and values. False where it cannot be there.
static bool take_structure(struct members *members, uint8_t byte)
{
    members->at_line += byte == '\n';
    if (is_space(byte)) {
        return true;
    }
    switch (members->state) {
    case MEMBERS_BEFORE:
        members->state = MEMBERS_FIRST;
        return byte == '{' || break_off(members, "a JSON object begins with {");
    case MEMBERS_FIRST:
        if (byte == '}') {
            members->state = MEMBERS_AFTER;
            return true;
        }
        // fall through
    case MEMBERS_BEFORE_NAME:
        if (byte != '"') {
            return break_off(members, "a name in quotes is missing");
        }
        begin_member(members);
        return true;
    case MEMBERS_BEFORE_COLON:
        members->state = MEMBERS_BEFORE_VALUE;
        return byte == ':' || break_off(members, "a colon is missing behind the name");
    case MEMBERS_AFTER:
        return break_off(members, "something stands behind the object: for JSON lines say --lines");
    case MEMBERS_BEFORE_VALUE:
    case MEMBERS_IN_NAME:
    case MEMBERS_IN_VALUE:
    case MEMBERS_BROKEN_STATE:
        break;
    }
    CHECK_VALUES(false, "state %d", (int)members->state);
    return false;
}

static void advance(struct members *members, struct slice *input, size_t len)
{
    *input = slice_of(input->at + len, input->len - len);
    members->offset += len;
}

static void take_name(struct members *members, struct slice *input)
{
    size_t len = run_of_string(members, *input);
    keep(members, &members->name, MEMBERS_NAME_BYTES_MAX, slice_of(input->at, len));
    advance(members, input, len);
    if (!members->in_string) {
        members->state = MEMBERS_BEFORE_COLON;
    }
}

// True where the member is complete.
static bool take_value(struct members *members, struct slice *input)
{
    bool is_over;
    size_t len = run_of_value(members, *input, &is_over);
    keep(members, &members->value, MEMBERS_VALUE_BYTES_MAX, slice_of(input->at, len));
    advance(members, input, len);
    if (!is_over) {
        return false;
    }
    uint8_t byte = *input->at;
    advance(members, input, 1);
    if (byte == ']') {
        return break_off(members, "] closes what is not open");
    }
    members->state = byte == ',' ? MEMBERS_BEFORE_NAME : MEMBERS_AFTER;
    members->is_lent = true;
    return true;
}

enum members_event members_next(struct members *members, struct slice *input)
{
    if (members->is_lent) {
        members->is_lent = false;
        buffer_clear(&members->name, KEEP_BYTES_MAX);
        buffer_clear(&members->value, KEEP_BYTES_MAX);
    }
    while (members->state != MEMBERS_BROKEN_STATE && input->len > 0) {
        switch (members->state) {
        case MEMBERS_IN_NAME:
            take_name(members, input);
            break;
        case MEMBERS_BEFORE_VALUE:
            if (is_space(*input->at)) {
                members->at_line += *input->at == '\n';
                advance(members, input, 1);
            } else {
                members->state = MEMBERS_IN_VALUE;
            }
            break;
        case MEMBERS_IN_VALUE:
            if (take_value(members, input)) {
                return MEMBERS_MEMBER;
            }
            break;
        default:
            if (take_structure(members, *input->at)) {
                advance(members, input, 1);
            }
            break;
        }
    }
    return members->state == MEMBERS_BROKEN_STATE ? MEMBERS_BROKEN : MEMBERS_NEED_MORE;
}
