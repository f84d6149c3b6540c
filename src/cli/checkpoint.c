// One line of text, checked by its number of fields; written beside its place and renamed.

#include "cli/checkpoint.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#define FORM                                                                                       \
    "pgnear-import-1 form=%d offset=%" PRIu64 " line=%" PRIu64 " input=%" PRId64                   \
    " imported=%" PRId64 " skipped=%" PRId64 " expired=%" PRId64 " bad=%" PRId64

enum { FIELDS = 8, PATH_BYTES = 4096 };

static enum error refuse(struct failure *failure, const char *path)
{
    return failure_set(failure, ERROR_SYSTEM, "%s: %s", path, strerrordesc_np(errno));
}

enum error checkpoint_read(const char *path, struct checkpoint *checkpoint, struct failure *failure)
{
    struct checkpoint read = {0};
    int form = 0;
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return errno == ENOENT ? ERROR_NOT_FOUND : refuse(failure, path);
    }
    // NOLINTNEXTLINE(cert-err34-c): a number out of range is no place in the input and refused
    // there
    int fields = fscanf(file, FORM, &form, &read.position.offset, &read.position.line,
                        &read.input_bytes, &read.imported, &read.skipped, &read.expired, &read.bad);
    fclose(file);
    if (fields != FIELDS || (form != PAIRS_LINES && form != PAIRS_OBJECT)) {
        return failure_set(failure, ERROR_CORRUPT, "%s is not the place of an import", path);
    }
    read.form = (enum pairs_form)form;
    *checkpoint = read;
    return ERROR_NONE;
}

static bool write_line(FILE *file, const struct checkpoint *checkpoint)
{
    const struct pairs_position *at = &checkpoint->position;
    int len = fprintf(file, FORM "\n", (int)checkpoint->form, at->offset, at->line,
                      checkpoint->input_bytes, checkpoint->imported, checkpoint->skipped,
                      checkpoint->expired, checkpoint->bad);
    return len > 0 && fflush(file) == 0 && fdatasync(fileno(file)) == 0;
}

enum error checkpoint_write(const char *path, const struct checkpoint *checkpoint,
                            struct failure *failure)
{
    char beside[PATH_BYTES];
    if (snprintf(beside, sizeof beside, "%s.new", path) >= (int)sizeof beside) {
        errno = ENAMETOOLONG;
        return refuse(failure, path);
    }
    FILE *file = fopen(beside, "we");
    if (file == NULL) {
        return refuse(failure, beside);
    }
    bool written = write_line(file, checkpoint);
    written = fclose(file) == 0 && written;
    if (!written || rename(beside, path) != 0) {
        return refuse(failure, path);
    }
    return ERROR_NONE;
}
