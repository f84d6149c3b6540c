// The cache's files from open to close. The start thread opens it, the writer thread alone writes
// it, readers map the same pages.
//
// A cache is used again only if it is of this boot or was closed in order, belongs to the same
// outbox and the same table, and can be read through; else it is wiped, which costs misses only.
#include "cache/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/status.h"

// Of the map's bytes, besides them, for the hot tier and the memtable.
enum { HOT_PART = 2, MEMTABLE_PART = 16 };
static const size_t MEMTABLE_BYTES_MIN = 64 << 10;
static const size_t MEMTABLE_BYTES_MAX = 64 << 20;

enum { CLEAN_NO = 0, CLEAN_YES = 1, CLEAN_SPOILED = 2 };

static size_t file_bytes(const struct store *store)
{
    struct stat status;
    if (fstatat(store->directory.fd, STORE_FILE, &status, 0) != 0) {
        return 0;
    }
    return (size_t)status.st_size;
}

static bool row_is_whole(const char *database, MDB_val key, MDB_val value)
{
    struct entry entry;
    return strcmp(database, "records") == 0
               ? record_is_whole(environment_slice(value), environment_slice(key))
               : entry_decode(environment_number_of(key), environment_slice(value), &entry) ==
                     ERROR_NONE;
}

// Why the files that are there cannot be used; NULL where they can, or where there are none.
static const char *reason_to_wipe(const struct store *store, const struct store_options *options)
{
    size_t bytes = file_bytes(store);
    if (bytes == 0) {
        return NULL;
    }
    struct control_page *page = store->control.page;
    uint32_t clean = atomic_load(&page->clean);
    if (clean == CLEAN_YES && bytes > options->size_bytes) {
        return "cache.size was made smaller";
    }
    if (store->control.made) {
        return "its control page is missing or damaged";
    }
    if (clean == CLEAN_SPOILED) {
        return "it failed while it was in use";
    }
    if (clean != CLEAN_YES && strcmp(page->boot_id, options->boot_id) != 0) {
        return "the machine went down while it was in use";
    }
    if (strcmp(page->node, options->node) != 0) {
        return "it belongs to another outbox";
    }
    if (page->source != options->source) {
        return "it holds another table";
    }
    char *path = directory_path(&store->directory, STORE_FILE);
    bool sound = environment_is_sound(path, row_is_whole);
    free(path);
    return sound ? NULL : "it is damaged";
}

// Other files than those that readers may still have open.
static void begin_generation(struct store *store)
{
    unlinkat(store->directory.fd, STORE_FILE, 0);
    unlinkat(store->directory.fd, STORE_LOCK_FILE, 0);
    unlinkat(store->directory.fd, MEMTABLE_FILE, 0);
    atomic_fetch_add(&store->control.page->generation, 1);
}

static void wipe(struct store *store, const char *reason)
{
    LOG_WARNING("cache wiped", LOG_TEXT("dir", store->directory.path), LOG_TEXT("reason", reason));
    begin_generation(store);
    // Records of the epochs before are gone, but the epoch goes on: a number is never used twice.
    struct page_view view = {0};
    control_view(store->control.page, &view);
    struct page_view blank = {.epoch = view.epoch, .clock_offset_us = view.clock_offset_us};
    control_publish(store->control.page, &blank);
}

// What the control page knows of writes that the release before had in the files now wiped.
static void note_lost(const struct store *store, struct store_found *found)
{
    struct control_page *page = store->control.page;
    found->wiped = true;
    found->lost_count = atomic_load(&page->memory_count);
    found->lost_seq = atomic_load(&page->memory_last_seq);
}

static void forget_memory(const struct store *store)
{
    struct control_page *page = store->control.page;
    atomic_store(&page->memory_count, 0);
    atomic_store(&page->memory_first_seq, 0);
    atomic_store(&page->memory_last_seq, 0);
}

