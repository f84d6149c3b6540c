// What an error of PostgreSQL means for the flush (SPEC, section 3).
#pragma once

// program_limit_exceeded: of a COMMIT, the NOTIFY queue is full.
#define SQLSTATE_LIMIT_EXCEEDED "54000"

enum sqlstate_class {
    SQLSTATE_ROW,        // what was written is refused for good: a dead letter
    SQLSTATE_OPERATOR,   // a person has to do something: stop, park nothing, try again later
    SQLSTATE_CONNECTION, // passes: try again
};

// `sqlstate` is the code of five characters; "" (libpq's own errors) is the connection's. A class
// that PostgreSQL does not have can only come from a RAISE of the user's, and is the row's.
enum sqlstate_class sqlstate_classify(const char *sqlstate);

// The same where a batch's COMMIT was refused after all its statements had succeeded.
enum sqlstate_class sqlstate_classify_commit(const char *sqlstate);
