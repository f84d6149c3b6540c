// A client that is not let in finds its connection closed: it has not asked anything yet, so there
// is nothing to answer.

#include "server/admission.h"

#include <sys/resource.h>
#include <sys/socket.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"

void admission_init(struct admission *admission, struct status *status, int connections_max,
                    int descriptors_kept)
{
    *admission = (struct admission){
        .status = status,
        .connections_max = connections_max,
        .descriptors_kept = descriptors_kept,
    };
    CHECK(pthread_mutex_init(&admission->mutex, NULL) == 0);
}

void admission_deinit(struct admission *admission)
{
    pthread_mutex_destroy(&admission->mutex);
}

void admission_set_uids(struct admission *admission, const uid_t *uids, size_t count)
{
    CHECK_VALUES(count <= ALLOW_UIDS_MAX, "%zu", count);
    CHECK(pthread_mutex_lock(&admission->mutex) == 0);
    for (size_t i = 0; i < count; i++) {
        admission->allowed[i] = uids[i];
    }
    admission->allowed_count = count;
    CHECK(pthread_mutex_unlock(&admission->mutex) == 0);
}

static bool is_allowed(struct admission *admission, uid_t uid)
{
    CHECK(pthread_mutex_lock(&admission->mutex) == 0);
    bool allowed = admission->allowed_count == 0;
    for (size_t i = 0; i < admission->allowed_count && !allowed; i++) {
        allowed = admission->allowed[i] == uid;
    }
    CHECK(pthread_mutex_unlock(&admission->mutex) == 0);
    return allowed;
}

// The place of a user among those turned away; the oldest makes room for a new one.
static struct denied_uid *place_of(struct admission *admission, uid_t uid)
{
    struct denied_uid *oldest = &admission->denied[0];
    for (int i = 0; i < DENIED_UIDS_KEPT; i++) {
        struct denied_uid *denied = &admission->denied[i];
        if (denied->uid == uid && denied->logged_boot_us != 0) {
            return denied;
        }
        if (denied->logged_boot_us < oldest->logged_boot_us) {
            oldest = denied;
        }
    }
    *oldest = (struct denied_uid){.uid = uid};
    return oldest;
}

static bool user_is_admitted(struct admission *admission, int fd)
{
    struct ucred peer;
    socklen_t len = sizeof peer;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) != 0) {
        return false;
    }
    if (is_allowed(admission, peer.uid)) {
        return true;
    }
    if (log_is_due(&place_of(admission, peer.uid)->logged_boot_us, clock_boot_us())) {
        LOG_WARNING("client denied", LOG_INT("uid", peer.uid), LOG_INT("pid", peer.pid),
                    LOG_TEXT("reason", "not in server.allow_uids"));
    }
    return false;
}

// How many clients there is room for; where it is hardly any, one that looks after the node.
static int64_t room_for_clients(const struct admission *admission)
{
    struct rlimit limit;
    CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    int64_t descriptors = limit.rlim_cur > INT32_MAX ? INT32_MAX : (int64_t)limit.rlim_cur;
    int64_t room = descriptors - admission->descriptors_kept;
    return room > 1 ? room : 1;
}

// Why nobody can be let in any more; NULL where there is room.
static const char *full(const struct admission *admission)
{
    int64_t connections = status_get(admission->status, STATUS_SERVER_CONNECTIONS);
    if (connections >= admission->connections_max) {
        return "server.max_connections is reached";
    }
    return connections >= room_for_clients(admission) ? "the descriptors are used up" : NULL;
}

bool admission_admits(struct admission *admission, int fd)
{
    const char *reason = full(admission);
    if (reason == NULL && user_is_admitted(admission, fd)) {
        return true;
    }
    status_add(admission->status, STATUS_SERVER_REFUSED, 1);
    if (reason != NULL && log_is_due(&admission->full_logged_boot_us, clock_boot_us())) {
        LOG_WARNING(
            "client refused", LOG_TEXT("reason", reason),
            LOG_INT("connections", status_get(admission->status, STATUS_SERVER_CONNECTIONS)),
            LOG_INT("max_connections", admission->connections_max));
    }
    return false;
}
