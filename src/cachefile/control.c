// The control page: a sequence lock with one writer over atomic words, so that a reader in another
// process needs no lock and a writer that dies in the middle is noticed (the sequence stays odd).
#include "cachefile/control.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <sched.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"
#include "base/checksum.h"
#include "base/log.h"

_Static_assert(offsetof(struct control_page, boot_id) == 16, "layout 6");
_Static_assert(offsetof(struct control_page, source) == 96, "layout 6");
_Static_assert(offsetof(struct control_page, pid) == 104, "layout 6");
_Static_assert(offsetof(struct control_page, memory_first_seq) == 120, "layout 6");
_Static_assert(offsetof(struct control_page, max_stale_us) == 144, "layout 6");
_Static_assert(offsetof(struct control_page, pid_namespace) == 176, "layout 6");
_Static_assert(offsetof(struct control_page, life) == 184, "layout 6");
_Static_assert(offsetof(struct control_page, cache_inode) == 224, "layout 6");
_Static_assert(offsetof(struct control_page, tier_life) == 232, "layout 6");
_Static_assert(offsetof(struct control_page, check) == 240, "layout 6");
_Static_assert(offsetof(struct control_page, memtable_life) == 248, "layout 6");
_Static_assert(offsetof(struct control_page, sequence) == 256, "layout 6");
_Static_assert(sizeof(struct control_page) <= CONTROL_BYTES, "one page");

enum { CONTROL_LAYOUT_BEFORE = 5 };

// A feed may begin anew every second for a human life; records hold an epoch in 32 bits.
static const uint64_t EPOCH_END = UINT64_C(1) << 31;

static bool is_usable(struct control_page *page)
{
    return atomic_load_explicit(&page->magic, memory_order_acquire) == CONTROL_MAGIC &&
           page->layout == CONTROL_LAYOUT && page->bytes == CONTROL_BYTES;
}

// It had nothing where this one has the life of the memtable.
static void take_over_layout_before(struct control_page *page)
{
    if (atomic_load(&page->magic) == CONTROL_MAGIC && page->layout == CONTROL_LAYOUT_BEFORE) {
        atomic_store(&page->memtable_life, 0);
        page->layout = CONTROL_LAYOUT;
    }
}

static uint64_t check_of(const struct control_page *page)
{
    const uint8_t *first = (const uint8_t *)&page->epoch;
    const uint8_t *end = (const uint8_t *)(page->hand + CONTROL_HAND_WORDS);
    return checksum(slice_of(first, (size_t)(end - first)), 0);
}

// Whether nobody but a daemon has written what the sequence guards. After a writer that died in the
// middle only so much is known, that there was no such epoch.
static bool is_whole(struct control_page *page)
{
    bool possible = atomic_load(&page->epoch) < EPOCH_END;
    for (size_t i = 0; i < EPOCH_BEATS; i++) {
        possible = possible && atomic_load(&page->beats[i].epoch) < EPOCH_END;
    }
    return possible && (atomic_load(&page->sequence) % 2 != 0 || page->check == check_of(page));
}

static void make_anew(struct control_page *page)
{
    atomic_store(&page->magic, 0);
    uint64_t generation = atomic_load(&page->generation);
    memset((uint8_t *)page + sizeof page->magic, 0, CONTROL_BYTES - sizeof page->magic);
    page->layout = CONTROL_LAYOUT;
    page->bytes = CONTROL_BYTES;
    page->check = check_of(page);
    atomic_store(&page->generation, generation + 1);
    atomic_store_explicit(&page->magic, CONTROL_MAGIC, memory_order_release);
}

// After a writer that died while it changed the page, what raises trust is forgotten.
static void mend(struct control_page *page)
{
    if (atomic_load(&page->sequence) % 2 == 0) {
        return;
    }
    LOG_WARNING("control page mended");
    struct page_view view = {.epoch = atomic_load(&page->epoch)};
    for (size_t i = 0; i < EPOCH_BEATS; i++) {
        uint64_t epoch = atomic_load(&page->beats[i].epoch);
        view.epoch = epoch > view.epoch ? epoch : view.epoch;
    }
    atomic_fetch_add(&page->sequence, 1);
    control_publish(page, &view);
}

