// bench_load: see plan.c for its arguments and run.c for what it does.
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#include "load/plan.h"
#include "load/run.h"

static void pin(int cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET((size_t)cpu, &set);
    if (sched_setaffinity(0, sizeof set, &set) != 0) {
        perror("bench_load: --cpu");
        exit(1);
    }
}

static void print(const struct outcome *outcome)
{
    printf("{\"operations\": %llu, \"seconds\": %.6f, \"per_second\": %.1f, \"hits\": %llu, "
           "\"misses\": %llu, \"errors\": %llu, \"wrong\": %llu, \"late\": %llu, "
           "\"first_error\": \"%s\", \"latency_ns\": ",
           (unsigned long long)outcome->operations, outcome->seconds,
           (double)outcome->operations / outcome->seconds, (unsigned long long)outcome->hits,
           (unsigned long long)outcome->misses, (unsigned long long)outcome->errors,
           (unsigned long long)outcome->wrong, (unsigned long long)outcome->late,
           outcome->first_error);
    hdr_print(&outcome->latency, stdout);
    printf("}\n");
}

int main(int argc, char **argv)
{
    static struct outcome outcome;
    struct plan plan;
    plan_parse(&plan, argc, argv);
    if (plan.cpu >= 0) {
        pin(plan.cpu);
    }
    run_plan(&plan, &outcome);
    print(&outcome);
    return 0;
}
