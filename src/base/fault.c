// The fault points. Passes are counted for the points that are armed with a number.
#include "base/fault.h"

#ifdef PGNEAR_FAULT_POINTS

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { COUNTED_MAX = 16, NAME_BYTES = 64 };

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct {
    char name[NAME_BYTES];
    unsigned long passes;
} counted[COUNTED_MAX];

// The number of this pass through `name`, counted from 1; 0 where there is no room to count.
static unsigned long count_pass(const char *name)
{
    unsigned long pass = 0;
    pthread_mutex_lock(&mutex);
    for (int i = 0; i < COUNTED_MAX && pass == 0; i++) {
        if (counted[i].name[0] == '\0') {
            strncpy(counted[i].name, name, NAME_BYTES - 1);
        }
        if (strncmp(counted[i].name, name, NAME_BYTES - 1) == 0) {
            pass = ++counted[i].passes;
        }
    }
    pthread_mutex_unlock(&mutex);
    return pass;
}

// What follows `name=` in the list, or NULL.
static const char *action_of(const char *list, const char *name)
{
    size_t len = strlen(name);
    for (const char *at = list; at != NULL; at = strchr(at, ',')) {
        at += *at == ',';
        if (strncmp(at, name, len) == 0 && at[len] == '=') {
            return at + len + 1;
        }
    }
    return NULL;
}

bool fault_point(const char *name)
{
    const char *list = getenv("PGNEAR_FAULT"); // NOLINT(concurrency-mt-unsafe): tests only
    const char *action = list == NULL ? NULL : action_of(list, name);
    if (action == NULL) {
        return false;
    }
    size_t word = strcspn(action, ":,");
    if (action[word] == ':' && count_pass(name) != strtoul(action + word + 1, NULL, 10)) {
        return false;
    }
    if (strncmp(action, "crash", word) == 0) {
        kill(getpid(), SIGKILL);
        pause();
    }
    return true;
}

#endif
