// Who may connect: the bound on connections, server.allow_uids, and the descriptors that the
// process needs for itself.
#pragma once

#include <pthread.h>

#include "base/settings.h"
#include "base/status.h"

enum { DENIED_UIDS_KEPT = 16 };

struct admission {
    // Constant:
    struct status *status;
    int connections_max;
    int descriptors_kept; // never for clients
    // Shared, under mutex:
    pthread_mutex_t mutex;
    uid_t allowed[ALLOW_UIDS_MAX];
    size_t allowed_count; // 0: whoever the socket's mode lets in
    // Of the accepting thread: when each of the last users turned away was logged.
    struct denied_uid {
        uid_t uid;
        int64_t logged_boot_us; // 0: free
    } denied[DENIED_UIDS_KEPT];
    int64_t full_logged_boot_us;
};

// `descriptors_kept`: how many the process may need beside those of its clients, so that a crowd of
// them does not cut the node off from PostgreSQL.
void admission_init(struct admission *admission, struct status *status, int connections_max,
                    int descriptors_kept);
void admission_deinit(struct admission *admission);

// Any thread. At most ALLOW_UIDS_MAX.
void admission_set_uids(struct admission *admission, const uid_t *uids, size_t count);

// Whether the client on this socket may stay. Refusals are counted, and logged once a minute for
// each user and for the bounds. The accepting thread's.
bool admission_admits(struct admission *admission, int fd);
