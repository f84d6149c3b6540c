// What stands in for libevent: the daemon's own calls of event_new, event_add and so on end here,
// and nothing fires by itself. A scheduler sees what is due and picks the order.
#pragma once

#include <event2/event.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// The events of the base that are active or whose time has come, at most `count_max` of them.
// Events that wait for a file descriptor are not among them: the scheduler knows those itself.
size_t loop_due(struct event_base *base, struct event **due, size_t count_max);

// When the next timer is due; INT64_MAX where none is set.
int64_t loop_next_us(const struct event_base *base);

// Calls the event's callback, as libevent's loop would.
void loop_fire(struct event *event);

bool loop_is_broken(const struct event_base *base);