static enum error map(struct control *control, int fd, const char *path, struct failure *failure)
{
    struct stat status;
    if (fstat(fd, &status) != 0 || posix_fallocate(fd, 0, CONTROL_BYTES) != 0) {
        return failure_set(failure, ERROR_SYSTEM, "no room for %s/control", path);
    }
    void *page = mmap(NULL, CONTROL_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (page == MAP_FAILED) {
        return failure_set(failure, ERROR_SYSTEM, "cannot map %s/control: %s", path,
                           strerrordesc_np(errno));
    }
    control->page = page;
    take_over_layout_before(control->page);
    control->made =
        status.st_size != CONTROL_BYTES || !is_usable(control->page) || !is_whole(control->page);
    if (control->made) {
        make_anew(control->page);
    }
    mend(control->page);
    return ERROR_NONE;
}

enum error control_open(struct control *control, const struct directory *directory,
                        struct failure *failure)
{
    *control = (struct control){0};
    int fd = openat(directory->fd, "control", O_RDWR | O_CREAT | O_CLOEXEC, 0640);
    if (fd < 0) {
        return failure_set(failure, ERROR_SYSTEM, "cannot open %s/control: %s", directory->path,
                           strerrordesc_np(errno));
    }
    enum error error = map(control, fd, directory->path, failure);
    close(fd);
    return error;
}

void control_close(struct control *control)
{
    if (control->page != NULL) {
        munmap(control->page, CONTROL_BYTES);
    }
    *control = (struct control){0};
}

// ---- life

// glibc keeps the word that the kernel looks at first in a mutex: the id of the thread that holds
// it, 0 where nobody does, FUTEX_OWNER_DIED where the holder died.
_Static_assert(offsetof(pthread_mutex_t, __data.__lock) == 0, "the futex is the first word");

void control_begin_life(struct control_page *page)
{
    pthread_mutexattr_t attributes;
    CHECK(pthread_mutexattr_init(&attributes) == 0);
    CHECK(pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED) == 0);
    CHECK(pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST) == 0);
    // Whoever held it is gone: the directory's lock is ours.
    memset(&page->life, 0, sizeof page->life);
    CHECK(pthread_mutex_init(&page->life, &attributes) == 0);
    pthread_mutexattr_destroy(&attributes);
    CHECK(pthread_mutex_lock(&page->life) == 0);
    page->pid_namespace = control_pid_namespace();
    atomic_store_explicit(&page->pid, (uint32_t)getpid(), memory_order_release);
}

void control_end_life(struct control_page *page)
{
    atomic_store_explicit(&page->pid, 0, memory_order_release);
    CHECK(pthread_mutex_unlock(&page->life) == 0);
}

bool control_is_served(struct control_page *page)
{
    uint32_t word = __atomic_load_n((const uint32_t *)&page->life, __ATOMIC_ACQUIRE);
    return (word & FUTEX_TID_MASK) != 0 && (word & FUTEX_OWNER_DIED) == 0 &&
           atomic_load_explicit(&page->pid, memory_order_acquire) != 0;
}

uint64_t control_pid_namespace(void)
{
    struct stat status;
    return stat("/proc/self/ns/pid", &status) == 0 ? (uint64_t)status.st_ino : 0;
}

// ---- a direct reader's

struct control_page *control_map(int directory_fd)
{
    int fd = openat(directory_fd, "control", O_RDONLY | O_CLOEXEC);
    struct stat status;
    if (fd < 0) {
        return NULL;
    }
    void *page = MAP_FAILED;
    if (fstat(fd, &status) == 0 && status.st_size == CONTROL_BYTES) {
        page = mmap(NULL, CONTROL_BYTES, PROT_READ, MAP_SHARED, fd, 0);
    }
    close(fd);
    if (page == MAP_FAILED) {
        return NULL;
    }
    if (!is_usable(page)) {
        munmap(page, CONTROL_BYTES);
        return NULL;
    }
    return page;
}

void control_unmap(struct control_page *page)
{
    munmap(page, CONTROL_BYTES);
}

// ---- what the sequence guards

// Acquire and release on every word, instead of fences: a reader that sees one new word sees the
// odd sequence that came before it, and the sequence it looks at afterwards is not an older one.
static uint64_t load(_Atomic uint64_t *word)
{
    return atomic_load_explicit(word, memory_order_acquire);
}

static void store(_Atomic uint64_t *word, uint64_t value)
{
    atomic_store_explicit(word, value, memory_order_release);
}

static int64_t load_time(_Atomic int64_t *word)
{
    return atomic_load_explicit(word, memory_order_acquire);
}

static void store_time(_Atomic int64_t *word, int64_t value)
{
    atomic_store_explicit(word, value, memory_order_release);
}

