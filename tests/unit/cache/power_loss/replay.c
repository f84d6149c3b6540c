// What is certain of each file and what is not, from event to event.

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"
#include "base/memory.h"
#include "unit/cache/power_loss/disk.h"
#include "unit/cache/power_loss/record.h"

enum { FILES_MAX = 64, NAMES_MAX = 8, LENGTHS_MAX = 4096, PATH_BYTES = 256 };

static const size_t LENGTH_MAX = 64u << 20;

struct image {
    uint8_t *bytes; // LENGTH_MAX of them, zeroes beyond `length`; NULL: none yet
    size_t length;
};

// A sector as a write left it.
struct version {
    size_t sector;
    uint8_t bytes[DISK_SECTOR_BYTES];
};

struct file {
    struct image synced;
    struct image written; // as the process sees it
    // Since the sync, in order:
    struct version *versions;
    size_t versions_count;
    size_t versions_capacity;
    size_t lengths[LENGTHS_MAX];
    size_t lengths_count;
    bool was_cut; // and what was beyond need not be zeroes in `synced`
};

struct names {
    bool is_made; // the directory itself
    size_t count;
    struct {
        char name[DISK_NAME_BYTES];
        int file;
    } each[NAMES_MAX];
};

struct disk_replay {
    size_t moment;
    struct file files[FILES_MAX];
    struct names synced;
    bool is_directory_synced;
    size_t names_moment; // of the last sync of names: what changed them since is not certain
};

// ---- Images

static void set_length(struct image *image, size_t length)
{
    CHECK(length <= LENGTH_MAX);
    if (image->bytes == NULL) {
        image->bytes = disk_room_take(LENGTH_MAX);
    }
    if (length < image->length) {
        memset(image->bytes + length, 0, image->length - length);
    }
    image->length = length;
}

static void copy_image(struct image *to, const struct image *from)
{
    set_length(to, from->length);
    if (from->length > 0) {
        memcpy(to->bytes, from->bytes, from->length);
    }
}

// Sectors beyond the length are lost with it.
static void put_version(struct image *image, const struct version *version)
{
    size_t at = version->sector * DISK_SECTOR_BYTES;
    if (at < image->length) {
        size_t left = image->length - at;
        memcpy(image->bytes + at, version->bytes,
               left < DISK_SECTOR_BYTES ? left : DISK_SECTOR_BYTES);
    }
}

// ---- Events

static void add_version(struct file *file, size_t sector)
{
    if (file->versions_count == file->versions_capacity) {
        file->versions_capacity = file->versions_capacity * 2 + 64;
        file->versions =
            memory_resize(file->versions, file->versions_capacity * sizeof *file->versions);
    }
    struct version *version = &file->versions[file->versions_count++];
    size_t at = sector * DISK_SECTOR_BYTES;
    size_t left = file->written.length - at;
    size_t len = left < DISK_SECTOR_BYTES ? left : DISK_SECTOR_BYTES;
    *version = (struct version){.sector = sector};
    memcpy(version->bytes, file->written.bytes + at, len);
}

static void add_length(struct file *file, size_t length)
{
    CHECK(file->lengths_count < LENGTHS_MAX);
    file->lengths[file->lengths_count++] = length;
}

// What comes of a write that is synced by itself: nothing older can be found in its sectors.
static void sync_range(struct file *file, size_t first, size_t last)
{
    size_t end = (last + 1) * DISK_SECTOR_BYTES;
    end = end < file->written.length ? end : file->written.length;
    if (file->synced.length < end) {
        set_length(&file->synced, end);
    }
    size_t kept = 0;
    for (size_t i = 0; i < file->versions_count; i++) {
        if (file->versions[i].sector < first || file->versions[i].sector > last) {
            file->versions[kept++] = file->versions[i];
        }
    }
    file->versions_count = kept;
    size_t at = first * DISK_SECTOR_BYTES;
    memcpy(file->synced.bytes + at, file->written.bytes + at, end - at);
}

static void write_file(struct file *file, const struct disk_event *event, bool is_synced)
{
    size_t at = (size_t)event->at;
    size_t end = at + event->len;
    if (end > file->written.length) {
        set_length(&file->written, end);
        add_length(file, end);
    }
    memcpy(file->written.bytes + at, event->bytes, event->len);
    size_t first = at / DISK_SECTOR_BYTES;
    size_t last = (end - 1) / DISK_SECTOR_BYTES;
    if (is_synced) {
        sync_range(file, first, last);
        return;
    }
    for (size_t sector = first; sector <= last; sector++) {
        add_version(file, sector);
    }
}

