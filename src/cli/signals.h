// SIGINT and SIGTERM for commands that run until they are told to stop. Main thread.
#pragma once

// Holds both back, so that they come as bytes to read, with those of other descriptors to wait for.
// The caller closes the descriptor; -1, with errno, where there is none.
int signals_open(void);
