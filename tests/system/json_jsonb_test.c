// JSON against the real JSONB: random documents, whole and damaged, are accepted exactly where
// PostgreSQL accepts them, mean the same to it after a round trip through MessagePack, and have the
// same canonical bytes when they come back from it. (Promise 6: lossless JSON.)

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "system/harness/json_generator.h"
#include "system/harness/pg.h"
#include "json/json.h"

enum { DOCUMENTS = 12000, SHOWN_BYTES = 2000 };

// Documents come as bytea, since damaged ones may not be text at all; null is refusal.
static const char READ_FUNCTION[] =
    "CREATE FUNCTION reading(document bytea) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN "
    "RETURN convert_from(document, 'UTF8')::jsonb; "
    "EXCEPTION WHEN OTHERS THEN RETURN NULL; END $$";

static const char COMPARE[] =
    "SELECT theirs IS NOT NULL, theirs = ours, theirs::text "
    "FROM (SELECT reading($1) AS theirs, reading($2) AS ours) AS both_readings";

// Where documents went: all three must have had their share, or the test has tested nothing.
struct tally {
    int accepted;
    int refused;
    int too_large;
};

// A document on its way through us.
struct passage {
    struct buffer document;
    struct buffer msgpack;
    struct buffer text; // printed from msgpack
    enum error error;
    struct failure failure;
};

static void clear(struct passage *passage)
{
    buffer_clear(&passage->document, SIZE_MAX);
    buffer_clear(&passage->msgpack, SIZE_MAX);
    buffer_clear(&passage->text, SIZE_MAX);
}

static void deinit(struct passage *passage)
{
    buffer_deinit(&passage->document);
    buffer_deinit(&passage->msgpack);
    buffer_deinit(&passage->text);
}

_Noreturn static void fail_on(const struct passage *passage, const char *what, const char *detail)
{
    struct slice document = buffer_slice(&passage->document);
    fprintf(stderr, "document (%zu bytes): ", document.len);
    fwrite(document.at, 1, document.len < SHOWN_BYTES ? document.len : SHOWN_BYTES, stderr);
    fprintf(stderr, "\nbytes:");
    for (size_t i = 0; i < document.len && i < SHOWN_BYTES; i++) {
        fprintf(stderr, " %02x", document.at[i]);
    }
    fprintf(stderr, "\n");
    scenario_fail("%s: %s", what, detail);
}

static void pass_through(struct passage *passage)
{
    struct json_limits limits = JSON_LIMITS_DEFAULT;
    passage->error = json_to_msgpack(buffer_slice(&passage->document), &limits, &passage->msgpack,
                                     &passage->failure);
    if (passage->error == ERROR_NONE &&
        json_from_msgpack(buffer_slice(&passage->msgpack), false, &passage->text,
                          &passage->failure) != ERROR_NONE) {
        fail_on(passage, "cannot be printed", passage->failure.message);
    }
}

// Asks PostgreSQL for its reading of the document and of our text.
static PGresult *compare(PGconn *conn, const struct passage *passage)
{
    static const char EMPTY[] = "";
    const char *values[] = {buffer_len(&passage->document) > 0
                                ? (const char *)buffer_slice(&passage->document).at
                                : EMPTY,
                            NULL};
    int lengths[] = {(int)buffer_len(&passage->document), (int)buffer_len(&passage->text)};
    static const int BINARY[] = {1, 1};
    if (passage->error == ERROR_NONE) {
        values[1] = (const char *)buffer_slice(&passage->text).at;
    }
    PGresult *result = PQexecPrepared(conn, "compare", 2, values, lengths, BINARY, 0);
    if (PQresultStatus(result) != PGRES_TUPLES_OK) {
        fail_on(passage, "the comparison failed", PQerrorMessage(conn));
    }
    return result;
}

// A value reads the same pending (from its MessagePack) as fetched (from jsonb's text).
static void check_fetched(const struct passage *passage, const char *jsonb_text)
{
    struct json_limits limits = JSON_LIMITS_DEFAULT;
    struct buffer fetched = {0};
    struct buffer pending = {0};
    struct failure failure;
    if (json_to_msgpack(slice_of_string(jsonb_text), &limits, &fetched, &failure) != ERROR_NONE ||
        json_canonicalize(buffer_slice(&passage->msgpack), &limits, &pending, &failure) !=
            ERROR_NONE) {
        fail_on(passage, "refused on its way back", failure.message);
    }
    if (!slice_equal(buffer_slice(&fetched), buffer_slice(&passage->msgpack)) ||
        !slice_equal(buffer_slice(&fetched), buffer_slice(&pending))) {
        fail_on(passage, "other bytes when fetched", jsonb_text);
    }
    buffer_deinit(&fetched);
    buffer_deinit(&pending);
}

static void check_verdict(const struct passage *passage, const PGresult *result,
                          struct tally *tally)
{
    bool is_accepted = strcmp(PQgetvalue(result, 0, 0), "t") == 0;
    switch (passage->error) {
    case ERROR_NONE:
        if (!is_accepted) {
            fail_on(passage, "accepted", "but refused by jsonb");
        }
        if (strcmp(PQgetvalue(result, 0, 1), "t") != 0) {
            fail_on(passage, "not the same to jsonb", PQgetvalue(result, 0, 2));
        }
        check_fetched(passage, PQgetvalue(result, 0, 2));
        tally->accepted++;
        break;
    case ERROR_INVALID_VALUE:
        if (is_accepted) {
            fail_on(passage, "refused, but accepted by jsonb", passage->failure.message);
        }
        tally->refused++;
        break;
    default: // limits of ours: nesting, and numbers long when printed
        assert_int_equal(passage->error, ERROR_TOO_LARGE);
        tally->too_large++;
    }
}

static void prepare(PGconn *conn)
{
    static const Oid TYPES[] = {17, 17}; // bytea
    PGresult *result = PQexec(conn, READ_FUNCTION);
    assert_int_equal(PQresultStatus(result), PGRES_COMMAND_OK);
    PQclear(result);
    result = PQprepare(conn, "compare", COMPARE, 2, TYPES);
    assert_int_equal(PQresultStatus(result), PGRES_COMMAND_OK);
    PQclear(result);
}

static void jsonb_agrees_on_random_documents(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    PGconn *conn = pg_connect(pg);
    prepare(conn);
    struct random random = random_of(random_seed(), 0);
    int documents = test_rounds(DOCUMENTS);
    struct passage passage = {0};
    struct tally tally = {0};
    for (int i = 0; i < documents; i++) {
        clear(&passage);
        json_generate(&random, &passage.document);
        if (i % 2 == 1) {
            json_damage(&random, &passage.document);
        }
        pass_through(&passage);
        PGresult *result = compare(conn, &passage);
        check_verdict(&passage, result, &tally);
        PQclear(result);
    }
    print_message("%d accepted, %d refused, %d too large\n", tally.accepted, tally.refused,
                  tally.too_large);
    assert_true(tally.accepted > documents / 4);
    assert_true(tally.refused > documents / 8);
    assert_in_range(tally.too_large, 1, documents / 20);
    deinit(&passage);
    PQfinish(conn);
}

int main(void)
{
    const struct CMUnitTest tests[] = {SCENARIO(jsonb_agrees_on_random_documents)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
