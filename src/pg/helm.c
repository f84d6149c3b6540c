#include "pg/helm.h"

#include "base/check.h"

static _Thread_local struct helm *own;
static _Thread_local bool is_guest;

void helm_init(struct helm *helm)
{
    *helm = (struct helm){0};
    CHECK(pthread_mutex_init(&helm->mutex, NULL) == 0);
}

void helm_deinit(struct helm *helm)
{
    CHECK(pthread_mutex_destroy(&helm->mutex) == 0);
}

void helm_take(struct helm *helm)
{
    if (pthread_mutex_trylock(&helm->mutex) == 0) {
        return;
    }
    atomic_store_explicit(&helm->is_wanted, true, memory_order_relaxed);
    CHECK(pthread_mutex_lock(&helm->mutex) == 0);
    atomic_store_explicit(&helm->is_wanted, false, memory_order_relaxed);
}

void helm_leave(struct helm *helm)
{
    CHECK(pthread_mutex_unlock(&helm->mutex) == 0);
}

bool helm_visit(struct helm *helm)
{
    CHECK(!is_guest && own == NULL);
    is_guest = !atomic_load_explicit(&helm->is_wanted, memory_order_relaxed) &&
               pthread_mutex_trylock(&helm->mutex) == 0;
    return is_guest;
}

void helm_end_visit(struct helm *helm)
{
    CHECK(is_guest);
    is_guest = false;
    helm_leave(helm);
}

bool helm_is_visited(void)
{
    return is_guest;
}

void helm_join(struct helm *helm)
{
    own = helm;
}

struct helm *helm_of_thread(void)
{
    return own;
}
