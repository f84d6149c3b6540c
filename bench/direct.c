// bench_direct: reads in this process, one key after another, uniformly drawn.
//
//   bench_direct warm SOCKET KEYS                          mget of all keys: fills the node's cache
//   bench_direct get SOCKET KEYS VALUE-BYTES SECONDS SEED  pgnear_get of pgnear.h
//   bench_direct mget ...                                  pgnear_mget of 100 keys, each of which
//                                                          is an operation
//   bench_direct batch ...                                 the same by pgnear_batch_get
//   bench_direct mdb FILE KEYS VALUE-BYTES SECONDS SEED    mdb_get of the same file, each in a
//                                                          transaction renewed for it
//   bench_direct mdb-bare ...                              as mdb, all in one transaction: sees
//                                                          nothing that came after its begin
//   bench_direct get-document SOCKET ...                   pgnear_get of documents that end with
//   their
//                                                          key as the member `tail`
//   bench_direct lend-document ...                         the same by pgnear_lend
//   bench_direct path-document ...                         that member by pgnear_get_path
//
// What a process that has run for a while has behind it comes first: the pages of the files, as far
// as they are in memory, are entered into its table of pages. Otherwise half a second of reads in a
// large cache is one of page faults.
//
// Every value's first and last bytes are compared, so that all touch the same memory; of a document
// its last ones. Throughput is of runs of 64 reads between looks at the clock; every 16th read of
// another tenth of the time is timed by itself for the latencies, which of many keys are the
// call's.
#include <inttypes.h>
#include <lmdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <pgnear.h>

#include "base/check.h"
#include "load/hdr.h"
#include "load/keys.h"

enum { RUN_READS = 64, SAMPLE_EVERY = 16, WARM_KEYS = 1000, PART_PAGES = 1 << 16, MANY = 100 };

// Prints what is wrong and ends the process.
static _Noreturn void give_up(const char *what, const char *why)
{
    fprintf(stderr, "bench_direct: %s: %s\n", what, why);
    exit(1);
}

enum way { WAY_GET, WAY_MGET, WAY_BATCH, WAY_MDB, WAY_GET_DOCUMENT, WAY_LEND_DOCUMENT, WAY_PATH };

static const struct {
    const char *name;
    enum way way;
} WAYS[] = {
    {"get", WAY_GET},
    {"mget", WAY_MGET},
    {"batch", WAY_BATCH},
    {"mdb", WAY_MDB},
    {"mdb-bare", WAY_MDB},
    {"get-document", WAY_GET_DOCUMENT},
    {"lend-document", WAY_LEND_DOCUMENT},
    {"path-document", WAY_PATH},
};

struct source {
    enum way way;
    pgnear *node;
    pgnear_batch *batch;
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi records;
    bool renews;
    size_t header_bytes; // in front of the value
};

static void check_mdb(int code, const char *what)
{
    if (code != MDB_SUCCESS) {
        give_up(what, mdb_strerror(code));
    }
}

static void check_node(pgnear_code code, const char *what, const pgnear_error *error)
{
    if (code != PGNEAR_OK) {
        give_up(what, error->message);
    }
}

static bool read_node(const struct source *source, pgnear_bytes key, const uint8_t **value,
                      size_t *len)
{
    pgnear_item item;
    pgnear_error error;
    switch (source->way) {
    case WAY_LEND_DOCUMENT:
        pgnear_release(source->node);
        check_node(pgnear_lend(source->node, key, NULL, &item, &error), "pgnear_lend", &error);
        break;
    case WAY_PATH:
        check_node(pgnear_get_path(source->node, key, "$.tail", NULL, &item, &error),
                   "pgnear_get_path", &error);
        break;
    default:
        check_node(pgnear_get(source->node, key, NULL, &item, &error), "pgnear_get", &error);
        break;
    }
    *value = item.value.at;
    *len = item.value.len;
    return item.present;
}

// True where the key is there; the value is valid until the next read.
static bool read_key(struct source *source, const char *key, const uint8_t **value, size_t *len)
{
    if (source->way != WAY_MDB) {
        return read_node(source, (pgnear_bytes){key, KEY_TEXT_BYTES}, value, len);
    }
    MDB_val name = {KEY_TEXT_BYTES, (void *)(uintptr_t)key};
    MDB_val found;
    if (source->renews) {
        mdb_txn_reset(source->txn);
        check_mdb(mdb_txn_renew(source->txn), "mdb_txn_renew");
    }
    int code = mdb_get(source->txn, source->records, &name, &found);
    if (code == MDB_NOTFOUND) {
        return false;
    }
    check_mdb(code, "mdb_get");
    *value = (const uint8_t *)found.mv_data + source->header_bytes;
    *len = found.mv_size - source->header_bytes;
    return true;
}

