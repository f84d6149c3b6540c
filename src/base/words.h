// How messages speak of operations and keys, the same in every thread. Pure; any thread.
#pragma once

#include "base/slice.h"

struct call;

// The length of the first character of a text that is not empty; 0 where it is not UTF-8.
size_t character_len(struct slice text);

// UTF-8 (RFC 3629) without NUL, which is what PostgreSQL's text holds.
bool is_text(struct slice text);

// A key as a message shows it: in quotes, cut where it is long, what is not UTF-8 or not printable
// as \xNN, so that a message is always valid text.
enum { QUOTED_KEY_BYTES = 192 };
struct quoted {
    char text[QUOTED_KEY_BYTES];
};
struct quoted quote_key(struct slice key);

// What a message begins with, before the colon: `Failed to set key "k"`. Short enough to leave
// most of a failure's message to the reason.
enum { CALL_WORDS_BYTES = QUOTED_KEY_BYTES + 64 };
struct call_words {
    char text[CALL_WORDS_BYTES];
};
struct call_words call_words(const struct call *call);
