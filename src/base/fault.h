// Named fault points, for tests only: compiled out unless PGNEAR_FAULT_POINTS is defined. Armed by
// the environment variable PGNEAR_FAULT, a comma-separated list of `name=action`:
//
//   name=crash      the process ends there, at once, as by kill -9
//   name=fail       the point reports a failure, every time
//   name=fail:3     the same, at the third pass and no other; crash:3 likewise
#pragma once

#include <stdbool.h>

#ifdef PGNEAR_FAULT_POINTS
// Whether the code at the point should fail; any thread. Reads the environment at each pass, so a
// test may arm and disarm while it runs.
bool fault_point(const char *name);
#define FAULT_POINT(name) fault_point(name)
#else
#define FAULT_POINT(name) false
#endif
