// See toml.h. No exception leaves this file.
#include "config/toml.h"

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <string>
#include <toml++/toml.h>
#include <unistd.h>
#include <vector>

namespace
{

using visit_function = enum error (*)(void *, const struct toml_value *);

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

// The nesting of a configuration is two; the TOML library itself bounds that of its input.
enum error visit_table(const visitor &to, const std::string &prefix, const toml::table &table)
{
    for (const auto &[name, node] : table) {
        std::string key = prefix + std::string(name.str());
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

} // namespace

enum error toml_visit(const char *path, visit_function visit, void *context,
                      struct failure *failure)
{
    try {
        // The library reads a directory as an empty file.
        // Asked here, since the library says only that it could not.
        if (access(path, R_OK) != 0) {
            return failure_set(failure, ERROR_CONFIG, "%s: %s", path, strerrordesc_np(errno));
        }
        if (std::filesystem::is_directory(path)) {
            return failure_set(failure, ERROR_CONFIG, "%s: is a directory", path);
        }
        toml::table table = toml::parse_file(path);
        return visit_table(visitor{visit, context}, "", table);
    } catch (const toml::parse_error &wrong) {
        unsigned line = wrong.source().begin.line;
        std::string what(wrong.description());
        if (line == 0) {
            return failure_set(failure, ERROR_CONFIG, "%s: %s", path, what.c_str());
        }
        return failure_set(failure, ERROR_CONFIG, "%s:%u: %s", path, line, what.c_str());
    } catch (const std::exception &wrong) {
        return failure_set(failure, ERROR_CONFIG, "%s: %s", path, wrong.what());
    }
}
