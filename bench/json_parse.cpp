// JSON parsers side by side, for docs/decisions/0002-json-library.md: how long each takes to hand
// out every token of a text, strings unescaped and numbers as they are spelled where it can, and
// what it lets through that jsonb refuses. The last row is pgnear's own json_to_msgpack, which does
// the whole work: checks, canonical numbers, sorted keys, MessagePack.
//
//      c++ -std=gnu++17 -O2 -Ibench $(pkg-config --cflags simdjson) -o json_parse
//          bench/json_parse.cpp bench/json/visit.cpp
//          -Lbuild/release/lib -lpgnear_json -lpgnear_base -lsimdjson -lyajl -ljansson
//
// simdjson's flags have to be those of the library: its parser has another shape without them.
//
// Needs libyajl-dev, rapidjson-dev, libjansson-dev and libsimdjson-dev.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include <jansson.h>
#define RAPIDJSON_SSE2
#include <rapidjson/reader.h>
#define SIMDJSON_EXCEPTIONS 0
#include <simdjson.h>
#include <yajl/yajl_parse.h>

#include "json/visit.h"

// The C side, whose headers are C17.
extern "C" {
struct slice {
    const std::uint8_t *at;
    std::size_t len;
};
struct buffer {
    std::uint8_t *bytes;
    std::size_t start, end, capacity;
};
struct json_limits {
    std::size_t value_bytes_max;
};
struct failure;
int json_to_msgpack(slice text, const json_limits *limits, buffer *out, failure *failure);
}

