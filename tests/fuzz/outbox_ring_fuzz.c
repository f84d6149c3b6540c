// Any bytes as what a start finds in the ring of the outbox, by the very takeover of the start. The
// first byte says how they are meant:
//
//   0  they are the file
//   1  records that somebody forged, all of whose checksums are right
//   2  what the daemon wrote into its ring, and then damage to one part of the file
//
// What is taken over is in order and follows on what the outbox has. After damage it is what was
// written and nothing else, to the byte; and where anything that was acknowledged is missing, the
// start says so, and says nothing where nothing is.
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"
#include "base/checksum.h"
#include "base/log.h"
#include "base/memory.h"
#include "cache/outbox.h"

enum { RING_BYTES = 8192, FILE_BYTES = RING_HEADER_BYTES + RING_BYTES, FILE_BYTES_MAX = 1 << 16 };
enum { WRITES_MAX = 512, FIRST_SEQ = 100 };

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

// The places of the header and of a record, as cache/outbox_ring.h draws them.
enum { HEADER_ID = 16, HEADER_CHANGING = 128, HEADER_END = HEADER_CHANGING + 24 };

struct record {
    uint64_t checksum;
    uint64_t at;
    uint64_t seq;
    uint64_t before_seq;
    uint32_t bytes;
    uint32_t entry_checksum;
};

// What the run before left behind, as far as it is known.
struct past {
    size_t key_bytes[WRITES_MAX]; // of the writes from FIRST_SEQ on
    uint64_t newest_seq;          // that was acknowledged
    uint64_t outbox_seq;          // the newest that the outbox has
};

struct found {
    uint64_t last_seq;
    uint64_t lost_count;
    bool is_told;
};

static struct {
    struct outbox outbox;
    char outbox_dir[64];
    char ring_dir[64];
    uint8_t file[FILE_BYTES_MAX];
} world;

// ---- input

struct input {
    struct slice rest;
};

static uint64_t take(struct input *input, size_t bytes)
{
    uint64_t number = 0;
    bytes = bytes < input->rest.len ? bytes : input->rest.len;
    memcpy(&number, input->rest.at, bytes);
    input->rest = slice_of(input->rest.at + bytes, input->rest.len - bytes);
    return number;
}

// ---- the outbox that takes over; the ring lies in memory where that can be, since each run writes
// it

