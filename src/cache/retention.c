// The marks are as far apart as a small part of the time to retain, so a few of them are enough:
// a newer one takes the place of the last while it is close to the one before.
#include "cache/retention.h"

void retention_init(struct retention *retention, int64_t retain_us, int64_t now_boot_us)
{
    *retention = (struct retention){.retain_us = retain_us, .last_boot_us = now_boot_us};
}

void retention_tick(struct retention *retention, int64_t now_boot_us, bool connected)
{
    if (retention->connected && now_boot_us > retention->last_boot_us) {
        retention->connected_us += now_boot_us - retention->last_boot_us;
    }
    retention->last_boot_us = now_boot_us;
    retention->connected = connected;
}

void retention_note(struct retention *retention, uint64_t seq)
{
    size_t count = retention->marks_count;
    if (count > 0 && retention->marks[count - 1].seq >= seq) {
        return;
    }
    int64_t apart_us = retention->retain_us / (RETENTION_MARKS / 2);
    bool close =
        count >= 2 && retention->connected_us - retention->marks[count - 2].at_us < apart_us;
    if (!close && count < RETENTION_MARKS) {
        retention->marks_count = ++count;
    }
    retention->marks[count - 1].seq = seq;
    retention->marks[count - 1].at_us = retention->connected_us;
}

void retention_rewind(struct retention *retention, uint64_t seq)
{
    while (retention->marks_count > 0 && retention->marks[retention->marks_count - 1].seq > seq) {
        retention->marks_count--;
    }
}

uint64_t retention_passed_seq(struct retention *retention)
{
    size_t passed = 0;
    while (passed < retention->marks_count &&
           retention->connected_us - retention->marks[passed].at_us >= retention->retain_us) {
        passed++;
    }
    if (passed == 0 || !retention->connected) {
        return 0;
    }
    uint64_t seq = retention->marks[passed - 1].seq;
    retention->marks_count -= passed;
    for (size_t i = 0; i < retention->marks_count; i++) {
        retention->marks[i] = retention->marks[i + passed];
    }
    return seq;
}
