// Names and ages of prepared statements; see the header for what can go wrong with them.
#include "pg/prepared.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"

static const int64_t PREPARED_AGE_US = 10 * CLOCK_US_PER_S;

// FNV-1a.
static uint64_t hash_bytes(uint64_t hash, const void *bytes, size_t len)
{
    const uint8_t *at = bytes;
    for (size_t i = 0; i < len; i++) {
        hash = (hash ^ at[i]) * UINT64_C(0x100000001b3);
    }
    return hash;
}

void prepared_name(const char *sql, const Oid *types, size_t types_count,
                   char name[PREPARED_NAME_BYTES])
{
    uint64_t hash = hash_bytes(UINT64_C(0xcbf29ce484222325), sql, strlen(sql));
    hash = hash_bytes(hash, types, types_count * sizeof *types);
    snprintf(name, PREPARED_NAME_BYTES, "pgnear_%016" PRIx64, hash);
}

static struct prepared_statement *find(struct prepared *prepared, const char *name)
{
    for (size_t i = 0; i < prepared->count; i++) {
        if (strcmp(prepared->statements[i].name, name) == 0) {
            return &prepared->statements[i];
        }
    }
    return NULL;
}

// An unused one, or the oldest, which still holds what the server is to forget.
static struct prepared_statement *find_room(struct prepared *prepared)
{
    struct prepared_statement *oldest = &prepared->statements[0];
    if (prepared->count < PREPARED_STATEMENTS_MAX) {
        return &prepared->statements[prepared->count++];
    }
    for (size_t i = 1; i < prepared->count; i++) {
        struct prepared_statement *statement = &prepared->statements[i];
        oldest = statement->since_boot_us < oldest->since_boot_us ? statement : oldest;
    }
    return oldest;
}

// Nothing where the place holds no statement that the server keeps.
static bool forget(PGconn *pg, const struct prepared_statement *statement, unsigned *preludes)
{
    char sql[PREPARED_NAME_BYTES + sizeof "DEALLOCATE "];
    if (statement->since_boot_us == 0) {
        return true;
    }
    snprintf(sql, sizeof sql, "DEALLOCATE %s", statement->name);
    (*preludes)++;
    return PQsendQueryParams(pg, sql, 0, NULL, NULL, NULL, NULL, 0) == 1;
}

bool prepared_send(struct prepared *prepared, PGconn *pg, const struct query *query,
                   int64_t now_boot_us, unsigned *preludes)
{
    CHECK(strlen(query->name) < PREPARED_NAME_BYTES);
    struct prepared_statement *statement = find(prepared, query->name);
    bool is_fresh = statement != NULL && statement->since_boot_us != 0 &&
                    now_boot_us - statement->since_boot_us < PREPARED_AGE_US;
    bool sent = true;
    *preludes = 0;
    statement = statement != NULL ? statement : find_room(prepared);
    prepared->last = (size_t)(statement - prepared->statements);
    if (!is_fresh) {
        sent = forget(pg, statement, preludes) &&
               PQsendPrepare(pg, query->name, query->sql, query->params_count, query->types) == 1;
        (*preludes)++;
        statement->since_boot_us = now_boot_us;
        strcpy(statement->name, query->name);
    }
    return sent && PQsendQueryPrepared(pg, query->name, query->params_count, query->values,
                                       query->lengths, query->formats, query->result_format) == 1;
}

void prepared_undo(struct prepared *prepared)
{
    CHECK(prepared->last < prepared->count);
    prepared->statements[prepared->last].since_boot_us = 0;
}

bool prepared_is_refusal(const char *sqlstate)
{
    static const char *const REFUSALS[] = {
        "26000", // invalid_sql_statement_name: another server connection, or DISCARD ALL
        "42P05", // duplicate_prepared_statement
        "0A000", // feature_not_supported: "cached plan must not change result type"
    };
    for (size_t i = 0; i < sizeof REFUSALS / sizeof REFUSALS[0]; i++) {
        if (strcmp(sqlstate, REFUSALS[i]) == 0) {
            return true;
        }
    }
    return false;
}