static void remove_files(void)
{
    const char *const dirs[] = {world.ring_dir, world.outbox_dir};
    const char *const names[] = {OUTBOX_RING_FILE, "outbox.mdb", "outbox.mdb-lock",
                                 "outbox.new-lock", "lock"};
    for (size_t i = 0; i < 2; i++) {
        int fd = open(dirs[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        for (size_t k = 0; k < sizeof names / sizeof names[0]; k++) {
            unlinkat(fd, names[k], 0);
        }
        close(fd);
        rmdir(dirs[i]);
    }
}

static void open_world(void)
{
    struct outbox_options options = {
        .dir = world.outbox_dir,
        .capacity_bytes = 16 << 20,
        .boot_id = "boot",
        .goes_without_log = true,
    };
    struct failure failure = {0};
    // All that a start says of a ring would be said thousands of times a second.
    log_configure(LOG_LEVEL_ERROR + 1, LOG_FORMAT_LOGFMT);
    strcpy(world.outbox_dir, "/var/tmp/pgnear-ring-fuzz-XXXXXX");
    strcpy(world.ring_dir, "/dev/shm/pgnear-ring-fuzz-XXXXXX");
    CHECK(mkdtemp(world.outbox_dir) != NULL);
    if (mkdtemp(world.ring_dir) == NULL) {
        strcpy(world.ring_dir, "/var/tmp/pgnear-ring-fuzz-XXXXXX");
        CHECK(mkdtemp(world.ring_dir) != NULL);
    }
    CHECK(atexit(remove_files) == 0);
    enum error error = outbox_open(&world.outbox, &options, &failure);
    CHECK_VALUES(error == ERROR_NONE, "%s", failure.message);
    outbox_ring_close(&world.outbox.ring);
    close(world.outbox.directory.fd);
    world.outbox.directory.fd = open(world.ring_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CHECK(world.outbox.directory.fd >= 0);
}

static struct outbox_ring_owner owner(void)
{
    return (struct outbox_ring_owner){world.outbox.identity.node, world.outbox.boot_id};
}

static int open_file(void)
{
    int fd =
        openat(world.outbox.directory.fd, OUTBOX_RING_FILE, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
    CHECK(fd >= 0);
    return fd;
}

static void store_file(size_t bytes)
{
    int fd = open_file();
    CHECK(ftruncate(fd, 0) == 0 && pwrite(fd, world.file, bytes, 0) == (ssize_t)bytes);
    close(fd);
}

static void load_file(void)
{
    int fd = open_file();
    CHECK(pread(fd, world.file, FILE_BYTES, 0) == FILE_BYTES);
    close(fd);
}

// A ring without anything in it, as a start leaves it.
static void begin_ring(struct outbox_ring *ring)
{
    const struct outbox_ring_owner whose = owner();
    int fd = open_file();
    CHECK(ftruncate(fd, FILE_BYTES) == 0);
    close(fd);
    CHECK(outbox_ring_open(ring, &world.outbox.directory, RING_BYTES) == ERROR_NONE);
    outbox_ring_begin(ring, &whose);
}

// ---- writes: each is known by its number and the length of its key

static void encode_write(uint64_t seq, size_t key_bytes, struct rows *rows)
{
    uint8_t key[KEY_BYTES_MAX];
    struct pair pair = {.key = slice_of(key, key_bytes), .value = slice_of("\x01", 1)};
    struct call call = {
        .method = METHOD_SET,
        .pairs = &pair,
        .pairs_count = 1,
    };
    struct buffer pairs = {0};
    struct entry entry;
    memset(key, 'a' + (int)(seq % 26), sizeof key);
    entry_of_call(&call, &entry, &pairs);
    entry.seq = seq;
    rows_add(rows, &entry);
    buffer_deinit(&pairs);
}

static void check_written(const struct past *past, uint64_t seq, struct slice entry)
{
    struct rows rows = {0};
    struct slice expected;
    CHECK_VALUES(seq > past->outbox_seq && seq <= past->newest_seq, "%llu was never written",
                 (unsigned long long)seq);
    encode_write(seq, past->key_bytes[seq - FIRST_SEQ], &rows);
    struct rows_cursor cursor = rows_cursor_of(&rows);
    CHECK(rows_next(&cursor, &seq, &expected) && slice_equal(entry, expected));
    rows_deinit(&rows);
}

// ---- the takeover

// In order, and all of them where it is known what was written: PostgreSQL holds a prefix.
static void check_entries(const struct past *past, bool is_known)
{
    MDB_cursor *cursor;
    MDB_val key, value;
    uint64_t last_seq = past->outbox_seq;
    CHECK(mdb_cursor_open(world.outbox.txn, world.outbox.entries, &cursor) == MDB_SUCCESS);
    while (mdb_cursor_get(cursor, &key, &value, MDB_NEXT) == MDB_SUCCESS) {
        uint64_t seq = environment_number_of(key);
        struct entry entry;
        CHECK(seq > last_seq && seq < world.outbox.next_seq);
        CHECK(entry_decode(seq, environment_slice(value), &entry) == ERROR_NONE);
        CHECK(!is_known || seq == last_seq + 1);
        if (is_known) {
            check_written(past, seq, environment_slice(value));
        }
        last_seq = seq;
    }
    mdb_cursor_close(cursor);
    CHECK(last_seq == world.outbox.state.last_seq);
}

static struct found take_over(const struct past *past, bool is_known)
{
    struct outbox *outbox = &world.outbox;
    const struct outbox_ring_owner whose = owner();
    struct outbox_ring_found look;
    struct failure failure = {0};
    CHECK(outbox_begin(outbox, 0) == ERROR_NONE);
    outbox->state.layout = OUTBOX_LAYOUT_RINGED;
    outbox->state.last_seq = past->outbox_seq;
    outbox->next_seq = past->newest_seq + 1;
    CHECK(outbox_ring_look(&outbox->directory, &whose, &look) == ERROR_NONE);
    enum error error = outbox_take_over_ring(outbox, &failure);
    CHECK_VALUES(error == ERROR_NONE, "%s", failure.message);
    check_entries(past, is_known);
    struct found found = {
        .last_seq = outbox->state.last_seq,
        .lost_count = outbox->lost_count,
        .is_told = outbox->lost_count > 0 || look.state != OUTBOX_RING_PRESENT,
    };
    CHECK((outbox->ring.header == NULL) >= outbox->puts_ring_aside);
    outbox_ring_close(&outbox->ring);
    outbox->lost_count = 0;
    outbox->puts_ring_aside = false;
    outbox_abort(outbox);
    return found;
}

// ---- 0: any file

static void run_file(struct input *input)
{
    struct past past = {.newest_seq = FIRST_SEQ + 1000, .outbox_seq = FIRST_SEQ};
    size_t bytes = input->rest.len < FILE_BYTES_MAX ? input->rest.len : FILE_BYTES_MAX;
    memcpy(world.file, input->rest.at, bytes);
    store_file(bytes);
    take_over(&past, false);
}

// ---- 1: forged records

// A number that is near what it should be, or any.
static uint64_t take_near(struct input *input, uint64_t number)
{
    uint8_t how = (uint8_t)take(input, 1);
    return how == 0xff ? take(input, 8) : number + how - 1;
}

static uint64_t forge_record(struct input *input, uint64_t at, uint64_t *seq, uint64_t id)
{
    struct rows rows = {0};
    struct slice entry;
    uint64_t written_seq;
    encode_write(FIRST_SEQ, 1 + take(input, 1), &rows);
    struct rows_cursor cursor = rows_cursor_of(&rows);
    CHECK(rows_next(&cursor, &written_seq, &entry));
    struct record record = {
        .at = take_near(input, at + 1) / 8 * 8,
        .before_seq = take_near(input, *seq),
        .seq = take_near(input, *seq + 1),
        .bytes = (uint32_t)take_near(input, entry.len + 1),
        .entry_checksum = (uint32_t)checksum(entry, id),
    };
    record.checksum = checksum(slice_of(&record.at, sizeof record - sizeof record.checksum), id);
    size_t offset = record.at % RING_BYTES;
    if (offset + sizeof record + entry.len <= RING_BYTES) {
        memcpy(world.file + RING_HEADER_BYTES + offset, &record, sizeof record);
        memcpy(world.file + RING_HEADER_BYTES + offset + sizeof record, entry.at, entry.len);
    }
    *seq = record.seq;
    at = record.at + (sizeof record + entry.len + 7) / 8 * 8;
    rows_deinit(&rows);
    return at;
}

static void run_forged(struct input *input)
{
    struct past past = {.newest_seq = FIRST_SEQ + 1000, .outbox_seq = FIRST_SEQ};
    struct outbox_ring ring;
    uint64_t id, changing[3];
    begin_ring(&ring);
    outbox_ring_close(&ring);
    load_file();
    memset(world.file + RING_HEADER_BYTES, 0, RING_BYTES);
    memcpy(&id, world.file + HEADER_ID, sizeof id);
    changing[0] = take_near(input, 1);
    changing[1] = take_near(input, 1);
    changing[2] = take_near(input, FIRST_SEQ);
    memcpy(world.file + HEADER_CHANGING, changing, sizeof changing);
    uint64_t at = changing[0], seq = FIRST_SEQ;
    while (input->rest.len > 0) {
        at = forge_record(input, at, &seq, id);
    }
    store_file(FILE_BYTES);
    take_over(&past, false);
}

// ---- 2: a ring that was written, and damage

static void add_writes(struct input *input, struct outbox_ring *ring, struct past *past)
{
    struct rows rows = {0};
    size_t count = take(input, 1) % 4 + 1;
    uint64_t seq = past->newest_seq;
    for (size_t i = 0; i < count && seq + 1 < FIRST_SEQ + WRITES_MAX; i++) {
        size_t *key_bytes = &past->key_bytes[++seq - FIRST_SEQ];
        *key_bytes = 1 + take(input, 2) % KEY_BYTES_MAX;
        encode_write(seq, *key_bytes, &rows);
    }
    if (outbox_ring_add(ring, past->newest_seq, rows_cursor_of(&rows)) == ERROR_NONE) {
        past->newest_seq = seq;
    }
    rows_deinit(&rows);
}

// The outbox may have what the ring does not know to be there: then the process was killed.
static void write_ring(struct input *input, struct past *past)
{
    enum { STOP, ADD, ORDER, FAIL, COMMIT, NOTE, CLEAR, KINDS };
    struct outbox_ring ring;
    uint64_t ordered_seq = past->outbox_seq;
    unsigned kind;
    begin_ring(&ring);
    while ((kind = (unsigned)take(input, 1) % KINDS) != STOP) {
        if (kind == ADD) {
            add_writes(input, &ring, past);
        } else if (kind == ORDER) {
            outbox_ring_note_moving(&ring);
            ordered_seq = past->newest_seq;
        } else if (kind == FAIL) {
            outbox_ring_note_moved(&ring, false);
        } else if (kind == CLEAR) {
            outbox_ring_clear(&ring);
            past->outbox_seq = past->newest_seq;
        } else if (ring.moving_end > 0) {
            past->outbox_seq = ordered_seq > past->outbox_seq ? ordered_seq : past->outbox_seq;
            if (kind == NOTE) {
                outbox_ring_note_moved(&ring, true);
            }
        }
    }
    outbox_ring_close(&ring);
}

enum damage { DAMAGE_NONE, DAMAGE_RECORDS, DAMAGE_HEADER, DAMAGE_NUMBER, DAMAGE_SIZE, DAMAGES };

// The bytes of the file that are left.
static size_t spoil(struct input *input, enum damage damage)
{
    size_t from = damage == DAMAGE_RECORDS ? RING_HEADER_BYTES : 0;
    size_t bytes = damage == DAMAGE_RECORDS ? RING_BYTES : HEADER_CHANGING;
    uint64_t number;
    switch (damage) {
    case DAMAGE_RECORDS:
    case DAMAGE_HEADER:
        while (input->rest.len > 0) {
            size_t offset = take(input, 2) % bytes;
            world.file[from + offset] ^= (uint8_t)take(input, 1);
        }
        return FILE_BYTES;
    case DAMAGE_NUMBER:
        from = HEADER_CHANGING + take(input, 1) % 3 * sizeof number;
        memcpy(&number, world.file + from, sizeof number);
        number = take_near(input, number + 1 - take(input, 1));
        memcpy(world.file + from, &number, sizeof number);
        return FILE_BYTES;
    case DAMAGE_SIZE:
        memset(world.file + FILE_BYTES, 0, sizeof world.file - FILE_BYTES);
        return take(input, 2);
    default:
        return FILE_BYTES;
    }
}

static void check_found(const struct past *past, const struct found *found, enum damage damage)
{
    uint64_t missing = past->newest_seq - found->last_seq;
    CHECK_VALUES(missing == 0 || found->is_told, "%llu of %llu lost, and nothing is said of it",
                 (unsigned long long)missing, (unsigned long long)past->newest_seq);
    if (damage == DAMAGE_NONE) {
        CHECK(missing == 0);
    }
    if (damage == DAMAGE_NONE || damage == DAMAGE_RECORDS) {
        CHECK_VALUES(found->lost_count == missing, "%llu lost, %llu told",
                     (unsigned long long)missing, (unsigned long long)found->lost_count);
    }
}

static void run_damaged(struct input *input)
{
    static struct past past;
    past.newest_seq = past.outbox_seq = FIRST_SEQ;
    write_ring(input, &past);
    enum damage damage = (enum damage)(take(input, 1) % DAMAGES);
    load_file();
    store_file(spoil(input, damage));
    struct found found = take_over(&past, true);
    check_found(&past, &found, damage);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct input input = {.rest = slice_of(bytes, len)};
    if (len == 0) {
        return 0;
    }
    if (world.outbox.env == NULL) {
        open_world();
    }
    switch (take(&input, 1) % 3) {
    case 0:
        run_file(&input);
        break;
    case 1:
        run_forged(&input);
        break;
    default:
        run_damaged(&input);
        break;
    }
    return 0;
}
