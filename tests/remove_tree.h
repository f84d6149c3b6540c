// Directories that tests make.
#pragma once

#include <ftw.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/stat.h>

static inline int remove_tree_entry(const char *path, const struct stat *status, int type,
                                    struct FTW *place)
{
    (void)status;
    (void)type;
    (void)place;
    return remove(path);
}

// As rm -r, without following links; false where something is left, or nothing was there. Needs
// _GNU_SOURCE.
static inline bool remove_tree(const char *path)
{
    enum { FILES_OPEN_MAX = 16 };
    return nftw(path, remove_tree_entry, FILES_OPEN_MAX, FTW_DEPTH | FTW_PHYS) == 0;
}
