// Any bytes as the entries of a group of the outbox's log, the first of them as their count: what
// is passed on lies within, in order, and a group that is whole is as many entries as were said.
#include "base/check.h"
#include "cache/outbox_log.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

struct seen {
    struct slice bytes;
    uint64_t last_seq;
    uint64_t count;
};

static enum error see(void *context, const struct entry *entry)
{
    struct seen *seen = context;
    CHECK(entry->seq > seen->last_seq);
    CHECK(entry->pairs.at >= seen->bytes.at &&
          entry->pairs.at + entry->pairs.len <= seen->bytes.at + seen->bytes.len);
    seen->last_seq = entry->seq;
    seen->count++;
    return ERROR_NONE;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    if (len == 0) {
        return 0;
    }
    struct slice entries = slice_of(bytes + 1, len - 1);
    struct seen seen = {.bytes = entries};
    uint64_t last_seq = 0;
    enum error error = outbox_log_visit_group(entries, bytes[0], &last_seq, see, &seen);
    CHECK(error == ERROR_NONE || error == ERROR_CORRUPT);
    CHECK(last_seq == seen.last_seq && seen.count <= bytes[0]);
    CHECK(error != ERROR_NONE || seen.count == bytes[0]);
    return 0;
}
