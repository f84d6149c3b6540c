// What systemd is told of the daemon (sd_notify(3)): that it is ready, that it stops, and, where
// the unit has a watchdog, that it still serves. Without systemd, or built without its library,
// everything here does nothing. The main thread.
#pragma once

#include <stdint.h>

// Everything has started: clients are served.
void supervisor_ready(const char *status);
void supervisor_stopping(void);

// How often the watchdog wants to hear of us: half of what it allows. 0: there is none.
int64_t supervisor_watchdog_us(void);

// Asks the daemon for a sign of life as a client does, over its own socket, so that each server
// loop has its turn, and passes it on to the watchdog. A client that is turned away at once was
// answered as well. A loop that hangs answers nobody: then nothing is passed on. Takes a second at
// the most.
void supervisor_feed_watchdog(const char *socket_path);