static enum error open_environment(struct store *store, const struct store_options *options,
                                   struct store_found *found, struct failure *failure)
{
    const char *reason = reason_to_wipe(store, options);
    if (reason != NULL) {
        note_lost(store, found);
        wipe(store, reason);
    } else if (file_bytes(store) == 0) {
        // Somebody emptied the directory, and what the release before acknowledged in memory.
        found->lost_count = atomic_load(&store->control.page->memory_count);
        found->lost_seq = atomic_load(&store->control.page->memory_last_seq);
        begin_generation(store);
    }
    // After a crash a file larger than the setting stays: it may hold what the release before
    // acknowledged in memory. It is wiped at the first start after an orderly stop.
    size_t present_bytes = file_bytes(store);
    store->map_bytes = options->size_bytes > present_bytes ? options->size_bytes : present_bytes;
    enum error error = store_open_files(store, failure);
    if (error == ERROR_CORRUPT || error == ERROR_NOT_FOUND) {
        note_lost(store, found);
        wipe(store, "it cannot be opened");
        store->map_bytes = options->size_bytes;
        error = store_open_files(store, failure);
    }
    return error;
}

static void mark(struct store *store, uint32_t clean)
{
    struct control_page *page = store->control.page;
    atomic_store(&page->clean, clean);
    if (msync(page, CONTROL_BYTES, MS_SYNC) != 0) {
        LOG_WARNING("control page not synced", LOG_TEXT("error", strerrordesc_np(errno)));
    }
}

// Until PostgreSQL tells its time, ours has to do; but what was known of it in this boot is as good
// as ever, whatever has been done to our clock since.
static void settle_clock(const struct store *store, const struct store_options *options)
{
    struct control_page *page = store->control.page;
    struct page_view view = {0};
    control_view(page, &view);
    if (view.clock_offset_us == 0 || strcmp(page->boot_id, options->boot_id) != 0) {
        view.clock_offset_us = store->clock.real_us(store->clock.context) - store_boot_us(store);
        control_publish(page, &view);
    }
}

static void describe(struct store *store, const struct store_options *options)
{
    struct control_page *page = store->control.page;
    memcpy(page->boot_id, options->boot_id, sizeof page->boot_id - 1);
    memcpy(page->node, options->node, sizeof page->node - 1);
    page->source = options->source;
}

static void open_memtable(struct store *store)
{
    struct failure failure;
    size_t bytes = store->map_bytes / MEMTABLE_PART;
    bytes = bytes > MEMTABLE_BYTES_MIN ? bytes : MEMTABLE_BYTES_MIN;
    bytes = bytes < MEMTABLE_BYTES_MAX ? bytes : MEMTABLE_BYTES_MAX;
    if (memtable_open(&store->memtable, &store->directory, bytes, &failure) != ERROR_NONE) {
        LOG_WARNING("no memtable", LOG_TEXT("error", failure.message));
    }
}

enum error store_open(struct store *store, const struct store_options *options,
                      struct store_found *found, struct failure *failure)
{
    *found = (struct store_found){0};
    *store = (struct store){
        .clock = options->clock,
        .status = options->status,
        .group_reads = options->group_reads,
        .files_mutex = PTHREAD_MUTEX_INITIALIZER,
    };
    size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE);
    struct store_options sized = *options;
    sized.size_bytes = options->size_bytes / page_bytes * page_bytes;
    enum error error =
        directory_open(&store->directory, options->dir, DIRECTORY_DISPOSABLE, failure);
    if (error == ERROR_NONE) {
        error = control_open(&store->control, &store->directory, failure);
    }
    if (error == ERROR_NONE) {
        atomic_store(&store->control.page->pid, 0);
        error = open_environment(store, &sized, found, failure);
    }
    if (error == ERROR_NONE) {
        error = sketch_open(&store->sketch, &store->directory, sized.size_bytes,
                            options->group_reads, failure);
    }
    if (error != ERROR_NONE) {
        store_close(store);
        return error;
    }
    if (found->wiped || found->lost_count > 0) {
        forget_memory(store);
    }
    hot_open(&store->hot, &store->directory, store->map_bytes / HOT_PART, store->control.page,
             &store->sketch);
    open_memtable(store);
    settle_clock(store, options);
    describe(store, options);
    store_give_right(store, "control", 0640);
    if (store->hot.tier.buckets_count > 0) {
        store_give_right(store, "tier", 0640);
    }
    if (store->memtable.table.header != NULL) {
        store_give_right(store, MEMTABLE_FILE, 0640);
    }
    store->fill_bytes_max = store->map_bytes / 16;
    mark(store, CLEAN_NO);
    int dead = 0;
    mdb_reader_check(store->env, &dead);
    return ERROR_NONE;
}

