// The test's end of a page of fault points.
#include "system/harness/faults.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "system/harness/deadline.h"

struct faults *faults_create(struct scenario *scenario, const char *node_name)
{
    struct faults *faults = scenario_alloc(scenario, sizeof *faults);
    const char *path = scenario_text(scenario, "%s/%s.faults", scenario->directory, node_name);
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || ftruncate(fd, sizeof *faults->page) != 0) {
        scenario_fail("cannot make %s: %s", path, strerror(errno));
    }
    void *page = mmap(NULL, sizeof *faults->page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (page == MAP_FAILED) {
        scenario_fail("cannot map %s: %s", path, strerror(errno));
    }
    faults->page = page;
    faults->environment[0] = scenario_text(scenario, "PGNEAR_FAULT_PAGE=%s", path);
    faults->environment[1] = NULL;
    return faults;
}

void faults_arm(struct faults *faults, const struct fault_order *order)
{
    fault_slot_arm(faults->page, order);
}

void faults_disarm(struct faults *faults, enum fault fault)
{
    fault_slot_arm(faults->page, &(struct fault_order){.fault = fault});
}

uint64_t faults_passes(const struct faults *faults, enum fault fault)
{
    return atomic_load(&faults->page->slots[fault].passes);
}

uint64_t faults_fired(const struct faults *faults, enum fault fault)
{
    return atomic_load(&faults->page->slots[fault].fired);
}

void faults_await(struct faults *faults, enum fault fault, uint64_t fired)
{
    struct deadline deadline = deadline_in(DEADLINE_MS);
    while (faults_fired(faults, fault) < fired) {
        if (!deadline_again(&deadline)) {
            scenario_fail("the fault point %s was passed %llu times and fired %llu times, not %llu",
                          fault_name(fault), (unsigned long long)faults_passes(faults, fault),
                          (unsigned long long)faults_fired(faults, fault),
                          (unsigned long long)fired);
        }
    }
}
