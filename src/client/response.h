// What a node sends, told apart: the response to a request, with what it came to, and the events of
// a watch. Pure; slices point into the frame.
#pragma once

#include "client/handle.h"

// What a request asks for, and so how its result is read.
enum request_kind { REQUEST_GET, REQUEST_WRITE, REQUEST_OTHER };

struct response {
    bool is_event; // and nothing else of this
    uint64_t msgid;
    struct slice error; // nil: none
    struct slice result;
};

// False where the frame is not one of a node's.
bool response_read(struct slice frame, struct response *response);

// Fills the reply to a request of that kind, and `error` where it is one.
void response_reply(const struct response *response, enum request_kind kind, pgnear_reply *reply,
                    pgnear_error *error);

// False where the frame is no event that this library knows.
bool response_event(struct slice frame, pgnear_event *event);
