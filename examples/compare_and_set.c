// Changes a value only where nobody else has changed it meanwhile, and tries again where somebody
// has: no update is lost, whichever nodes the writers are at.
//
//      cc compare_and_set.c $(pkg-config --cflags --libs pgnear) -o compare_and_set

#include <pgnear.h>
#include <stdio.h>

static pgnear_code add_one(pgnear *node, pgnear_bytes key, pgnear_error *error)
{
    for (;;) {
        pgnear_get_options fresh = PGNEAR_GET_OPTIONS_INIT;
        pgnear_write_options options = PGNEAR_WRITE_OPTIONS_INIT;
        pgnear_item item;
        fresh.fresh = true; // always with a version
        pgnear_code code = pgnear_get(node, key, &fresh, &item, error);
        if (code != PGNEAR_OK) {
            return code;
        }
        // A MessagePack integer below 128 is its own byte.
        unsigned char next =
            (unsigned char)((item.present ? *(const unsigned char *)item.value.at : 0) + 1);
        options.if_absent = !item.present;
        options.has_if_version = item.present;
        options.if_version = item.version;
        pgnear_bytes value = {&next, 1};
        code = pgnear_set(node, key, value, &options, NULL, error);
        if (code != PGNEAR_CONFLICT) {
            return code;
        }
    }
}

int main(void)
{
    pgnear *node;
    pgnear_error error;
    if (pgnear_open(NULL, NULL, &node, &error) != PGNEAR_OK) {
        fprintf(stderr, "%s\n", error.message);
        return 1;
    }
    for (int i = 0; i < 3; i++) {
        if (add_one(node, pgnear_text("example:number"), &error) != PGNEAR_OK) {
            fprintf(stderr, "%s\n", error.message);
            return 1;
        }
    }
    puts("done");
    pgnear_close(node);
    return 0;
}