static void sync_file(struct file *file)
{
    if (file->was_cut) {
        copy_image(&file->synced, &file->written);
    } else {
        set_length(&file->synced, file->written.length);
        for (size_t i = 0; i < file->versions_count; i++) {
            put_version(&file->synced, &file->versions[i]);
        }
    }
    file->was_cut = false;
    file->versions_count = 0;
    file->lengths_count = 0;
}

static int find_name(const struct names *names, const char *name)
{
    for (size_t i = 0; i < names->count; i++) {
        if (strcmp(names->each[i].name, name) == 0) {
            return (int)i;
        }
    }
    return -1;
}

static void remove_name(struct names *names, const char *name)
{
    int at = find_name(names, name);
    if (at >= 0) {
        names->each[at] = names->each[--names->count];
    }
}

static void add_name(struct names *names, const char *name, int file)
{
    CHECK(names->count < NAMES_MAX);
    snprintf(names->each[names->count].name, DISK_NAME_BYTES, "%s", name);
    names->each[names->count++].file = file;
}

static void change_names(struct names *names, const struct disk_event *event)
{
    if (event->kind == DISK_MKDIR) {
        names->is_made = true;
    } else if (event->kind == DISK_CREATE) {
        add_name(names, event->name, event->file);
    } else if (event->kind == DISK_UNLINK) {
        remove_name(names, event->name);
    } else if (event->kind == DISK_RENAME) {
        int at = find_name(names, event->name);
        CHECK(at >= 0);
        int file = names->each[at].file;
        remove_name(names, event->name);
        remove_name(names, event->other_name);
        add_name(names, event->other_name, file);
    }
}

// The names after all that was done up to `moment`.
static struct names names_at(const struct disk_replay *replay, size_t moment)
{
    struct names names = replay->synced;
    for (size_t i = replay->names_moment; i < moment; i++) {
        change_names(&names, disk_record_event(i));
    }
    return names;
}

static void sync_names(struct disk_replay *replay, size_t moment)
{
    replay->synced = names_at(replay, moment);
    replay->names_moment = moment;
}

static void apply(struct disk_replay *replay, size_t index)
{
    const struct disk_event *event = disk_record_event(index);
    struct file *file = &replay->files[event->file];
    switch (event->kind) {
    case DISK_WRITE:
        write_file(file, event, event->is_synced);
        break;
    case DISK_LENGTH:
        file->was_cut = file->was_cut || (size_t)event->at < file->written.length;
        set_length(&file->written, (size_t)event->at);
        add_length(file, (size_t)event->at);
        break;
    case DISK_SYNC:
        sync_file(file);
        break;
    case DISK_SYNC_DIR:
        sync_names(replay, index);
        break;
    case DISK_SYNC_PARENT:
        replay->is_directory_synced = true;
        break;
    default:
        break; // names_at
    }
}

struct disk_replay *disk_replay_create(void)
{
    return memory_zeroed(1, sizeof(struct disk_replay));
}

void disk_replay_destroy(struct disk_replay *replay)
{
    for (int i = 0; i < FILES_MAX; i++) {
        disk_room_give_back(replay->files[i].synced.bytes, LENGTH_MAX);
        disk_room_give_back(replay->files[i].written.bytes, LENGTH_MAX);
        free(replay->files[i].versions);
    }
    free(replay);
}

void disk_replay_to(struct disk_replay *replay, size_t moment)
{
    CHECK(moment >= replay->moment && moment <= disk_now());
    for (; replay->moment < moment; replay->moment++) {
        apply(replay, replay->moment);
    }
}

// ---- The power loss

// How much of what is not certain survives.
enum fate { FATE_NOTHING, FATE_ALL, FATE_SOME, FATE_FIRST, FATE_LAST, FATE_COUNT };

struct chance {
    struct random *random;
    enum fate fate;
    uint64_t percent;     // FATE_SOME: of the sectors
    size_t sector_bytes;  // what is written whole
    size_t cut_per_mille; // FATE_FIRST, FATE_LAST: where
};

static struct chance chance_of(struct random *random)
{
    return (struct chance){.random = random,
                           .fate = (enum fate)random_below(random, FATE_COUNT),
                           .percent = 5 + random_below(random, 91),
                           .sector_bytes =
                               random_below(random, 2) == 0 ? DISK_SECTOR_BYTES : DISK_BLOCK_BYTES,
                           .cut_per_mille = random_below(random, 1001)};
}

static bool survives(const struct chance *chance, size_t index, size_t count)
{
    size_t cut = count * chance->cut_per_mille / 1000;
    switch (chance->fate) {
    case FATE_NOTHING:
        return false;
    case FATE_ALL:
        return true;
    case FATE_FIRST:
        return index < cut;
    case FATE_LAST:
        return index >= cut;
    default:
        return random_below(chance->random, 100) < chance->percent;
    }
}