static void copy_hand_out(struct control_page *page, struct page_view *view)
{
    uint64_t bytes = load(&page->hand_bytes);
    view->hand_bytes = bytes <= sizeof view->hand ? (size_t)bytes : 0;
    for (size_t at = 0; at < view->hand_bytes; at += sizeof(uint64_t)) {
        uint64_t word = load(&page->hand[at / sizeof(uint64_t)]);
        size_t rest = view->hand_bytes - at;
        memcpy(view->hand + at, &word, rest < sizeof word ? rest : sizeof word);
    }
}

bool control_try_view(struct control_page *page, struct page_view *view, uint64_t *sequence)
{
    uint64_t before = load(&page->sequence);
    if (before % 2 != 0) {
        return false;
    }
    view->epoch = load(&page->epoch);
    view->feed_live = load(&page->feed_live) != 0;
    view->clock_offset_us = load_time(&page->clock_offset_us);
    for (size_t i = 0; i < EPOCH_BEATS; i++) {
        view->beats[i].epoch = load(&page->beats[i].epoch);
        view->beats[i].beat_us = load_time(&page->beats[i].beat_us);
        view->beats[i].swept = load(&page->beats[i].swept) != 0;
    }
    copy_hand_out(page, view);
    view->max_stale_us = load_time(&page->max_stale_us);
    *sequence = before;
    return control_is_unchanged(page, before);
}

void control_view(struct control_page *page, struct page_view *view)
{
    uint64_t sequence;
    while (!control_try_view(page, view, &sequence)) {
        sched_yield();
    }
}

void control_publish(struct control_page *page, const struct page_view *view)
{
    uint64_t sequence = load(&page->sequence);
    CHECK_VALUES(sequence % 2 == 0, "sequence %llu", (unsigned long long)sequence);
    store(&page->sequence, sequence + 1);
    store(&page->epoch, view->epoch);
    store(&page->feed_live, view->feed_live);
    store_time(&page->clock_offset_us, view->clock_offset_us);
    for (size_t i = 0; i < EPOCH_BEATS; i++) {
        store(&page->beats[i].epoch, view->beats[i].epoch);
        store_time(&page->beats[i].beat_us, view->beats[i].beat_us);
        store(&page->beats[i].swept, view->beats[i].swept);
    }
    store(&page->hand_bytes, view->hand_bytes);
    for (size_t at = 0; at < view->hand_bytes; at += sizeof(uint64_t)) {
        uint64_t word = 0;
        size_t rest = view->hand_bytes - at;
        memcpy(&word, view->hand + at, rest < sizeof word ? rest : sizeof word);
        store(&page->hand[at / sizeof word], word);
    }
    page->check = check_of(page);
    atomic_store_explicit(&page->sequence, sequence + 2, memory_order_release);
}

static struct epoch_beat *present_beat(struct page_view *view)
{
    return &view->beats[view->epoch % EPOCH_BEATS];
}

void control_note_server(struct control_page *page, int64_t started_us, const char timeline[16])
{
    memcpy(page->server_timeline, timeline, sizeof page->server_timeline);
    page->server_started_us = started_us;
}

void control_disown_server(struct control_page *page)
{
    static const char NO_TIMELINE[sizeof page->server_timeline] = {0};
    control_note_server(page, -1, NO_TIMELINE);
}

void page_view_begin_epoch(struct page_view *view, uint64_t epoch, int64_t beat_us)
{
    CHECK_VALUES(epoch > view->epoch, "epoch %llu", (unsigned long long)epoch);
    view->epoch = epoch;
    view->feed_live = true;
    view->hand_bytes = 0;
    *present_beat(view) = (struct epoch_beat){.epoch = epoch, .beat_us = beat_us};
}

void page_view_heartbeat(struct page_view *view, int64_t beat_us)
{
    struct epoch_beat *beat = present_beat(view);
    if (beat->epoch == view->epoch && beat_us > beat->beat_us) {
        beat->beat_us = beat_us;
    }
}

void page_view_sweep(struct page_view *view, struct slice hand, bool done)
{
    CHECK_VALUES(hand.len <= sizeof view->hand, "%zu bytes", hand.len);
    struct epoch_beat *beat = present_beat(view);
    if (beat->epoch != view->epoch) {
        return;
    }
    beat->swept = beat->swept || done;
    view->hand_bytes = done ? 0 : hand.len;
    if (view->hand_bytes > 0) {
        memcpy(view->hand, hand.at, hand.len);
    }
}
