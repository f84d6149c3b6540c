// Looking at the bytes of a string a word at a time (S. Anderson, Bit Twiddling Hacks). Most
// strings are short and have nothing odd in them: worth knowing before they are looked at one by
// one.
#pragma once

#include "base/slice.h"

// All eight bytes of a word.
#define BYTES_ALL(byte) (0x0101010101010101u * (uint64_t)(byte))

// Of the functions below, which tell 0 where no byte of a word is one that they look for.
typedef uint64_t bytes_marks(uint64_t word);

// A byte that no bytes_marks looks for.
enum { BYTES_FILLER = 'A' };

// A NUL, or what is not ASCII.
static inline uint64_t bytes_not_ascii(uint64_t word)
{
    return (word | (word - BYTES_ALL(1))) & BYTES_ALL(0x80);
}

// The lowest bit set is of the first byte that is the one; what is above it may be wrong.
static inline uint64_t bytes_equal(uint64_t word, uint8_t byte)
{
    uint64_t differs = word ^ BYTES_ALL(byte);
    return (differs - BYTES_ALL(1)) & ~differs & BYTES_ALL(0x80);
}

// What RFC 8259, section 7, wants escaped: control characters, quotes, backslashes.
static inline uint64_t bytes_to_escape(uint64_t word)
{
    uint64_t controls = (word - BYTES_ALL(' ')) & ~word & BYTES_ALL(0x80);
    return controls | bytes_equal(word, '"') | bytes_equal(word, '\\');
}

// All of a text of less than eight bytes, some of them twice, and fillers.
static inline uint64_t bytes_of_short(struct slice text)
{
    if (text.len >= sizeof(uint32_t)) {
        uint32_t first, last;
        memcpy(&first, text.at, sizeof first);
        memcpy(&last, text.at + text.len - sizeof last, sizeof last);
        return (uint64_t)first << 32 | last;
    }
    uint64_t word = BYTES_ALL(BYTES_FILLER);
    if (text.len > 0) {
        word = word << 24 | (uint64_t)text.at[0] << 16 | (uint64_t)text.at[text.len / 2] << 8 |
               text.at[text.len - 1];
    }
    return word;
}

// Whether none of the text's bytes is one that `marks` looks for.
static inline bool bytes_have_none(struct slice text, bytes_marks *marks)
{
    uint64_t word;
    if (text.len < sizeof word) {
        return marks(bytes_of_short(text)) == 0;
    }
    uint64_t found = 0;
    for (size_t at = 0; at + sizeof word <= text.len; at += sizeof word) {
        memcpy(&word, text.at + at, sizeof word);
        found |= marks(word);
    }
    memcpy(&word, text.at + text.len - sizeof word, sizeof word);
    return (found | marks(word)) == 0;
}
