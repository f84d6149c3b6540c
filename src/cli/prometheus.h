// The node's figures as Prometheus reads them: text exposition format 0.0.4.
#pragma once

#include <stdio.h>

#include "base/slice.h"

// `stats` is the map that the node answered. What is nil there is left out.
void prometheus_print(FILE *out, struct slice stats);