static void put_versions(struct image *image, const struct file *file, const struct chance *chance)
{
    size_t whole = chance->sector_bytes / DISK_SECTOR_BYTES;
    bool is_there = false;
    for (size_t i = 0; i < file->versions_count; i++) {
        // The sectors of a block that were written together share its fate.
        size_t sector = file->versions[i].sector;
        bool begins = i == 0 || file->versions[i - 1].sector + 1 != sector || sector % whole == 0;
        is_there = begins ? survives(chance, i, file->versions_count) : is_there;
        if (is_there) {
            put_version(image, &file->versions[i]);
        }
    }
}

static size_t length_left(const struct file *file, const struct chance *chance)
{
    uint64_t choice = chance->fate == FATE_ALL ? file->lengths_count
                      : chance->fate == FATE_NOTHING
                          ? 0
                          : random_below(chance->random, file->lengths_count + 1);
    return choice == 0 ? file->synced.length : file->lengths[choice - 1];
}

// Blocks of zeroes are left out: a hole reads the same.
static void save(const struct image *image, const char *path)
{
    static const uint8_t ZEROES[DISK_BLOCK_BYTES];
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0640);
    CHECK_VALUES(fd >= 0, "%s: %s", path, strerrordesc_np(errno));
    CHECK(ftruncate(fd, (off_t)image->length) == 0);
    for (size_t at = 0; at < image->length; at += DISK_BLOCK_BYTES) {
        size_t left = image->length - at;
        size_t len = left < DISK_BLOCK_BYTES ? left : DISK_BLOCK_BYTES;
        if (memcmp(image->bytes + at, ZEROES, len) != 0) {
            CHECK(pwrite(fd, image->bytes + at, len, (off_t)at) == (ssize_t)len);
        }
    }
    close(fd);
}

// LMDB's lock file is written through a map and means nothing once nobody runs.
static bool is_lock(const char *name)
{
    size_t len = strlen(name);
    return len > 5 && strcmp(name + len - 5, "-lock") == 0;
}

static void save_file(const struct file *file, const char *name, const struct chance *chance,
                      const char *dir)
{
    char path[PATH_BYTES];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    static struct image left; // kept, since to take its pages anew is most of the work
    copy_image(&left, &file->synced);
    set_length(&left, length_left(file, chance));
    put_versions(&left, file, chance);
    if (is_lock(name)) {
        random_fill(chance->random, left.bytes, left.length);
    }
    save(&left, path);
}

// The write in which power is lost counts as done and as not synced; it is taken back afterwards.
static struct file *begin_next(const struct disk_replay *replay)
{
    if (replay->moment == disk_now() || disk_record_event(replay->moment)->kind != DISK_WRITE) {
        return NULL;
    }
    const struct disk_event *event = disk_record_event(replay->moment);
    const struct file *file = &replay->files[event->file];
    struct file *copy = memory_zeroed(1, sizeof *copy);
    *copy = *file;
    copy->written = (struct image){0};
    copy_image(&copy->written, &file->written);
    copy->versions = memory_zeroed(file->versions_capacity + 1, sizeof *copy->versions);
    copy->versions_capacity = file->versions_capacity + 1;
    if (file->versions_count > 0) {
        memcpy(copy->versions, file->versions, file->versions_count * sizeof *copy->versions);
    }
    write_file(copy, event, false);
    return copy;
}

static struct names names_left(const struct disk_replay *replay, const struct chance *chance)
{
    uint64_t uncertain = replay->moment - replay->names_moment;
    uint64_t kept = chance->fate == FATE_ALL       ? uncertain
                    : chance->fate == FATE_NOTHING ? 0
                                                   : random_below(chance->random, uncertain + 1);
    struct names names = names_at(replay, replay->names_moment + kept);
    bool is_directory_left = replay->is_directory_synced || chance->fate == FATE_ALL ||
                             (chance->fate != FATE_NOTHING && random_below(chance->random, 2) == 0);
    names.is_made = names.is_made && is_directory_left;
    return names;
}

void disk_replay_lose_power(const struct disk_replay *replay, struct random *random,
                            const char *dir)
{
    struct chance chance = chance_of(random);
    struct names names = names_left(replay, &chance);
    if (!names.is_made) {
        return;
    }
    CHECK(mkdir(dir, 0750) == 0);
    struct file *torn = begin_next(replay);
    for (size_t i = 0; i < names.count; i++) {
        int number = names.each[i].file;
        bool is_torn = torn != NULL && disk_record_event(replay->moment)->file == number;
        save_file(is_torn ? torn : &replay->files[number], names.each[i].name, &chance, dir);
    }
    if (torn != NULL) {
        disk_room_give_back(torn->written.bytes, LENGTH_MAX);
        free(torn->versions);
        free(torn);
    }
}