namespace
{

std::size_t token_bytes; // what was handed out, so that no work can be left out

int yajl_bytes(void *, const char *, std::size_t len)
{
    token_bytes += len;
    return 1;
}

int yajl_text(void *, const unsigned char *, std::size_t len)
{
    token_bytes += len;
    return 1;
}

int yajl_bool(void *, int)
{
    return 1;
}

int yajl_token(void *)
{
    return 1;
}

bool parse_yajl(const std::string &text)
{
    static yajl_callbacks callbacks = {yajl_token, yajl_bool,  nullptr,    nullptr,
                                       yajl_bytes, yajl_text,  yajl_token, yajl_text,
                                       yajl_token, yajl_token, yajl_token};
    yajl_handle handle = yajl_alloc(&callbacks, nullptr, nullptr);
    auto bytes = reinterpret_cast<const unsigned char *>(text.data());
    bool ok = yajl_parse(handle, bytes, text.size()) == yajl_status_ok &&
              yajl_complete_parse(handle) == yajl_status_ok;
    yajl_free(handle);
    return ok;
}

struct rapid_events : rapidjson::BaseReaderHandler<rapidjson::UTF8<>, rapid_events> {
    bool RawNumber(const char *, rapidjson::SizeType len, bool)
    {
        token_bytes += len;
        return true;
    }
    bool String(const char *, rapidjson::SizeType len, bool)
    {
        token_bytes += len;
        return true;
    }
};

bool parse_rapidjson(const std::string &text)
{
    constexpr unsigned flags = rapidjson::kParseInsituFlag | rapidjson::kParseIterativeFlag |
                               rapidjson::kParseNumbersAsStringsFlag |
                               rapidjson::kParseValidateEncodingFlag;
    static std::string copy;
    copy = text;
    rapidjson::InsituStringStream stream(copy.data());
    rapidjson::Reader reader;
    rapid_events events;
    reader.Parse<flags>(stream, events);
    return !reader.HasParseError() && stream.Tell() == text.size();
}

bool parse_jansson(const std::string &text)
{
    json_t *tree = json_loadb(text.data(), text.size(), JSON_DECODE_ANY, nullptr);
    json_decref(tree);
    return tree != nullptr;
}

bool parse_simdjson_dom(const std::string &text)
{
    static simdjson::dom::parser parser;
    simdjson::dom::element element;
    return parser.parse(text).get(element) == simdjson::SUCCESS;
}

// In an array, so that a text may be any value, and nothing may follow it.
bool parse_simdjson_ondemand(const std::string &text)
{
    static std::string padded;
    padded = "[" + text + "]";
    padded.append(simdjson::SIMDJSON_PADDING, ' ');
    return json_visit(padded.data(), text.size() + 2, padded.size());
}

bool parse_pgnear(const std::string &text)
{
    static buffer out;
    out.start = out.end = 0;
    json_limits limits = {64 << 20};
    slice bytes = {reinterpret_cast<const std::uint8_t *>(text.data()), text.size()};
    return json_to_msgpack(bytes, &limits, &out, nullptr) == 0;
}

struct candidate {
    const char *name;
    bool (*parse)(const std::string &text);
};

constexpr candidate candidates[] = {
    {"jansson", parse_jansson},
    {"YAJL", parse_yajl},
    {"RapidJSON SAX", parse_rapidjson},
    {"simdjson DOM", parse_simdjson_dom},
    {"simdjson on-demand", parse_simdjson_ondemand},
    {"json_to_msgpack", parse_pgnear},
};

// 64 KiB of records as jsonb prints them.
std::string make_records()
{
    std::string text = "[";
    for (int i = 0; text.size() < std::size_t{64} * 1024; i++) {
        char record[320];
        std::snprintf(record, sizeof record,
                      "%s{\"id\": %d, \"big\": %d, \"name\": \"user number %d\", "
                      "\"tags\": [\"alpha\", \"beta\\n\", \"gr\xc3\xbc\xc3\x9f\"], "
                      "\"email\": \"u%d@example.com\", \"score\": %d.%02d, \"active\": %s}",
                      i > 0 ? ", " : "", i * 977, i * 1234567, i, i, i % 100, i % 97,
                      i % 2 ? "true" : "false");
        text += record;
    }
    return text + "]";
}

double microseconds_per_kib(const candidate &candidate, const std::string &text)
{
    constexpr int runs = 20;
    auto begin = std::chrono::steady_clock::now();
    for (int i = 0; i < runs; i++) {
        if (!candidate.parse(text)) {
            std::printf("%s refuses the text\n", candidate.name);
        }
    }
    std::chrono::duration<double, std::micro> taken = std::chrono::steady_clock::now() - begin;
    return taken.count() / runs / (static_cast<double>(text.size()) / 1024);
}

// The candidates take turns, so that a busy moment of the machine hits them all.
void print_times(const std::string &text)
{
    constexpr int rounds = 31;
    std::vector<double> times[std::size(candidates)];
    for (int round = 0; round < rounds; round++) {
        for (std::size_t i = 0; i < std::size(candidates); i++) {
            times[i].push_back(microseconds_per_kib(candidates[i], text));
        }
    }
    for (std::size_t i = 0; i < std::size(candidates); i++) {
        std::sort(times[i].begin(), times[i].end());
        std::printf("%-20s median %6.2f us/KiB, best %6.2f\n", candidates[i].name,
                    times[i][rounds / 2], times[i][0]);
    }
}

// The text with what is not ASCII spelled out.
std::string printable(const std::string &text)
{
    std::string result;
    for (char each : text) {
        char spelled[8];
        auto byte = static_cast<unsigned char>(each);
        std::snprintf(spelled, sizeof spelled, byte < ' ' || byte > '~' ? "<%02x>" : "%c", byte);
        result += spelled;
    }
    return result;
}

// What jsonb refuses, or (the last two) stores to the last digit.
void print_verdicts()
{
    using namespace std::string_literals;
    const std::string refused[] = {"\"\\u0000\""s,
                                   "\"\\ud800\""s,
                                   "\"\\udc00\""s,
                                   "\"\\ud800\\u0041\""s,
                                   "\"\xc0\x80\""s,
                                   "\"\xed\xa0\x80\""s,
                                   "\"\xf4\x90\x80\x80\""s,
                                   "\"a\tb\""s,
                                   "[1\f]"s,
                                   "[01]"s,
                                   "nullx"s,
                                   "[]\0"s,
                                   "1 2"s,
                                   "1e131072"s};
    const std::string accepted[] = {"12345678901234567890123"s, "1e400"s};
    for (const candidate &candidate : candidates) {
        std::printf("%-20s lets through:", candidate.name);
        for (const std::string &text : refused) {
            if (candidate.parse(text)) {
                std::printf(" %s", printable(text).c_str());
            }
        }
        for (const std::string &text : accepted) {
            if (!candidate.parse(text)) {
                std::printf("; refuses %s", text.c_str());
            }
        }
        std::printf("\n");
    }
}

} // namespace

int main()
{
    print_verdicts();
    std::string records = make_records();
    print_times(records);
    std::printf("simdjson runs as %s; %zu bytes of tokens\n",
                simdjson::get_active_implementation()->name().c_str(), token_bytes);
    return 0;
}