static void open_mdb(struct source *source, const char *file)
{
    enum { MAPS = 8, RECORD_HEADER = 40 };
    check_mdb(mdb_env_create(&source->env), "mdb_env_create");
    check_mdb(mdb_env_set_maxdbs(source->env, MAPS), "mdb_env_set_maxdbs");
    check_mdb(mdb_env_set_maxreaders(source->env, 1024), "mdb_env_set_maxreaders");
    check_mdb(mdb_env_open(source->env, file, MDB_RDONLY | MDB_NOSUBDIR | MDB_NOTLS, 0), file);
    // A handle is good for later transactions once the one it was opened in has ended well.
    check_mdb(mdb_txn_begin(source->env, NULL, MDB_RDONLY, &source->txn), "mdb_txn_begin");
    check_mdb(mdb_dbi_open(source->txn, "records", 0, &source->records), "records");
    // A handle is the environment's only once the transaction that opened it has ended.
    check_mdb(mdb_txn_commit(source->txn), "mdb_txn_commit");
    check_mdb(mdb_txn_begin(source->env, NULL, MDB_RDONLY, &source->txn), "mdb_txn_begin");
    check_mdb(mdb_txn_commit(source->txn), "mdb_txn_commit");
    check_mdb(mdb_txn_begin(source->env, NULL, MDB_RDONLY, &source->txn), "mdb_txn_begin");
    source->header_bytes = RECORD_HEADER;
}

static void open_source(struct source *source, const char *kind, const char *path)
{
    *source = (struct source){0};
    size_t i = 0;
    while (i < sizeof WAYS / sizeof WAYS[0] && strcmp(kind, WAYS[i].name) != 0) {
        i++;
    }
    if (i == sizeof WAYS / sizeof WAYS[0]) {
        give_up("unknown way to read", kind);
    }
    source->way = WAYS[i].way;
    if (source->way == WAY_MDB) {
        source->renews = strcmp(kind, "mdb") == 0;
        open_mdb(source, path);
        return;
    }
    pgnear_error error;
    if (pgnear_open(path, NULL, &source->node, &error) != PGNEAR_OK) {
        give_up(path, error.message);
    }
    source->batch = pgnear_batch_create(source->node);
}

static void warm(const struct source *source, uint64_t keys)
{
    static char texts[WARM_KEYS][KEY_TEXT_BYTES];
    static pgnear_bytes names[WARM_KEYS];
    uint64_t present = 0;
    for (uint64_t first = 0; first < keys; first += WARM_KEYS) {
        size_t count = keys - first < WARM_KEYS ? (size_t)(keys - first) : WARM_KEYS;
        for (size_t i = 0; i < count; i++) {
            key_format(first + i, texts[i]);
            names[i] = (pgnear_bytes){texts[i], KEY_TEXT_BYTES};
        }
        const pgnear_item *items;
        pgnear_error error;
        if (pgnear_mget(source->node, names, count, NULL, &items, &error) != PGNEAR_OK) {
            give_up("pgnear_mget", error.message);
        }
        for (size_t i = 0; i < count; i++) {
            present += items[i].present;
        }
    }
    printf("{\"present\": %llu}\n", (unsigned long long)present);
}

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

// The runs of pages that are in memory; false where none is. Where the kernel cannot enter them
// (before 5.14) all reads are slower by the faults.
static bool populate(uint8_t *begin, size_t pages, size_t page_bytes)
{
    static unsigned char resident[PART_PAGES];
    bool found = false;
    CHECK(pages <= PART_PAGES);
    if (mincore(begin, pages * page_bytes, resident) != 0) {
        return false;
    }
    for (size_t from = 0, to; from < pages; from = to + 1) {
        for (to = from; to < pages && (resident[to] & 1) != 0; to++) {
        }
        if (to > from) {
            found = true;
            (void)madvise(begin + from * page_bytes, (to - from) * page_bytes, MADV_POPULATE_READ);
        }
    }
    return found;
}

// All shared mappings, each up to a part that is not in memory: the cache's is far larger than its
// file.
static void populate_all(void)
{
    FILE *maps = fopen("/proc/self/maps", "r");
    if (maps == NULL) {
        give_up("/proc/self/maps", "cannot be read");
    }
    size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE);
    char line[512], mode[8];
    uintptr_t begin, end;
    while (fgets(line, sizeof line, maps) != NULL) {
        if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %7s", &begin, &end, mode) == 3 &&
            mode[0] == 'r' && mode[3] == 's') {
            size_t part_bytes = PART_PAGES * page_bytes;
            for (size_t bytes; begin < end; begin += bytes) {
                bytes = end - begin < part_bytes ? end - begin : part_bytes;
                // NOLINTNEXTLINE(performance-no-int-to-ptr)
                if (!populate((uint8_t *)begin, bytes / page_bytes, page_bytes)) {
                    break;
                }
            }
        }
    }
    fclose(maps);
}

struct tally {
    uint64_t reads;
    uint64_t misses;
    uint64_t wrong;
    uint64_t spent_ns;
    struct hdr latency;
};

