// The points of this process: a page of its own, or one that it shares with a test.
#include "base/fault.h"

#ifdef PGNEAR_FAULT_POINTS

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { RELEASE_POLL_US = 1000, US_PER_MS = 1000, US_PER_S = 1000000 };

static const char *const NAMES[] = {
#define FAULT_NAME(id, name, kind, words) name,
    FAULT_POINTS(FAULT_NAME)
#undef FAULT_NAME
};

static const enum fault_kind KINDS[] = {
#define FAULT_KIND(id, name, kind, words) FAULT_##kind,
    FAULT_POINTS(FAULT_KIND)
#undef FAULT_KIND
};

static const char *const ACTIONS[] = {"none", "crash", "fail", "delay", "stop"};

static struct fault_page own_page;
static struct fault_page *page = &own_page;

const char *fault_name(enum fault fault)
{
    return NAMES[fault];
}

enum fault_kind fault_kind(enum fault fault)
{
    return KINDS[fault];
}

// ---- Arming

void fault_slot_arm(struct fault_page *armed, const struct fault_order *order)
{
    struct fault_slot *slot = &armed->slots[order->fault];
    atomic_store(&slot->action, FAULT_NONE);
    unsigned long long passes = atomic_load(&slot->passes);
    atomic_store(&slot->pass, order->pass == 0 ? 0 : passes + order->pass);
    atomic_store(&slot->percent, order->percent);
    atomic_store(&slot->delay_us, order->delay_us);
    atomic_store(&slot->action, order->action);
}

static bool is_word(const char *at, size_t len, const char *word)
{
    return strlen(word) == len && memcmp(at, word, len) == 0;
}

// What follows a colon: "3", "5%", "20ms" or "2s".
static bool parse_when(const char *at, size_t len, struct fault_order *order)
{
    char *end;
    errno = 0;
    unsigned long number = strtoul(at, &end, 10);
    size_t digits = (size_t)(end - at);
    if (errno != 0 || digits == 0 || digits > len || number == 0 || number > INT32_MAX) {
        return false;
    }
    size_t unit_len = len - digits;
    if (unit_len == 0) {
        order->pass = number;
    } else if (is_word(end, unit_len, "%") && number <= 100) {
        order->percent = (unsigned)number;
    } else if (is_word(end, unit_len, "ms") && order->action == FAULT_DELAY) {
        order->delay_us = (int64_t)number * US_PER_MS;
    } else if (is_word(end, unit_len, "s") && order->action == FAULT_DELAY) {
        order->delay_us = (int64_t)number * US_PER_S;
    } else {
        return false;
    }
    return true;
}

static bool parse_action(const char *at, size_t len, struct fault_order *order)
{
    for (unsigned action = FAULT_CRASH; action <= FAULT_STOP; action++) {
        if (is_word(at, len, ACTIONS[action])) {
            order->action = (enum fault_action)action;
            return true;
        }
    }
    return false;
}

static bool parse_name(const char *at, size_t len, struct fault_order *order)
{
    for (unsigned fault = 0; fault < FAULT_COUNT; fault++) {
        if (is_word(at, len, NAMES[fault])) {
            order->fault = (enum fault)fault;
            return true;
        }
    }
    return false;
}

static enum error parse(const char *at, size_t len, struct fault_order *order,
                        struct failure *failure)
{
    *order = (struct fault_order){0};
    size_t name_len = strcspn(at, "=,");
    if (!parse_name(at, name_len, order)) {
        return failure_set(failure, ERROR_CONFIG, "PGNEAR_FAULT: there is no point \"%.*s\"",
                           (int)name_len, at);
    }
    const char *end = at + len;
    const char *word = at + name_len + (name_len < len);
    size_t word_len = strcspn(word, ":,");
    bool good = parse_action(word, word_len, order);
    for (word += word_len; good && word < end; word += word_len) {
        word++; // the colon
        word_len = strcspn(word, ":,");
        good = parse_when(word, word_len, order);
    }
    if (!good) {
        return failure_set(failure, ERROR_CONFIG, "PGNEAR_FAULT: what is \"%.*s\"?", (int)len, at);
    }
    if (order->action == FAULT_FAIL && KINDS[order->fault] == FAULT_MOMENT) {
        return failure_set(failure, ERROR_CONFIG, "PGNEAR_FAULT: nothing can fail at \"%s\"",
                           NAMES[order->fault]);
    }
    return ERROR_NONE;
}

