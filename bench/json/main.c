// bench_json to-msgpack|to-json|parse SECONDS: how often a second one document of about a KiB (a
// profile as applications keep them) goes through.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/check.h"
#include "load/hdr.h"
#include "json/json.h"
#include "json/visit.h"

enum { PADDING = 64, RUN = 16 };

static const char DOCUMENT[] =
    "{\"id\": 914835, \"name\": \"Ada Lovelace\", \"email\": \"ada.lovelace@example.org\","
    " \"active\": true, \"balance\": 10423.55, \"ratio\": 0.0625, \"referrer\": null,"
    " \"created\": \"2025-11-01T16:35:00.123456Z\", \"tags\": [\"admin\", \"beta\", \"eu-west\"],"
    " \"address\": {\"street\": \"12 St James's Square\", \"city\": \"London\", \"zip\": \"SW1Y\","
    " \"location\": [51.5074, -0.1278]}, \"preferences\": {\"theme\": \"dark\", \"language\":"
    " \"en-GB\", \"mail\": {\"news\": false, \"alerts\": true, \"digest\": \"weekly\"}},"
    " \"devices\": [{\"id\": 1, \"os\": \"linux\", \"seen\": 1761924900, \"note\": \"caf\\u00e9\"},"
    " {\"id\": 2, \"os\": \"android\", \"seen\": 1761921300, \"note\": \"tab\\tand "
    "\\\"quotes\\\"\"},"
    " {\"id\": 3, \"os\": \"macos\", \"seen\": 1761917700, \"note\": \"\"}],"
    " \"counters\": [0, 1, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 377, 610, 987],"
    " \"bio\": \"Wrote the first program for a machine that was never built, and saw further than"
    " its inventor what it might do: weave algebraic patterns as the loom weaves flowers.\"}";

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

static void convert(const char *mode, const char *padded, struct slice msgpack, struct buffer *out)
{
    const struct json_limits limits = JSON_LIMITS_DEFAULT;
    struct slice text = slice_of(padded, sizeof DOCUMENT - 1);
    struct failure failure;
    buffer_clear(out, SIZE_MAX);
    if (strcmp(mode, "parse") == 0) {
        CHECK(json_visit(padded, text.len, text.len + PADDING));
    } else if (strcmp(mode, "to-msgpack") == 0) {
        CHECK(json_to_msgpack(text, &limits, out, &failure) == ERROR_NONE);
    } else {
        CHECK(json_from_msgpack(msgpack, false, out, &failure) == ERROR_NONE);
    }
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: bench_json to-msgpack|to-json|parse SECONDS\n");
        return 2;
    }
    static char padded[sizeof DOCUMENT + PADDING];
    static struct hdr latency;
    struct buffer msgpack = {0};
    struct buffer out = {0};
    struct failure failure;
    memcpy(padded, DOCUMENT, sizeof DOCUMENT - 1);
    CHECK(json_to_msgpack(slice_of_string(DOCUMENT), &JSON_LIMITS_DEFAULT, &msgpack, &failure) ==
          ERROR_NONE);
    uint64_t began_ns = now_ns();
    uint64_t ends_ns = began_ns + (uint64_t)(strtod(argv[2], NULL) * 1e9);
    uint64_t at_ns = began_ns;
    uint64_t count = 0;
    while (at_ns < ends_ns) {
        for (int i = 0; i < RUN; i++) {
            convert(argv[1], padded, buffer_slice(&msgpack), &out);
        }
        count += RUN;
        uint64_t after_ns = now_ns();
        hdr_record(&latency, (after_ns - at_ns) / RUN);
        at_ns = after_ns;
    }
    printf("{\"operations\": %llu, \"per_second\": %.1f, \"hits\": 0, \"misses\": 0, "
           "\"document_bytes\": %zu, \"latency_ns\": ",
           (unsigned long long)count, (double)count * 1e9 / (double)(at_ns - began_ns),
           sizeof DOCUMENT - 1);
    hdr_print(&latency, stdout);
    printf("}\n");
    return 0;
}
