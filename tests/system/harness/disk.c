#include "system/harness/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "system/harness/process.h"

const char *disk_mount(struct scenario *scenario, const char *name, const char *size)
{
    const char *image = scenario_text(scenario, "%s/%s.img", scenario->directory, name);
    const char *directory = scenario_path(scenario, name);
    const char *script =
        scenario_text(scenario,
                      "mkdir '%s' && truncate -s %s '%s' && mkfs.ext4 -q -F -O ^has_journal '%s' &&"
                      " mount -o loop '%s' '%s'",
                      directory, size, image, image, image, directory);
    struct process *process = process_create(scenario, scenario_text(scenario, "mount-%s", name));
    process_start(process, (const char *[]){"sh", "-c", script, NULL}, NULL);
    if (process_wait(process) != 0) {
        fprintf(stderr, "skipped: no file system can be mounted here\n");
        return NULL;
    }
    return directory;
}

void disk_detach(const char *directory)
{
    assert_int_equal(umount2(directory, MNT_DETACH), 0);
}

int disk_fill(int directory_fd)
{
    static const char ZEROS[1 << 16];
    int fd = openat(directory_fd, "filler", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0) {
        scenario_fail("cannot make a file on the disk: %s", strerror(errno));
    }
    for (size_t len = sizeof ZEROS; len > 0;) {
        ssize_t written = write(fd, ZEROS, len);
        if (written < 0 && errno != ENOSPC) {
            scenario_fail("cannot fill the disk: %s", strerror(errno));
        }
        len = written < 0 ? len / 2 : len;
    }
    return fd;
}

void disk_make_room(int file_fd)
{
    assert_int_equal(ftruncate(file_fd, 0), 0);
    close(file_fd);
}