void store_close(struct store *store)
{
    if (store->serves) {
        control_end_life(store->control.page);
    }
    if (atomic_load(&store->files) != NULL) {
        store_release(store, atomic_load(&store->files));
    }
    hot_close(&store->hot);
    memtable_close(&store->memtable);
    buffer_deinit(&store->moving);
    sketch_close(&store->sketch);
    control_close(&store->control);
    directory_close(&store->directory);
    *store = (struct store){.directory = {.fd = -1, .lock_fd = -1}};
}

// From now on LMDB holds all that is pending: what the last run's memtable held counts no more.
static void begin_memtable(struct store *store)
{
    struct control_page *page = store->control.page;
    uint64_t life = 0;
    atomic_store(&page->memtable_life, 0);
    if (store->memtable.table.header == NULL) {
        return;
    }
    while (life == 0) {
        CHECK(getrandom(&life, sizeof life, 0) == (ssize_t)sizeof life);
    }
    memtable_begin(&store->memtable, life);
    atomic_store(&page->memtable_life, life);
}

void store_mark_serving(struct store *store)
{
    CHECK(!store->serves);
    begin_memtable(store);
    control_begin_life(store->control.page);
    store->serves = true;
}

void store_mark_clean(struct store *store)
{
    // The pages are on the disk before the word that they are.
    int code = mdb_env_sync(store->env, 1);
    if (code == MDB_SUCCESS) {
        mark(store, CLEAN_YES);
    } else {
        LOG_WARNING("cache not synced", LOG_TEXT("error", mdb_strerror(code)));
    }
}

void store_mark_spoiled(struct store *store)
{
    mark(store, CLEAN_SPOILED);
}

int64_t store_boot_us(const struct store *store)
{
    return store->clock.boot_us(store->clock.context);
}

int64_t store_now_us(struct store *store)
{
    int64_t offset_us =
        atomic_load_explicit(&store->control.page->clock_offset_us, memory_order_relaxed);
    return store_boot_us(store) + offset_us;
}

size_t store_used_bytes(const struct store *store, MDB_txn *txn)
{
    return environment_pages(txn, &store->records, 1) * store->page_bytes;
}

size_t store_room_bytes(const struct store *store)
{
    MDB_envinfo info;
    CHECK(mdb_env_info(store->env, &info) == MDB_SUCCESS);
    size_t used_bytes = (info.me_last_pgno + 1) * store->page_bytes;
    return used_bytes < store->map_bytes ? store->map_bytes - used_bytes : 0;
}

size_t store_entries(const struct store *store, MDB_txn *txn)
{
    MDB_stat stat;
    CHECK(mdb_stat(txn, store->records, &stat) == MDB_SUCCESS);
    return stat.ms_entries;
}

enum error store_open_cursor(const struct store *store, MDB_txn *txn, MDB_cursor **cursor)
{
    int code = FAULT_POINT(CACHE_CURSOR) ? ENOMEM : mdb_cursor_open(txn, store->records, cursor);
    return environment_error(code);
}

enum error store_get(MDB_cursor *cursor, struct slice key, struct record *record)
{
    MDB_val name = environment_value(key);
    MDB_val value;
    int code = mdb_cursor_get(cursor, &name, &value, MDB_SET);
    if (code != MDB_SUCCESS) {
        return environment_error(code);
    }
    return record_decode(environment_slice(value), record);
}

