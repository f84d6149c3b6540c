// Stands in for libFuzzer where that is not linked: gives the target every file of the corpus
// directories it is started with, and every prefix of the shorter ones, since a decoder meets its
// input cut at any byte. Each run has the bytes in an allocation of exactly their size, so that
// the address sanitizer sees the first byte read beyond them. A corpus without files is an error:
// a replay of nothing would always pass.

#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/check.h"
#include "base/memory.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

// Above this length a file is run whole only: all its prefixes would take quadratic time.
enum { PREFIXES_LEN_MAX = 4096, READ_BYTES = 65536 };

static void run_one(struct slice input)
{
    uint8_t *copy = memory_resize(NULL, input.len);
    if (input.len > 0) {
        memcpy(copy, input.at, input.len);
    }
    int result = LLVMFuzzerTestOneInput(copy, input.len);
    CHECK_VALUES(result == 0, "result %d", result);
    free(copy);
}

static void run_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    CHECK_VALUES(file != NULL, "%s", path);
    struct buffer content = {0};
    size_t len = 0;
    do {
        len = fread(buffer_reserve(&content, READ_BYTES), 1, READ_BYTES, file);
        buffer_commit(&content, len);
    } while (len > 0);
    CHECK_VALUES(ferror(file) == 0, "%s", path);
    fclose(file);

    printf("%s: %zu bytes\n", path, buffer_len(&content));
    fflush(stdout);
    run_one(buffer_slice(&content));
    if (buffer_len(&content) <= PREFIXES_LEN_MAX) {
        for (size_t cut = 0; cut < buffer_len(&content); cut++) {
            run_one(slice_of(buffer_slice(&content).at, cut));
        }
    }
    buffer_deinit(&content);
}

static int is_visible(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

// The number of files run.
static int run_directory(const char *path)
{
    struct dirent **entries = NULL;
    int count = scandir(path, &entries, is_visible, alphasort);
    CHECK_VALUES(count > 0, "no corpus in %s", path);
    for (int i = 0; i < count; i++) {
        struct buffer name = {0};
        buffer_printf(&name, "%s/%s", path, entries[i]->d_name);
        char *file = memory_string(buffer_slice(&name));
        run_file(file);
        free(file);
        buffer_deinit(&name);
        free(entries[i]);
    }
    free(entries);
    return count;
}

int main(int argc, char **argv)
{
    CHECK_VALUES(argc > 1, "usage: %s CORPUS_DIRECTORY...", argv[0]);
    int files = 0;
    for (int i = 1; i < argc; i++) {
        files += run_directory(argv[i]);
    }
    printf("%d files replayed\n", files);
    return 0;
}
