// How long a pass lasts decides when the next one begins: refused rows, each of which costs a
// subtransaction, are tried for a tenth of the time at most.
#include "pg/reap_pass.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/words.h"
#include "pg/ask.h"

enum { PAUSE_MIN_US = 10 * CLOCK_US_PER_S, PAUSE_PER_PASS = 9 };

enum {
    COLUMN_REMOVED,
    COLUMN_REFUSED,
    COLUMN_PASSED_AT,
    COLUMN_PASSED_KEY,
    COLUMN_REFUSED_KEY,
    COLUMN_REFUSED_SQLSTATE,
    COLUMN_REFUSED_MESSAGE
};

void reap_pass_deinit(struct reap_pass *pass)
{
    buffer_deinit(&pass->passed_at);
    buffer_deinit(&pass->passed_key);
    *pass = (struct reap_pass){0};
}

void reap_pass_restart(struct reap_pass *pass)
{
    buffer_deinit(&pass->passed_at);
    buffer_deinit(&pass->passed_key);
    pass->began_boot_us = 0;
    pass->again_boot_us = 0;
    pass->refused = 0;
}

// ---- The query

// As jsonb has it, a time is read as it was written, whatever DateStyle is.
void reap_pass_ask(struct reap_pass *pass, const struct schema_names *names, int rows_max,
                   int64_t now_boot_us, struct buffer *sql)
{
    if (pass->again_boot_us != 0 && now_boot_us >= pass->again_boot_us) {
        reap_pass_restart(pass);
    }
    if (pass->began_boot_us == 0) {
        pass->began_boot_us = now_boot_us;
    }
    buffer_printf(sql,
                  "SELECT removed, refused, to_jsonb(passed_at) #>> '{}', passed_key, refused_key,"
                  " refused_sqlstate, refused_message FROM %s(%d, ",
                  names->reap_function, rows_max);
    if (buffer_len(&pass->passed_at) == 0) {
        buffer_printf(sql, "'-infinity', NULL)");
        return;
    }
    quote_literal(sql, buffer_text(&pass->passed_at));
    buffer_printf(sql, ", ");
    quote_literal(sql, buffer_text(&pass->passed_key));
    buffer_printf(sql, ")");
}

struct reaped reap_pass_read(const PGresult *result)
{
    CHECK_VALUES(PQntuples(result) == 1, "%d rows", PQntuples(result));
    return (struct reaped){
        .removed = strtoll(PQgetvalue(result, 0, COLUMN_REMOVED), NULL, 10),
        .refused = strtoll(PQgetvalue(result, 0, COLUMN_REFUSED), NULL, 10),
        .passed_at = PQgetvalue(result, 0, COLUMN_PASSED_AT),
        .passed_key = PQgetvalue(result, 0, COLUMN_PASSED_KEY),
        .refused_key = PQgetvalue(result, 0, COLUMN_REFUSED_KEY),
        .refused_sqlstate = PQgetvalue(result, 0, COLUMN_REFUSED_SQLSTATE),
        .refused_message = PQgetvalue(result, 0, COLUMN_REFUSED_MESSAGE),
    };
}

// ---- Its answer

static void become(struct buffer *buffer, const char *text)
{
    buffer_deinit(buffer);
    buffer_append_slice(buffer, slice_of_string(text));
}

static void note_refused(struct reap_pass *pass, const struct reaped *reaped)
{
    if (pass->refused == 0) {
        struct quoted key = quote_key(slice_of_string(reaped->refused_key));
        pass->first = (struct failure){0};
        failure_note(&pass->first, ERROR_REJECTED, "%s: %s", key.text, reaped->refused_message);
        snprintf(pass->first.sqlstate, sizeof pass->first.sqlstate, "%s", reaped->refused_sqlstate);
    }
    pass->refused += reaped->refused;
    become(&pass->passed_at, reaped->passed_at);
    become(&pass->passed_key, reaped->passed_key);
}

static enum reap_news conclude(struct reap_pass *pass)
{
    bool was_refused = pass->found > 0;
    pass->found = pass->refused;
    if (pass->refused == 0) {
        pass->reason = (struct failure){0};
        return was_refused ? REAP_NONE_IS_NOW : REAP_NO_NEWS;
    }
    bool is_news = ask_refusal_is_new(pass->reason.message, &pass->first);
    pass->reason = pass->first;
    return is_news ? REAP_REFUSED : REAP_NO_NEWS;
}

enum reap_news reap_pass_take(struct reap_pass *pass, const struct reaped *reaped, int rows_max,
                              int64_t now_boot_us)
{
    if (reaped->removed < 0) {
        return REAP_NO_NEWS;
    }
    if (reaped->refused > 0) {
        note_refused(pass, reaped);
    }
    bool is_end = reaped->removed + reaped->refused < rows_max;
    if (is_end && pass->again_boot_us == 0) {
        int64_t pause_us = PAUSE_PER_PASS * (now_boot_us - pass->began_boot_us);
        pass->again_boot_us = now_boot_us + (pause_us > PAUSE_MIN_US ? pause_us : PAUSE_MIN_US);
    }
    return is_end || pass->refused > pass->found ? conclude(pass) : REAP_NO_NEWS;
}