bool store_holds(const struct store *store, struct slice key, int64_t version)
{
    MDB_txn *txn;
    MDB_val name = environment_value(key);
    MDB_val value;
    struct record record;
    struct slice aside;
    if (memtable_get(&store->memtable, sketch_hash(key), key, &aside) ||
        mdb_txn_begin(store->env, NULL, MDB_RDONLY, &txn) != MDB_SUCCESS) {
        return false;
    }
    bool holds = mdb_get(txn, store->records, &name, &value) == MDB_SUCCESS &&
                 record_decode(environment_slice(value), &record) == ERROR_NONE &&
                 !record.pending && !record.absent && record.version == version;
    mdb_txn_abort(txn);
    return holds;
}

// The old record's place is written over by the new one, so a value that lies in it is moved first.
static bool lies_in(struct slice value, struct slice old)
{
    uintptr_t at = (uintptr_t)value.at;
    uintptr_t start = (uintptr_t)old.at;
    return value.len > 0 && at >= start && at < start + old.len;
}

enum error store_put(struct store *store, MDB_cursor *cursor, struct slice key,
                     const struct record *held, const struct record *record)
{
    MDB_val name = environment_value(key);
    MDB_val place = {.mv_size = record_bytes(record)};
    struct record moved = *record;
    hot_change(&store->hot, key);
    if (held != NULL && lies_in(record->value, held->value)) {
        buffer_clear(&store->moving, SIZE_MAX);
        buffer_append_slice(&store->moving, record->value);
        moved.value = buffer_slice(&store->moving);
    }
    if (held != NULL) {
        // LMDB replaces what is under the cursor, whatever the key says.
        MDB_val at, value;
        CHECK(mdb_cursor_get(cursor, &at, &value, MDB_GET_CURRENT) == MDB_SUCCESS &&
              slice_equal(environment_slice(at), key));
    }
    unsigned flags = held != NULL ? MDB_RESERVE | MDB_CURRENT : MDB_RESERVE;
    int code = FAULT_POINT(CACHE_PUT) ? EIO : mdb_cursor_put(cursor, &name, &place, flags);
    if (code == MDB_SUCCESS) {
        record_encode(&moved, key, place.mv_data);
    }
    return environment_error(code);
}

enum error store_adding_begin(const struct store *store, MDB_txn *txn, struct slice first_key,
                              struct store_adding *adding)
{
    MDB_val last, value;
    *adding = (struct store_adding){0};
    int code =
        FAULT_POINT(CACHE_CURSOR) ? ENOMEM : mdb_cursor_open(txn, store->records, &adding->cursor);
    if (code != MDB_SUCCESS) {
        return environment_error(code);
    }
    code = mdb_cursor_get(adding->cursor, &last, &value, MDB_LAST);
    adding->appends =
        code == MDB_NOTFOUND ||
        (code == MDB_SUCCESS && slice_compare(environment_slice(last), first_key) < 0);
    return ERROR_NONE;
}

static int put_place(struct store_adding *adding, struct slice key, MDB_val *place)
{
    MDB_val name = environment_value(key);
    size_t bytes = place->mv_size;
    if (adding->appends) {
        int code = mdb_cursor_put(adding->cursor, &name, place, MDB_RESERVE | MDB_APPEND);
        if (code != MDB_KEYEXIST) {
            return code;
        }
        adding->appends = false; // not in order after all
        *place = (MDB_val){.mv_size = bytes};
    }
    return mdb_cursor_put(adding->cursor, &name, place, MDB_RESERVE | MDB_NOOVERWRITE);
}

enum error store_add(struct store_adding *adding, struct slice key, const struct record *record,
                     bool *added)
{
    MDB_val place = {.mv_size = record_bytes(record)};
    int code = FAULT_POINT(CACHE_PUT) ? EIO : put_place(adding, key, &place);
    *added = code == MDB_SUCCESS;
    if (*added) {
        record_encode(record, key, place.mv_data);
    }
    return code == MDB_KEYEXIST ? ERROR_NONE : environment_error(code);
}

void store_adding_end(struct store_adding *adding)
{
    mdb_cursor_close(adding->cursor);
}

enum error store_delete(struct store *store, MDB_txn *txn, struct slice key)
{
    hot_drop(&store->hot, key);
    MDB_val name = environment_value(key);
    int code = mdb_del(txn, store->records, &name, NULL);
    return code == MDB_NOTFOUND ? ERROR_NONE : environment_error(code);
}
