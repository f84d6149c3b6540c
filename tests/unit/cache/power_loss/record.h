// The record of disk.h, for record.c, which writes it, and replay.c, which reads it.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum disk_event_kind {
    DISK_WRITE,    // of a file: bytes
    DISK_LENGTH,   // of a file: it is as long as that now
    DISK_SYNC,     // of a file
    DISK_CREATE,   // name: a new file
    DISK_RENAME,   // name, to other_name, in whose place it comes
    DISK_UNLINK,   // name
    DISK_SYNC_DIR, // all names
    DISK_MKDIR,    // the directory itself
    DISK_SYNC_PARENT
};

enum { DISK_NAME_BYTES = 64 };

struct disk_event {
    enum disk_event_kind kind;
    int file;
    bool is_synced; // a write through O_DSYNC
    off_t at;       // of a write; a length
    size_t len;
    const uint8_t *bytes;
    char name[DISK_NAME_BYTES];
    char other_name[DISK_NAME_BYTES];
};

const struct disk_event *disk_record_event(size_t index);

// Zeroed memory that is not there in a child: an outbox is looked at in a child, thousands of
// times, and what copying the pages of all this would take is most of the time.
void *disk_room_take(size_t bytes);
void disk_room_give_back(void *room, size_t bytes);
