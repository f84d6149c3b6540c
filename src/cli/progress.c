#include "cli/progress.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"

enum { BAR_COLUMNS = 24, REDRAW_US = 100000, PERCENT = 100 };

void progress_begin(struct progress *progress, const char *verb, bool is_bytes, int64_t total)
{
    *progress = (struct progress){
        .verb = verb,
        .is_shown = isatty(STDERR_FILENO) == 1,
        .is_bytes = is_bytes,
        .total = total,
        .begun_us = clock_boot_us(),
    };
}

static void print_bar(const struct progress *progress, int64_t done)
{
    if (progress->total <= 0) {
        fprintf(stderr, "\r\033[K%s", progress->verb);
        return;
    }
    done = done < progress->total ? done : progress->total;
    double share = (double)done / (double)progress->total;
    char bar[BAR_COLUMNS + 1];
    int filled = (int)(share * BAR_COLUMNS);
    memset(bar, '-', BAR_COLUMNS);
    memset(bar, '#', (size_t)filled);
    bar[BAR_COLUMNS] = '\0';
    fprintf(stderr, "\r\033[K%s [%s] %3d %%", progress->verb, bar, (int)(share * PERCENT));
}

static void print_size(int64_t bytes)
{
    static const char *const UNITS[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double size = (double)bytes;
    size_t unit = 0;
    while (size >= 1024 && unit + 1 < sizeof UNITS / sizeof UNITS[0]) {
        size /= 1024;
        unit++;
    }
    fprintf(stderr, "   %.1f %s", size, UNITS[unit]);
}

static void print_time_left(const struct progress *progress, int64_t done, double elapsed_s)
{
    if (progress->total > 0 && done > 0 && done < progress->total) {
        int64_t left_s = (int64_t)(elapsed_s * (double)(progress->total - done) / (double)done);
        fprintf(stderr, "   %lld:%02lld left", (long long)(left_s / 60), (long long)(left_s % 60));
    }
}

void progress_show(struct progress *progress, int64_t bytes, int64_t pairs)
{
    int64_t now_us = clock_boot_us();
    if (!progress->is_shown || now_us - progress->drawn_us < REDRAW_US) {
        return;
    }
    progress->drawn_us = now_us;
    progress->has_bar = true;
    double elapsed_s = (double)(now_us - progress->begun_us) / CLOCK_US_PER_S;
    int64_t done = progress->is_bytes ? bytes : pairs;
    print_bar(progress, done);
    if (bytes > 0) {
        print_size(bytes);
    }
    fprintf(stderr, "   %lld pairs   %.0f/s", (long long)pairs,
            elapsed_s > 0 ? (double)pairs / elapsed_s : 0);
    print_time_left(progress, done, elapsed_s);
    fflush(stderr);
}

void progress_clear(struct progress *progress)
{
    if (progress->has_bar) {
        fputs("\r\033[K", stderr);
        fflush(stderr);
        progress->has_bar = false;
    }
}