enum error fault_arm(const char *list, struct failure *failure)
{
    for (unsigned fault = 0; fault < FAULT_COUNT; fault++) {
        fault_slot_arm(page, &(struct fault_order){.fault = (enum fault)fault});
    }
    for (const char *at = list; *at != '\0';) {
        size_t len = strcspn(at, ",");
        struct fault_order order;
        enum error error = parse(at, len, &order, failure);
        if (error != ERROR_NONE) {
            return error;
        }
        fault_slot_arm(page, &order);
        at += len + (at[len] == ',');
    }
    return ERROR_NONE;
}

static enum error map_page(const char *path, struct failure *failure)
{
    struct stat status;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    bool fits = fd >= 0 && fstat(fd, &status) == 0 && status.st_size == sizeof(struct fault_page);
    void *mapped = MAP_FAILED;
    if (fits) {
        mapped = mmap(NULL, sizeof(struct fault_page), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    }
    if (fd >= 0) {
        close(fd);
    }
    if (mapped == MAP_FAILED) {
        return failure_set(failure, ERROR_CONFIG, "PGNEAR_FAULT_PAGE: %s is no page of the points",
                           path);
    }
    page = mapped;
    return ERROR_NONE;
}

enum error fault_start(struct failure *failure)
{
    // NOLINTBEGIN(concurrency-mt-unsafe): there is no other thread yet
    const char *path = getenv("PGNEAR_FAULT_PAGE");
    const char *list = getenv("PGNEAR_FAULT");
    // NOLINTEND(concurrency-mt-unsafe)
    enum error error = path != NULL ? map_page(path, failure) : ERROR_NONE;
    if (error == ERROR_NONE && list != NULL) {
        error = fault_arm(list, failure);
    }
    return error;
}

// ---- Passing

// The same pass is chosen each time (splitmix64, Steele et al. 2014).
static bool is_chosen(enum fault fault, unsigned long long pass, unsigned percent)
{
    uint64_t bits = ((uint64_t)fault << 32 | pass) + 0x9e3779b97f4a7c15u;
    bits = (bits ^ bits >> 30) * 0xbf58476d1ce4e5b9u;
    bits = (bits ^ bits >> 27) * 0x94d049bb133111ebu;
    return (bits ^ bits >> 31) % 100 < percent;
}

static void wait_there(const struct fault_slot *slot)
{
    int64_t delay_us = atomic_load(&slot->delay_us);
    if (delay_us > 0) {
        usleep((useconds_t)delay_us);
        return;
    }
    while (atomic_load(&slot->action) == FAULT_DELAY) {
        usleep(RELEASE_POLL_US);
    }
}

bool fault_pass(enum fault fault)
{
    struct fault_slot *slot = &page->slots[fault];
    unsigned long long pass = atomic_fetch_add(&slot->passes, 1) + 1;
    unsigned action = atomic_load(&slot->action);
    if (action == FAULT_NONE) {
        return false;
    }
    unsigned long long only = atomic_load(&slot->pass);
    unsigned percent = atomic_load(&slot->percent);
    if ((only != 0 && only != pass) || (percent != 0 && !is_chosen(fault, pass, percent))) {
        return false;
    }
    atomic_fetch_add(&slot->fired, 1);
    switch ((enum fault_action)action) {
    case FAULT_CRASH:
        kill(getpid(), SIGKILL);
        pause();
        return false;
    case FAULT_DELAY:
        wait_there(slot);
        return false;
    case FAULT_STOP:
        kill(getpid(), SIGSTOP);
        return false;
    default:
        return true;
    }
}

#endif
