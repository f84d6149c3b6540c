// The mappings of this process in one list under a mutex. Attaching and releasing are rare: once
// for a handle, and again where the daemon made its cache anew.
#include "client/mapping.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"
#include "cachefile/environment.h"
#include "client/process.h"

// A larger cache.size at the next start of the daemon must not need another map: address space
// costs nothing, and a mapping cannot grow under the transactions of other threads.
static const size_t MAP_ROOM_BYTES = (size_t)1 << 38;

struct registry {
    pid_t pid; // whose it is; a child makes its own and forgets this one
    pthread_mutex_t mutex;
    struct mapping *mappings; // under mutex
};

static struct registry *_Atomic present_registry;

static struct registry *enter(void)
{
    struct registry *registry = atomic_load(&present_registry);
    pid_t pid = process_enter();
    while (registry == NULL || registry->pid != pid) {
        // The mutex of an inherited one may be held by a thread that does not exist here.
        struct registry *own = memory_zeroed(1, sizeof *own);
        own->pid = pid;
        pthread_mutex_init(&own->mutex, NULL);
        if (atomic_compare_exchange_strong(&present_registry, &registry, own)) {
            registry = own;
        } else {
            free(own);
        }
    }
    pthread_mutex_lock(&registry->mutex);
    return registry;
}

static void leave(struct registry *registry)
{
    pthread_mutex_unlock(&registry->mutex);
}

// ---- making one

static void destroy(struct mapping *mapping)
{
    if (mapping->env != NULL) {
        mdb_env_close(mapping->env);
    }
    if (mapping->page != NULL) {
        control_unmap(mapping->page);
    }
    sketch_close(&mapping->sketch);
    tier_close(&mapping->tier);
    memtable_unmap(&mapping->memtable);
    tally_unmap(&mapping->tally);
    free(mapping);
}

// The daemon's LMDB and ours must be of one mind on whose slots are whose: pids count.
static bool is_readable(struct control_page *page, struct slice node)
{
    uint64_t namespace = control_pid_namespace();
    return control_is_served(page) && namespace != 0 && page->pid_namespace == namespace &&
           slice_equal(slice_of(page->node, strnlen(page->node, sizeof page->node)), node);
}

static bool open_records(struct mapping *mapping)
{
    MDB_txn *txn;
    if (mdb_txn_begin(mapping->env, NULL, MDB_RDONLY, &txn) != MDB_SUCCESS) {
        return false;
    }
    if (mdb_dbi_open(txn, "records", 0, &mapping->records) != MDB_SUCCESS) {
        mdb_txn_abort(txn);
        return false;
    }
    return mdb_txn_commit(txn) == MDB_SUCCESS;
}

static bool open_with_room(struct mapping *mapping, const char *path, size_t map_bytes)
{
    return environment_open(&mapping->env, path, MDB_RDONLY | MDB_NORDAHEAD, map_bytes, NULL) ==
           ERROR_NONE;
}

// Whether what was opened by name is what was looked at before, and what the daemon has open. It
// renames its lock file before its file, so that who has the latter has the former.
static bool is_same_file(const struct mapping *mapping)
{
    struct stat status;
    int fd;
    return mdb_env_get_fd(mapping->env, &fd) == MDB_SUCCESS && fstat(fd, &status) == 0 &&
           status.st_dev == mapping->device && status.st_ino == mapping->cache_inode &&
           status.st_ino == atomic_load(&mapping->page->cache_inode);
}

static bool open_environment(struct mapping *mapping, const char *directory)
{
    static const char FILE_NAME[] = "/cache.mdb";
    char *path = memory_zeroed(strlen(directory) + sizeof FILE_NAME, 1);
    stpcpy(stpcpy(path, directory), FILE_NAME);
    bool open = open_with_room(mapping, path, MAP_ROOM_BYTES) || open_with_room(mapping, path, 0);
    free(path);
    return open && is_same_file(mapping) && open_records(mapping);
}

static bool identify(struct mapping *mapping, int directory_fd)
{
    struct stat cache, control;
    if (fstatat(directory_fd, "cache.mdb", &cache, 0) != 0 ||
        fstatat(directory_fd, "control", &control, 0) != 0) {
        return false;
    }
    mapping->device = cache.st_dev;
    mapping->cache_inode = cache.st_ino;
    mapping->control_inode = control.st_ino;
    return true;
}

static struct mapping *find(const struct registry *registry, const struct mapping *wanted)
{
    struct mapping *each = registry->mappings;
    while (each != NULL &&
           (each->device != wanted->device || each->cache_inode != wanted->cache_inode)) {
        each = each->next;
    }
    return each;
}

// `made` holds the control page and what the files are; it is completed and listed, or given up
// for one that is there.
static struct mapping *share_or_open(struct registry *registry, struct mapping *made,
                                     const char *directory, int directory_fd)
{
    struct mapping *found = find(registry, made);
    if (found != NULL) {
        bool same = found->control_inode == made->control_inode &&
                    found->generation == made->generation && mapping_is_present(found);
        destroy(made);
        found->users += same;
        return same ? found : NULL;
    }
    memtable_map(&made->memtable, directory_fd);
    if (!open_environment(made, directory) || !mapping_is_present(made) ||
        !mapping_is_served(made)) {
        destroy(made);
        return NULL;
    }
    sketch_map(&made->sketch, directory_fd);
    tier_map(&made->tier, directory_fd);
    tally_map(&made->tally, directory_fd);
    made->users = 1;
    made->next = registry->mappings;
    registry->mappings = made;
    return made;
}

static struct mapping *attach_in(struct registry *registry, const char *directory, int directory_fd,
                                 struct slice node)
{
    struct mapping *made = memory_zeroed(1, sizeof *made);
    made->page = control_map(directory_fd);
    if (made->page != NULL) {
        made->generation = atomic_load(&made->page->generation);
    }
    if (made->page == NULL || !is_readable(made->page, node) || !identify(made, directory_fd)) {
        destroy(made);
        return NULL;
    }
    return share_or_open(registry, made, directory, directory_fd);
}

struct mapping *mapping_attach(const char *directory, struct slice node)
{
    if (directory[0] != '/') {
        return NULL;
    }
    int directory_fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (directory_fd < 0) {
        return NULL;
    }
    struct registry *registry = enter();
    struct mapping *mapping = attach_in(registry, directory, directory_fd, node);
    leave(registry);
    close(directory_fd);
    return mapping;
}

void mapping_share(struct mapping *mapping)
{
    struct registry *registry = enter();
    mapping->users++;
    leave(registry);
}

void mapping_release(struct mapping *mapping)
{
    struct registry *registry = enter();
    mapping->users--;
    if (mapping->users == 0) {
        struct mapping **link = &registry->mappings;
        while (*link != mapping) {
            link = &(*link)->next;
        }
        *link = mapping->next;
        destroy(mapping);
    }
    leave(registry);
}
