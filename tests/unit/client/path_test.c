// Paths into a value.

#include <pgnear.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char VALUE[] = "{\"profile\":{\"name\":\"Ada\",\"tags\":[\"a\",[1,2,3],{\"x\":null}],"
                            "\"a.b\":{\"it's \\\"q\\\" \\\\\":5},\"\":6},\"n\":12.5}";

static const struct {
    const char *path;
    const char *json; // NULL: it leads nowhere
} WAYS[] = {
    {"$.profile.name", "\"Ada\""},
    {"$.n", "12.5"},
    {"$[\"n\"]", "12.5"},
    {"$['profile'].tags[0]", "\"a\""},
    {"$.profile.tags[1][2]", "3"},
    {"$.profile.tags[-1].x", "null"},
    {"$.profile.tags[-3]", "\"a\""},
    {"$.profile[\"a.b\"]['it\\'s \"q\" \\\\']", "5"},
    {"$.profile[\"a.b\"][\"it's \\\"q\\\" \\\\\"]", "5"},
    {"$.profile[\"\"]", "6"},
    {"$.profile.tags[3]", NULL},
    {"$.profile.tags[-4]", NULL},
    {"$.profile.tags[9999999999]", NULL},
    {"$.profile.tags.name", NULL},
    {"$.profile[0]", NULL},
    {"$.profile.name.x", NULL},
    {"$.nothing.at.all[1]", NULL},
};

static void *packed(const char *json, size_t *len)
{
    void *bytes;
    assert_int_equal(pgnear_from_json(pgnear_text(json), &bytes, len, NULL), PGNEAR_OK);
    return bytes;
}

static void leads_to_the_part(void **state)
{
    (void)state;
    size_t len;
    void *bytes = packed(VALUE, &len);
    for (size_t i = 0; i < sizeof WAYS / sizeof WAYS[0]; i++) {
        pgnear_bytes part;
        pgnear_error error;
        assert_int_equal(pgnear_path((pgnear_bytes){bytes, len}, WAYS[i].path, &part, &error),
                         PGNEAR_OK);
        if (WAYS[i].json == NULL) {
            assert_int_equal(part.len, 0);
            continue;
        }
        char *json;
        assert_int_equal(pgnear_to_json(part, false, &json, NULL, &error), PGNEAR_OK);
        assert_string_equal(json, WAYS[i].json);
        pgnear_free(json);
    }
    pgnear_bytes whole;
    assert_int_equal(pgnear_path((pgnear_bytes){bytes, len}, "$", &whole, NULL), PGNEAR_OK);
    assert_int_equal(whole.len, len);
    pgnear_free(bytes);
}

static void a_wrong_path_is_told(void **state)
{
    (void)state;
    static const char *const WRONG[] = {"",
                                        "n",
                                        "$n",
                                        "$.",
                                        "$..n",
                                        "$[",
                                        "$[]",
                                        "$[1",
                                        "$[x]",
                                        "$[-]",
                                        "$['a]",
                                        "$['a'",
                                        "$['a'}",
                                        "$[1]x",
                                        "$.a[\"",
                                        "$[\"",
                                        "$['\\",
                                        "$[12345678901]",
                                        "$.no.such[way"};
    char longer[1000] = "$.";
    memset(longer + 2, 'x', sizeof longer - 3);
    size_t len;
    void *bytes = packed(VALUE, &len);
    for (size_t i = 0; i < sizeof WRONG / sizeof WRONG[0]; i++) {
        assert_int_equal(pgnear_path((pgnear_bytes){bytes, len}, WRONG[i], NULL, NULL),
                         PGNEAR_BAD_REQUEST);
    }
    assert_int_equal(pgnear_path((pgnear_bytes){bytes, len}, longer, NULL, NULL),
                     PGNEAR_BAD_REQUEST);
    pgnear_free(bytes);
}

// Every cut of the value in memory of its own, so that a read beyond it is noticed by a sanitizer.
static void what_is_cut_off_is_refused(void **state)
{
    (void)state;
    size_t len;
    void *bytes = packed(VALUE, &len);
    for (size_t cut = 0; cut < len; cut++) {
        void *part = malloc(cut + 1);
        memcpy(part, bytes, cut);
        for (size_t i = 0; i < sizeof WAYS / sizeof WAYS[0]; i++) {
            pgnear_bytes found;
            pgnear_code code = pgnear_path((pgnear_bytes){part, cut}, WAYS[i].path, &found, NULL);
            assert_true(code == PGNEAR_OK || code == PGNEAR_INVALID_VALUE);
            assert_true(cut > 0 || code == PGNEAR_INVALID_VALUE);
        }
        free(part);
    }
    pgnear_free(bytes);
}

// Whatever the path asks of them.
static void what_is_not_messagepack_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *value;
        const char *path;
    } CASES[] = {
        {"\xc1", "$"},
        {"\xc1", "$.b"},
        {"\xc1", "$[0]"},
        {"\x81\xa1\x62\xc1", "$.b"},
        {"\x81\xa1\x62\xc1", "$.b.c"},
        {"\x81\xa1\x62\xc1", "$.b[-1]"},
        {"\x81\xa1\x61\xc1", "$.b"},
        {"\x81\x01\x01", "$.b"},
        {"\x92\xc1\x01", "$[1]"},
        {"\xa5\x61\x62\x63", "$.b"},
        {"", "$.b"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        pgnear_bytes value = {.at = CASES[i].value, .len = strlen(CASES[i].value)};
        pgnear_error error;
        assert_int_equal(pgnear_path(value, CASES[i].path, NULL, &error), PGNEAR_INVALID_VALUE);
        assert_non_null(strstr(error.message, "not MessagePack"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(leads_to_the_part),
        cmocka_unit_test(a_wrong_path_is_told),
        cmocka_unit_test(what_is_cut_off_is_refused),
        cmocka_unit_test(what_is_not_messagepack_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
