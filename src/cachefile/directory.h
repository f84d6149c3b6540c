// A directory of the daemon's: made where it is missing, locked against a second daemon, and
// refused where its file system cannot do what LMDB needs. Used at start and by `check`.
#pragma once

#include <stddef.h>

#include "base/error.h"

struct directory {
    char *path;
    int fd;      // of the directory itself; -1: not open
    int lock_fd; // holds the lock; -1: not locked
};

enum directory_use {
    DIRECTORY_DISPOSABLE, // memory file systems are fine
    DIRECTORY_DURABLE,    // memory file systems are refused
};

// Makes the directory (its parents too; durably for a durable use), refuses file systems that are
// shared over a network or, for a durable use, forget everything with the machine, and takes the
// lock. ERROR_IN_USE where another process holds it; ERROR_CONFIG for the file system; ERROR_SYSTEM
// otherwise.
enum error directory_open(struct directory *directory, const char *path, enum directory_use use,
                          struct failure *failure);

// Accepts a directory of which directory_open failed. Unlocks.
void directory_close(struct directory *directory);

// The path of a file in it, for the caller to free().
char *directory_path(const struct directory *directory, const char *name);

// Renames a file in it to `NAME.old`, where there is such already to `NAME.old.2` and so on up to
// `.9`, which makes way. Its new path, for the caller to free(); NULL where there is no such file
// or it cannot be renamed.
char *directory_put_aside(const struct directory *directory, const char *name);

// Makes what was created or removed in it durable.
enum error directory_sync(const struct directory *directory);

// Whether the file that is open as `fd` no longer has that name in it, since it was deleted, moved
// away or replaced: whoever looks for it would not find it.
bool directory_has_lost(const struct directory *directory, const char *name, int fd);

// Bytes free for this process on its file system; -1 where that cannot be known.
int64_t directory_free_bytes(const char *path);

// Reserves the room of a file of `bytes` on its disk: 0, or errno and the file as it was. What the
// file system has is asked for first: to take room until there is none would be felt by everybody
// else on the disk.
int directory_reserve(int fd, size_t bytes);

// Reads the `len` bytes of a file from `at` on. False where it has fewer or the disk fails: those
// before that are read.
bool directory_read(int fd, void *bytes, size_t len, size_t at);

// The name of a file system that `use` refuses, NULL where it is fine.
const char *directory_refused_file_system(const char *path, enum directory_use use);

enum { BOOT_ID_BYTES = 40 };

// The kernel's id of this boot, NUL-terminated.
enum error directory_boot_id(char boot_id[BOOT_ID_BYTES]);
// A new random UUID in text from the kernel, NUL-terminated.
enum error directory_random_uuid(char uuid[BOOT_ID_BYTES]);
