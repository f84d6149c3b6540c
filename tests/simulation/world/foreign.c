// A program draws its transaction when it begins: up to three statements, then COMMIT or, seldom,
// ROLLBACK.
#include "simulation/world/foreign.h"

#include "simulation/world/machine.h"

enum { STATEMENTS_MAX = 3 };

enum act { ACT_UPSERT, ACT_INSERT, ACT_DELETE, ACT_TRUNCATE, ACT_BULK };

struct foreign {
    struct session *session; // NULL: between transactions
    size_t count;
    size_t at;
    enum act acts[STATEMENTS_MAX];
    int keys[STATEMENTS_MAX];
    int64_t drawn; // by an INSERT, before it waits
    size_t progress;
    bool rolls_back;
};

static struct foreign programs[FOREIGN_MAX];

struct foreign *foreign_of(int number)
{
    return &programs[number];
}

bool foreign_can_step(const struct foreign *foreign)
{
    const struct session *session = foreign->session;
    return session == NULL || session->waits_for_key == NOBODY ||
           server.lockers[session->waits_for_key] == NULL;
}

bool foreign_is_idle(const struct foreign *foreign)
{
    return foreign->session == NULL;
}

static enum act random_act(void)
{
    uint32_t dice = machine_below(100);
    return dice < 55   ? ACT_UPSERT
           : dice < 70 ? ACT_INSERT
           : dice < 93 ? ACT_DELETE
           : dice < 97 ? ACT_TRUNCATE
                       : ACT_BULK;
}

static void begin(struct foreign *foreign, uint32_t asynchronous_per_mille)
{
    *foreign = (struct foreign){.session = server_program()};
    foreign->count = machine_chance(700) ? 1 : 1 + machine_below(STATEMENTS_MAX);
    foreign->rolls_back = machine_chance(100);
    for (size_t i = 0; i < foreign->count; i++) {
        foreign->acts[i] = random_act();
        foreign->keys[i] = ledger_random_key();
    }
    foreign->session->txn.asynchronous = machine_chance(asynchronous_per_mille);
    trace("program begins, %zu statements", foreign->count);
}

static void end(struct foreign *foreign, bool commits)
{
    trace("program %s", commits ? "commits" : "rolls back");
    if (commits) {
        session_commit(foreign->session);
    } else {
        session_rollback(foreign->session);
    }
    foreign->session->used = false;
    foreign->session = NULL;
}

static void put(struct foreign *foreign, int key, int64_t version)
{
    struct session *session = foreign->session;
    struct row row = session_row(session, key);
    int64_t token;
    if (key >= COUNTERS_FROM) {
        token = row.present ? row.token + 1000 : 1000;
    } else {
        const struct write write = {.node = NOBODY, .key = key, .op = WRITE_SET};
        token = ledger_write(&write);
    }
    session_put(session, key, token, version);
}

static void announce_all(struct session *session, const char *word)
{
    char payload[32] = "[\"\",\"";
    size_t len = 5;
    while (*word != '\0') {
        payload[len++] = *word++;
    }
    payload[len++] = '"';
    payload[len] = ']';
    session_note(session, "", payload);
}

// Everything, under the lock of all rows.
static enum lock do_all(struct foreign *foreign, enum act act)
{
    struct session *session = foreign->session;
    while (foreign->progress < KEYS_COUNT) {
        enum lock lock = session_lock(session, (int)foreign->progress);
        if (lock != LOCK_TAKEN) {
            return lock;
        }
        foreign->progress++;
    }
    for (int key = 0; key < KEYS_COUNT; key++) {
        if (act == ACT_BULK) {
            put(foreign, key, server_draw());
        } else if (session_row(session, key).present) {
            session_delete(session, key);
        }
    }
    announce_all(session, act == ACT_BULK ? "sweep" : "truncate");
    return LOCK_TAKEN;
}

static enum lock do_one(struct foreign *foreign, enum act act, int key)
{
    struct session *session = foreign->session;
    if (act == ACT_INSERT && foreign->drawn == 0) {
        foreign->drawn = server_draw();
    }
    enum lock lock = session_lock(session, key);
    if (lock != LOCK_TAKEN) {
        return lock;
    }
    bool present = session_row(session, key).present;
    if (act == ACT_INSERT && present) {
        return LOCK_FAILED; // unique violation
    }
    if (act == ACT_DELETE) {
        if (present) {
            session_delete(session, key);
            session_announce(session, &key, 1, true);
        }
        return LOCK_TAKEN;
    }
    put(foreign, key, act == ACT_INSERT ? foreign->drawn : server_draw());
    session_announce(session, &key, 1, false);
    return LOCK_TAKEN;
}

void foreign_step(struct foreign *foreign, bool may_begin, uint32_t asynchronous_per_mille)
{
    if (foreign->session == NULL) {
        if (may_begin) {
            begin(foreign, asynchronous_per_mille);
        }
        return;
    }
    if (foreign->at == foreign->count) {
        end(foreign, !foreign->rolls_back);
        return;
    }
    enum act act = foreign->acts[foreign->at];
    bool all = act == ACT_TRUNCATE || act == ACT_BULK;
    enum lock lock = all ? do_all(foreign, act) : do_one(foreign, act, foreign->keys[foreign->at]);
    if (lock == LOCK_FAILED) {
        end(foreign, false);
    } else if (lock == LOCK_TAKEN) {
        foreign->at++;
        foreign->progress = 0;
        foreign->drawn = 0;
    }
}

void foreign_stop_all(void)
{
    for (int i = 0; i < FOREIGN_MAX; i++) {
        if (programs[i].session != NULL) {
            end(&programs[i], false);
        }
    }
}
