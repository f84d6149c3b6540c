// One reading of the configuration file: what was read so far, and how its failures are worded.
// Part of config_load; nothing is kept between calls.
#pragma once

#include "config/config.h"
#include "config/keys.h"

struct reading {
    const char *path;
    bool has_file; // else the defaults are all that there is
    struct config config;
    struct failure *failure;
    struct config_checks checks;
    int *lines; // of each row, 0 where the file does not name it
};

// Sets the failure: "FILE:LINE: key: what is wrong", without the line where it is 0.
enum error reading_wrong(const struct reading *reading, int line, const char *key,
                         const char *format, ...) __attribute__((format(printf, 4, 5)));
// The row of "section.name"; NULL where there is none.
const struct key_row *reading_find_row(const char *key);
// Where the file names the key, 0 where it does not; the key is one of the table's.
int reading_line(const struct reading *reading, const char *key);
// Lets `check` (NULL: nothing to check) judge the text that stands at `key`; `name` is what the
// message calls it.
enum error reading_check_text(struct reading *reading, config_text_check check, const char *text,
                              const char *key, const char *name);
