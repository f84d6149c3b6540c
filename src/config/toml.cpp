// See toml.h. No exception leaves this file.
#include "config/toml.h"

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <toml++/toml.h>
#include <unistd.h>
#include <vector>

namespace
{

using visit_function = enum error (*)(void *, const struct toml_value *);
using secret_function = bool (*)(const char *);

struct visitor {
    visit_function visit;
    void *context;
};

toml_value describe(const std::string &key, const toml::node &node, std::vector<int64_t> &integers)
{
    toml_value value = {};
    value.key = key.c_str();
    value.line = static_cast<int>(node.source().begin.line);
    value.type = TOML_OTHER;
    if (const auto *string = node.as_string()) {
        value.type = TOML_STRING;
        value.string = slice_of((*string)->data(), (*string)->size());
    } else if (const auto *integer = node.as_integer()) {
        value.type = TOML_INTEGER;
        value.integer = integer->get();
    } else if (const auto *boolean = node.as_boolean()) {
        value.type = TOML_BOOLEAN;
        value.boolean = boolean->get();
    } else if (node.is_table()) {
        value.type = TOML_TABLE;
    } else if (const auto *array = node.as_array()) {
        bool all_integers = true;
        for (const toml::node &element : *array) {
            const auto *number = element.as_integer();
            all_integers = all_integers && number != nullptr;
            integers.push_back(number != nullptr ? number->get() : 0);
        }
        if (all_integers) {
            value.type = TOML_INTEGERS;
            value.integers = integers.data();
            value.integers_count = integers.size();
        }
    }
    return value;
}

bool is_made_of(std::string_view name, std::string_view marks)
{
    return !name.empty() && std::all_of(name.begin(), name.end(), [marks](unsigned char byte) {
        return std::isalnum(byte) != 0 || marks.find(static_cast<char>(byte)) != marks.npos;
    });
}

// As it is told to people: what is no bare key in quotes, so that "a.b" is not taken for a and b,
// and on one line.
std::string spelled(std::string_view name)
{
    if (is_made_of(name, "_-")) {
        return std::string(name);
    }
    std::string text = "\"";
    for (char byte : name) {
        text += static_cast<unsigned char>(byte) < 0x20 ? '?' : byte;
    }
    return text + "\"";
}

// The nesting of a configuration is two; the TOML library itself bounds that of its input.
enum error visit_table(const visitor &to, const std::string &prefix, const toml::table &table)
{
    for (const auto &[name, node] : table) {
        std::string key = prefix + spelled(name.str());
        std::vector<int64_t> integers;
        toml_value value = describe(key, node, integers);
        enum error error = to.visit(to.context, &value);
        if (error == ERROR_NONE && node.is_table()) {
            error = visit_table(to, key + ".", *node.as_table());
        }
        if (error != ERROR_NONE) {
            return error;
        }
    }
    return ERROR_NONE;
}

// A pipe is read as well, once. Larger ones are none of ours.
std::string read_text(const char *path)
{
    constexpr std::size_t bytes_max = std::size_t{1} << 20;
    std::ifstream file(path, std::ios::binary);
    std::string text(bytes_max + 1, '\0');
    file.read(text.data(), static_cast<std::streamsize>(text.size()));
    if (file.bad() || !file.eof()) {
        throw std::runtime_error(file.bad() ? "cannot be read" : "is larger than 1 MiB");
    }
    text.resize(static_cast<std::size_t>(file.gcount()));
    return text;
}

// The dotted key before the `=` of that line, under the last header above it; "" where there is
// none.
std::string key_at(const std::string &source, unsigned line)
{
    static const char BLANK[] = " \t\r";
    std::istringstream file(source);
    std::string text, section;
    for (unsigned at = 1; at <= line && std::getline(file, text); at++) {
        std::size_t begin = text.find_first_not_of(BLANK);
        if (begin != std::string::npos && text[begin] == '[' && at < line) {
            section = text.substr(begin + 1, text.find(']', begin) - begin - 1) + ".";
        }
    }
    std::size_t begin = text.find_first_not_of(BLANK);
    std::size_t equals = text.find('=');
    if (!file || begin == std::string::npos || equals == std::string::npos || begin >= equals) {
        return "";
    }
    std::string key = text.substr(begin, text.find_last_not_of(BLANK, equals - 1) + 1 - begin);
    return is_made_of(key, "_-.") ? section + key : "";
}

enum error tell_parse_error(const char *path, const std::string &source,
                            const toml::parse_error &wrong, secret_function is_secret,
                            struct failure *failure)
{
    unsigned line = wrong.source().begin.line;
    std::string what(wrong.description());
    if (line == 0) {
        return failure_set(failure, ERROR_CONFIG, "%s: %s", path, what.c_str());
    }
    std::string key = key_at(source, line);
    if (key.empty()) {
        return failure_set(failure, ERROR_CONFIG, "%s:%u: %s", path, line, what.c_str());
    }
    // "Error while parsing value: ..."
    std::size_t reason = what.rfind("Error while", 0) == 0 ? what.find(": ") : std::string::npos;
    what = reason == std::string::npos ? what : what.substr(reason + 2);
    bool hides = is_secret(key.c_str());
    bool lacks_quotes = hides || what.find("value type") != std::string::npos ||
                        what.find("value-terminator") != std::string::npos;
    return failure_set(failure, ERROR_CONFIG, "%s:%u: %s: %s%s", path, line, key.c_str(),
                       hides ? "is not TOML" : what.c_str(),
                       lacks_quotes ? " (a text stands in double quotes)" : "");
}

} // namespace

enum error toml_visit(const char *path, visit_function visit, secret_function is_secret,
                      void *context, struct failure *failure)
{
    std::string source;
    try {
        // The library reads a directory as an empty file.
        // Asked here, since the library says only that it could not.
        if (access(path, R_OK) != 0) {
            return failure_set(failure, ERROR_CONFIG, "%s: %s", path, strerrordesc_np(errno));
        }
        if (std::filesystem::is_directory(path)) {
            return failure_set(failure, ERROR_CONFIG, "%s: is a directory", path);
        }
        source = read_text(path);
        toml::table table = toml::parse(source, std::string(path));
        return visit_table(visitor{visit, context}, "", table);
    } catch (const toml::parse_error &wrong) {
        return tell_parse_error(path, source, wrong, is_secret, failure);
    } catch (const std::exception &wrong) {
        return failure_set(failure, ERROR_CONFIG, "%s: %s", path, wrong.what());
    }
}
