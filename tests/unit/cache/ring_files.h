// For the tests of the ring beside the outbox: its size, the rig's files by their names, and the
// end of a machine.
#pragma once

#include "cache/writer_state.h"
#include "unit/cache/raw_outbox.h"

#include <fcntl.h>

enum { RING_BYTES = 8192, FILE_BYTES = RING_HEADER_BYTES + RING_BYTES };

RIG_UNUSED static int ring_files_setup(void **state)
{
    struct rig *rig = memory_zeroed(1, sizeof *rig);
    rig_init(rig);
    *state = rig;
    return 0;
}

RIG_UNUSED static void ring_files_lose_machine(struct rig *rig)
{
    static int boots = 1;
    rig_crash(rig);
    rig_boot(rig, ++boots);
}

RIG_UNUSED static void ring_files_path(const struct rig *rig, const char *name, char path[160])
{
    snprintf(path, 160, "%s/%s", rig->outbox_dir, name);
}

RIG_UNUSED static void ring_files_load(const struct rig *rig, const char *name, uint8_t *bytes,
                                       size_t len)
{
    char path[160];
    ring_files_path(rig, name, path);
    int fd = open(path, O_RDONLY);
    assert_int_equal(pread(fd, bytes, len, 0), (ssize_t)len);
    close(fd);
}

RIG_UNUSED static void ring_files_store(const struct rig *rig, const char *name,
                                        const uint8_t *bytes, size_t len)
{
    char path[160];
    ring_files_path(rig, name, path);
    int fd = open(path, O_WRONLY | O_CREAT, 0640);
    assert_int_equal(pwrite(fd, bytes, len, 0), (ssize_t)len);
    close(fd);
}

RIG_UNUSED static void ring_files_set(struct rig *rig, const char *key, const char *value)
{
    rig_push_set(rig, key, value, ACK_MEMORY);
    rig_turn(rig);
    rig_expect_home(rig, ERROR_NONE);
}

RIG_UNUSED static bool ring_files_have(const struct rig *rig, const char *name)
{
    char path[160];
    ring_files_path(rig, name, path);
    return access(path, F_OK) == 0;
}
