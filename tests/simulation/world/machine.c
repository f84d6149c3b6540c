// The clock, the chance and the end of a run. Takes the place of base/clock.c and base/check.c, of
// libc's arc4random and of what the cache wing asks of the system.
#include "simulation/world/machine.h"

#include <linux/magic.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "cachefile/directory.h"
#include "cachefile/environment.h"

static const int64_t REAL_BEHIND_BOOT_US = 1700000000000000;

struct machine machine = {.now_us = 1000000000, .report_fd = -1};

// ---- chance

// splitmix64 (Steele, Lea, Flood 2014).
static uint64_t scramble(uint64_t z)
{
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

uint64_t machine_mix(uint64_t a, uint64_t b)
{
    return scramble(scramble(a + 0x9e3779b97f4a7c15u) + b * 0x9e3779b97f4a7c15u);
}

void machine_seed(uint64_t seed)
{
    machine.chance = seed;
}

uint64_t machine_random(void)
{
    machine.chance += 0x9e3779b97f4a7c15u;
    return scramble(machine.chance);
}

uint32_t machine_below(uint32_t count)
{
    return count == 0 ? 0 : (uint32_t)((machine_random() >> 32) * count >> 32);
}

bool machine_chance(uint32_t per_mille)
{
    return machine_below(1000) < per_mille;
}

// ---- the report

void machine_trace(const char *format, ...)
{
    fprintf(stderr, "%7llu %12.6f  ", (unsigned long long)machine.step,
            (double)machine.now_us / CLOCK_US_PER_S);
    va_list values;
    va_start(values, format);
    vfprintf(stderr, format, values);
    va_end(values);
    fputc('\n', stderr);
}

static _Noreturn void report(const char *kind, const char *format, va_list values)
{
    char text[1024];
    int used = snprintf(text, sizeof text, "%llu %s: ", (unsigned long long)machine.step, kind);
    vsnprintf(text + used, sizeof text - (size_t)used, format, values);
    if (machine.traces) {
        machine_trace("VIOLATION %s", text);
    }
    if (machine.report_fd >= 0) {
        ssize_t written = write(machine.report_fd, text, strlen(text));
        (void)written;
    } else {
        fprintf(stderr, "%s\n", text);
    }
    _exit(MACHINE_EXIT_VIOLATION);
}

void violation(const char *kind, const char *format, ...)
{
    va_list values;
    va_start(values, format);
    report(kind, format, values);
}

// ---- base/check.h

void check_failed(const char *file, int line, const char *expression, const char *format, ...)
{
    char kind[160];
    snprintf(kind, sizeof kind, "check %s:%d %s", file, line, expression);
    va_list values;
    va_start(values, format);
    report(kind, format, values);
}

// ---- base/clock.h

int64_t clock_boot_us(void)
{
    return machine.now_us;
}

int64_t clock_real_us(void)
{
    return machine.now_us + REAL_BEHIND_BOOT_US;
}

// ---- libc and the system

uint32_t arc4random(void)
{
    return (uint32_t)machine_random();
}

uint32_t arc4random_uniform(uint32_t upper_bound)
{
    return machine_below(upper_bound);
}

enum error __wrap_directory_random_uuid(char uuid[BOOT_ID_BYTES])
{
    uint64_t high = machine_random(), low = machine_random();
    snprintf(uuid, BOOT_ID_BYTES, "%08x-%04x-4%03x-8%03x-%012llx", (unsigned)(high >> 32),
             (unsigned)(high >> 16 & 0xffff), (unsigned)(high & 0xfff), (unsigned)(low & 0xfff),
             (unsigned long long)(low >> 16));
    return ERROR_NONE;
}

// A run keeps its files on a memory file system, which the daemon rightly refuses for the outbox:
// it is told of a disk with room.
int statfs(const char *path, struct statfs *status)
{
    (void)path;
    *status = (struct statfs){.f_type = EXT4_SUPER_MAGIC, .f_bsize = 4096, .f_bavail = 1 << 20};
    return 0;
}

// The files are this very process's: reading them through in a child would prove nothing.
bool __wrap_environment_is_sound(const char *path, environment_row_is_whole *row_is_whole)
{
    (void)path;
    (void)row_is_whole;
    return true;
}
