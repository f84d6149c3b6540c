// A rig whose writer has a log in front of its outbox, and what a test does to the files of both
// while no writer has them open.
#pragma once

#include "unit/cache/raw_outbox.h"

#include <fcntl.h>

enum { BLOCK_BYTES = 4096, COPY_BYTES_MAX = 8 << 20, ROW_BYTES_MAX = 64 };

RIG_UNUSED static int log_rig_setup(void **state)
{
    struct rig *rig = memory_zeroed(1, sizeof *rig);
    rig_init(rig);
    rig->has_log = true;
    *state = rig;
    return 0;
}

RIG_UNUSED static void path_of(const struct rig *rig, const char *name, char path[160])
{
    snprintf(path, 160, "%s/%s", rig->outbox_dir, name);
}

RIG_UNUSED static bool exists(const struct rig *rig, const char *name)
{
    char path[160];
    path_of(rig, name, path);
    return access(path, F_OK) == 0;
}

RIG_UNUSED static void touch(const struct rig *rig, const char *name)
{
    char path[160];
    path_of(rig, name, path);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0640);
    assert_true(fd >= 0);
    close(fd);
}

RIG_UNUSED static void remove_file(const struct rig *rig, const char *name)
{
    char path[160];
    path_of(rig, name, path);
    assert_int_equal(unlink(path), 0);
}

RIG_UNUSED static void copy_file(const struct rig *from, const char *name, const struct rig *to,
                                 const char *other_name)
{
    char path[160];
    path_of(from, name, path);
    uint8_t *bytes = memory_zeroed(1, COPY_BYTES_MAX);
    int fd = open(path, O_RDONLY);
    ssize_t len = read(fd, bytes, COPY_BYTES_MAX);
    assert_true(fd >= 0 && len >= 0 && len < COPY_BYTES_MAX);
    close(fd);
    path_of(to, other_name, path);
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0640);
    assert_int_equal(write(fd, bytes, (size_t)len), len);
    close(fd);
    free(bytes);
}

// Some bytes of a block of the log are others.
RIG_UNUSED static void damage(const struct rig *rig, size_t block)
{
    char path[160];
    uint8_t bytes[64];
    path_of(rig, OUTBOX_LOG_FILE, path);
    int fd = open(path, O_RDWR);
    off_t at = (off_t)block * BLOCK_BYTES + 64;
    assert_int_equal(pread(fd, bytes, sizeof bytes, at), sizeof bytes);
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] ^= 0x5a;
    }
    assert_int_equal(pwrite(fd, bytes, sizeof bytes, at), sizeof bytes);
    close(fd);
}

// The layout as it stands in the file, while nobody has it open.
RIG_UNUSED static uint64_t layout_of(const struct rig *rig)
{
    struct raw_outbox raw;
    uint8_t row[ROW_BYTES_MAX];
    uint64_t layout;
    raw_outbox_open(&raw, rig);
    assert_true(raw_outbox_get(&raw, "layout", row, sizeof row) >= (ssize_t)sizeof layout);
    raw_outbox_close(&raw);
    memcpy(&layout, row, sizeof layout);
    return layout;
}

RIG_UNUSED static void lose_machine(struct rig *rig)
{
    static int boots = 1;
    rig_crash(rig);
    rig_boot(rig, ++boots);
}

RIG_UNUSED static void assert_refused(struct rig *rig, const char *words)
{
    struct failure failure;
    assert_int_equal(rig_try_open(rig, &failure), ERROR_CORRUPT);
    if (strstr(failure.message, words) == NULL ||
        strstr(failure.message, "outbox.log.lost") == NULL) {
        fail_msg("%s", failure.message);
    }
}
