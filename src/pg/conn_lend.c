// A connection whose answer another thread waits for, in an epoll of its own. Whoever takes it from
// there is a guest (helm.h), and does what goes well: all else, and what is more than one read, is
// left to the pg worker's loop. So no guest frees or makes an object of libpq's or libevent's.
#include <sys/epoll.h>
#include <sys/ioctl.h>

#include "base/check.h"
#include "pg/conn_state.h"
#include "pg/timer.h"

void conn_stop_lending(struct conn *conn)
{
    // A socket that is closed has left the epoll by itself.
    if (conn->lent_to >= 0 && PQsocket(conn->pg) >= 0) {
        (void)epoll_ctl(conn->lent_to, EPOLL_CTL_DEL, PQsocket(conn->pg), NULL);
    }
    conn->lent_to = -1;
    conn->lends_next = false;
}

void conn_take_back(struct conn *conn)
{
    if (conn->lent_to >= 0) {
        conn_stop_lending(conn);
        conn_flush_output(conn);
    }
}

bool conn_lend(struct conn *conn, int epoll)
{
    CHECK_VALUES(conn->state == CONN_IDLE, "%s is not idle", conn->options.name);
    if (conn->lent_to != epoll) {
        struct epoll_event event = {.events = EPOLLIN};
        conn_take_back(conn);
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, PQsocket(conn->pg), &event) != 0) {
            return false;
        }
        timer_disarm(conn->read_event);
        timer_disarm(conn->write_event);
        conn->lent_to = epoll;
    }
    conn->lends_next = true;
    return true;
}

bool conn_is_lent_to(const struct conn *conn, int epoll)
{
    return conn->lent_to == epoll;
}

static bool has_much_to_read(const struct conn *conn)
{
    int bytes = 0;
    return conn->has_had_much && ioctl(PQsocket(conn->pg), FIONREAD, &bytes) == 0 &&
           bytes > CONN_LENT_BYTES_MAX;
}

void conn_read_lent(struct conn *conn)
{
    if (has_much_to_read(conn)) {
        conn_take_back(conn);
        return;
    }
    conn_read(conn);
    if (conn->state == CONN_BUSY) {
        conn_take_back(conn);
    }
}
