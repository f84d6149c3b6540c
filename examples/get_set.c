// Writes a value and reads it back.
//
//      cc get_set.c $(pkg-config --cflags --libs pgnear) -o get_set && ./get_set

#include <pgnear.h>
#include <stdio.h>

static int fail(const pgnear_error *error)
{
    fprintf(stderr, "%s: %s%s\n", error->name, error->message,
            error->retryable ? " (it may succeed later)" : "");
    return 1;
}

int main(void)
{
    pgnear *node;
    pgnear_error error;
    pgnear_item item;
    void *value;
    size_t value_len;
    char *json;

    if (pgnear_open(NULL, NULL, &node, &error) != PGNEAR_OK) {
        return fail(&error);
    }
    if (pgnear_from_json(pgnear_text("{\"text\": \"hello\", \"n\": [1, 2.50]}"), &value, &value_len,
                         &error) != PGNEAR_OK) {
        return fail(&error);
    }
    pgnear_write_options options = PGNEAR_WRITE_OPTIONS_INIT;
    options.has_ttl = true;
    options.ttl_ms = 60 * 60 * 1000;
    pgnear_bytes bytes = {value, value_len};
    if (pgnear_set(node, pgnear_text("example:greeting"), bytes, &options, NULL, &error) !=
            PGNEAR_OK ||
        pgnear_get(node, pgnear_text("example:greeting"), NULL, &item, &error) != PGNEAR_OK ||
        pgnear_to_json(item.value, false, &json, NULL, &error) != PGNEAR_OK) {
        return fail(&error);
    }
    puts(json);
    pgnear_free(json);
    pgnear_free(value);
    pgnear_close(node);
    return 0;
}