static void judge(const struct source *source, const char *key, size_t value_bytes, bool present,
                  const uint8_t *value, size_t len, struct tally *tally)
{
    tally->reads++;
    if (!present) {
        tally->misses++;
    } else if (source->way >= WAY_GET_DOCUMENT) {
        tally->wrong +=
            len < KEY_TEXT_BYTES || memcmp(value + len - KEY_TEXT_BYTES, key, KEY_TEXT_BYTES) != 0;
    } else {
        tally->wrong += len != value_bytes || value[len - 1] != 'x' ||
                        memcmp(value + (len - 2 <= UINT8_MAX ? 2 : 3), key, KEY_TEXT_BYTES) != 0;
    }
}

static void read_many(struct source *source, struct key_chooser *keys, size_t value_bytes,
                      struct tally *tally)
{
    char texts[MANY][KEY_TEXT_BYTES];
    pgnear_bytes names[MANY];
    const pgnear_item *items = NULL;
    const pgnear_reply *replies = NULL;
    size_t count = 0;
    pgnear_error error;
    for (size_t i = 0; i < MANY; i++) {
        key_format(keys_next(keys), texts[i]);
        names[i] = (pgnear_bytes){texts[i], KEY_TEXT_BYTES};
    }
    if (source->way == WAY_MGET) {
        check_node(pgnear_mget(source->node, names, MANY, NULL, &items, &error), "pgnear_mget",
                   &error);
    } else {
        for (size_t i = 0; i < MANY; i++) {
            check_node(pgnear_batch_get(source->batch, names[i], NULL, &error), "pgnear_batch_get",
                       &error);
        }
        check_node(pgnear_batch_run(source->batch, NULL, &replies, &count, &error),
                   "pgnear_batch_run", &error);
    }
    for (size_t i = 0; i < MANY; i++) {
        const pgnear_item *item = items != NULL ? &items[i] : &replies[i].item;
        judge(source, texts[i], value_bytes, item->present, item->value.at, item->value.len, tally);
    }
}

static void read_one(struct source *source, struct key_chooser *keys, size_t value_bytes,
                     struct tally *tally)
{
    if (source->way == WAY_MGET || source->way == WAY_BATCH) {
        read_many(source, keys, value_bytes, tally);
        return;
    }
    char key[KEY_TEXT_BYTES];
    const uint8_t *value = NULL;
    size_t len = 0;
    key_format(keys_next(keys), key);
    bool present = read_key(source, key, &value, &len);
    judge(source, key, value_bytes, present, value, len, tally);
}

static void measure(struct source *source, struct key_chooser *keys, size_t value_bytes,
                    double seconds, struct tally *tally)
{
    uint64_t began_ns = now_ns();
    uint64_t ends_ns = began_ns + (uint64_t)(seconds * 1e9);
    uint64_t at_ns = began_ns;
    while (at_ns < ends_ns) {
        for (int i = 0; i < RUN_READS; i++) {
            read_one(source, keys, value_bytes, tally);
        }
        at_ns = now_ns();
    }
    tally->spent_ns = at_ns - began_ns;
}

static void sample(struct source *source, struct key_chooser *keys, size_t value_bytes,
                   double seconds, struct tally *tally)
{
    struct tally aside = {0};
    uint64_t ends_ns = now_ns() + (uint64_t)(seconds * 1e9);
    for (uint64_t began_ns = now_ns(); began_ns < ends_ns;) {
        for (int i = 1; i < SAMPLE_EVERY; i++) {
            read_one(source, keys, value_bytes, &aside);
        }
        began_ns = now_ns();
        read_one(source, keys, value_bytes, &aside);
        hdr_record(&tally->latency, now_ns() - began_ns);
    }
}

int main(int argc, char **argv)
{
    struct source source;
    if (argc == 4 && strcmp(argv[1], "warm") == 0) {
        open_source(&source, "mget", argv[2]);
        warm(&source, strtoull(argv[3], NULL, 10));
        return 0;
    }
    if (argc != 7) {
        give_up("usage", "bench_direct HOW PATH KEYS VALUE-BYTES SECONDS SEED");
    }
    static struct tally tally;
    struct key_chooser keys;
    size_t value_bytes = strtoul(argv[4], NULL, 10);
    double seconds = strtod(argv[5], NULL);
    open_source(&source, argv[1], argv[2]);
    keys_init(&keys, DISTRIBUTION_UNIFORM, strtoull(argv[3], NULL, 10), 0,
              strtoull(argv[6], NULL, 10));
    read_one(&source, &keys, value_bytes, &(struct tally){0}); // opens what is opened by the first
    populate_all();
    sample(&source, &keys, value_bytes, seconds / 10, &tally);
    measure(&source, &keys, value_bytes, seconds * 9 / 10, &tally);
    double spent_s = (double)tally.spent_ns / 1e9;
    printf("{\"operations\": %llu, \"seconds\": %.6f, \"per_second\": %.1f, \"hits\": %llu, "
           "\"misses\": %llu, \"errors\": 0, \"wrong\": %llu, \"latency_ns\": ",
           (unsigned long long)tally.reads, spent_s, (double)tally.reads / spent_s,
           (unsigned long long)(tally.reads - tally.misses), (unsigned long long)tally.misses,
           (unsigned long long)tally.wrong);
    hdr_print(&tally.latency, stdout);
    printf("}\n");
    return 0;
}
