// Those who write to the table without pgnear: psql, an ORM, a nightly job. Each runs one
// transaction after another against the model server, a step at a time.
#pragma once

#include "simulation/world/server.h"

enum { FOREIGN_MAX = 3 };

struct foreign; // one program

struct foreign *foreign_of(int number);
// False where the program waits for a lock that is not free.
bool foreign_can_step(const struct foreign *foreign);
bool foreign_is_idle(const struct foreign *foreign);
// One statement, or the end of the transaction; begins another where none is open and
// `may_begin`. `asynchronous` in that many of 1000: synchronous_commit is off.
void foreign_step(struct foreign *foreign, bool may_begin, uint32_t asynchronous_per_mille);
// Every open transaction is rolled back.
void foreign_stop_all(void);
