// Recursive, as simdjson's own examples are; the project's reader is not.
#include "json/visit.h"

#include <string_view>
#include <utility>

#define SIMDJSON_EXCEPTIONS 0
#include <simdjson.h>

namespace
{

namespace ondemand = simdjson::ondemand;

// What was handed out, so that no work can be left out.
volatile std::size_t token_bytes;

bool visit(ondemand::value value);

bool visit_array(ondemand::array array)
{
    for (auto element : array) {
        ondemand::value value;
        if (element.get(value) || !visit(value)) {
            return false;
        }
    }
    return true;
}

bool visit_object(ondemand::object object)
{
    for (simdjson::simdjson_result<ondemand::field> member : object) {
        ondemand::field field;
        std::string_view key;
        if (std::move(member).get(field) || field.unescaped_key().get(key)) {
            return false;
        }
        token_bytes = token_bytes + key.size();
        if (!visit(field.value())) {
            return false;
        }
    }
    return true;
}

bool visit(ondemand::value value)
{
    ondemand::json_type type;
    ondemand::array array;
    ondemand::object object;
    std::string_view text;
    bool truth;
    if (value.type().get(type)) {
        return false;
    }
    switch (type) {
    case ondemand::json_type::array:
        return !value.get_array().get(array) && visit_array(array);
    case ondemand::json_type::object:
        return !value.get_object().get(object) && visit_object(object);
    case ondemand::json_type::string:
        if (value.get_string().get(text)) {
            return false;
        }
        token_bytes = token_bytes + text.size();
        return true;
    case ondemand::json_type::number:
        token_bytes = token_bytes + value.raw_json_token().size();
        return true;
    case ondemand::json_type::boolean:
        return !value.get_bool().get(truth);
    default:
        return !value.is_null().get(truth) && truth;
    }
}

} // namespace

bool json_visit(const char *text, size_t len, size_t capacity)
{
    static ondemand::parser parser;
    ondemand::document document;
    ondemand::value root;
    simdjson::padded_string_view view(text, len, capacity);
    return !parser.iterate(view).get(document) && !document.get_value().get(root) && visit(root) &&
           document.current_location().error() == simdjson::OUT_OF_BOUNDS;
}
