// How calls end: pgnear_code and pgnear_error, made here or read from the node's answer.
#pragma once

#include <pgnear.h>

#include "base/error.h"
#include "base/mpack.h"

// Fills `error` (which may be NULL) and returns `code`.
pgnear_code outcome_set(pgnear_error *error, pgnear_code code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

// The same from the error map of a response. PGNEAR_PROTOCOL where it is not one.
pgnear_code outcome_of_response(struct slice map, pgnear_error *error);

// The same from a failure of our own components.
pgnear_code outcome_of_failure(const struct failure *failure, pgnear_error *error);
