// A small disk of the test's own, to be filled: an ext4 in a file of the scenario's directory.
#pragma once

#include "system/harness/scenario.h"

// Mounts one of that size, such as "8M"; its directory. NULL, with a word on standard error, where
// this process may not mount. Unmounted with disk_detach, or left to the next line of the test that
// fails.
const char *disk_mount(struct scenario *scenario, const char *name, const char *size);

// Takes it out of sight. It lives on while somebody has files of it open, and goes with them,
// however the test ends.
void disk_detach(const char *directory);

// Writes a file until nothing more fits, not even a block; its descriptor, by which
// disk_make_room gives all of it back. Works on a disk that is detached, by a descriptor of its
// directory.
int disk_fill(int directory_fd);
void disk_make_room(int file_fd);
