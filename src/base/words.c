#include "base/words.h"

#include <stdio.h>

#include "base/request.h"

enum { QUOTED_CHARACTER_BYTES_MAX = 4 };

// The second byte's bounds keep out overlong forms, surrogates and what lies beyond U+10FFFF.
size_t character_len(struct slice text)
{
    uint8_t first = text.at[0];
    if (first < 0x80) {
        return 1;
    }
    size_t len = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
    if (first < 0xc2 || first > 0xf4 || text.len < len) {
        return 0;
    }
    uint8_t second_min = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
    uint8_t second_max = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
    if (text.at[1] < second_min || text.at[1] > second_max) {
        return 0;
    }
    for (size_t i = 2; i < len; i++) {
        if ((text.at[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    return len;
}

// How many bytes in front, in whole words, are ASCII without a NUL: of most keys, all but the last
// few. The borrow of the subtraction reaches a byte's highest bit where the byte was 0; where it
// ran on from the byte before, that one was 0 too.
static size_t ascii_len(struct slice text)
{
    const uint64_t ones = 0x0101010101010101ull;
    const uint64_t highs = 0x8080808080808080ull;
    size_t at = 0;
    uint64_t word;
    while (text.len - at >= sizeof word) {
        memcpy(&word, text.at + at, sizeof word);
        if (((word | (word - ones)) & highs) != 0) {
            break;
        }
        at += sizeof word;
    }
    return at;
}

bool is_text(struct slice text)
{
    size_t skipped = text.len == 0 ? 0 : ascii_len(text);
    text = text.len == 0 ? text : slice_of(text.at + skipped, text.len - skipped);
    while (text.len > 0) {
        size_t len = text.at[0] == 0 ? 0 : character_len(text);
        if (len == 0) {
            return false;
        }
        text = slice_of(text.at + len, text.len - len);
    }
    return true;
}

struct quoted quote_key(struct slice key)
{
    static const char CUT[] = "...\"";
    struct quoted quoted;
    char *out = quoted.text;
    const char *end = quoted.text + sizeof quoted.text - sizeof CUT;
    *out++ = '"';
    while (key.len > 0 && out + QUOTED_CHARACTER_BYTES_MAX <= end) {
        size_t len = character_len(key);
        if (len == 0 || key.at[0] < 0x20 || key.at[0] == 0x7f) {
            len = 1;
            out += snprintf(out, (size_t)(end - out) + 1, "\\x%02x", key.at[0]);
        } else {
            memcpy(out, key.at, len);
            out += len;
        }
        key = slice_of(key.at + len, key.len - len);
    }
    snprintf(out, sizeof CUT, "%s", key.len > 0 ? CUT : "\"");
    return quoted;
}

struct call_words call_words(const struct call *call)
{
    struct call_words words;
    const char *verb = method_name(call->method);
    if (call->method == METHOD_RETRY_DEAD_LETTER) {
        snprintf(words.text, sizeof words.text, "Failed to retry dead letter %llu",
                 (unsigned long long)call->seq);
    } else if (call->method == METHOD_HISTORY) {
        snprintf(words.text, sizeof words.text, "Failed to read the history of key %s",
                 quote_key(call->pairs[0].key).text);
    } else if (call->pairs_count == 0) {
        snprintf(words.text, sizeof words.text, "Failed to %s", verb);
    } else if (call->pairs_count == 1) {
        snprintf(words.text, sizeof words.text, "Failed to %s key %s", verb,
                 quote_key(call->pairs[0].key).text);
    } else {
        snprintf(words.text, sizeof words.text, "Failed to %s %zu keys from %s on", verb,
                 call->pairs_count, quote_key(call->pairs[0].key).text);
    }
    return words;
}
