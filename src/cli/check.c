// check: what the node says of itself, or, with --config, what can be seen without one, which is
// another program's to look for.

#include "cli/check.h"

#include <stdio.h>

#include "cli/output.h"

enum exit_status print_check_item(const struct invocation *invocation,
                                  const pgnear_check_item *item)
{
    if (!option_is_given(invocation, OPTION_JSON) && !option_is_given(invocation, OPTION_PRETTY)) {
        printf("%-4s %-20.*s %.*s\n", item->ok ? "ok" : "FAIL", (int)item->item.len,
               (const char *)item->item.at, (int)item->message.len, (const char *)item->message.at);
        return item->ok ? EXIT_DONE : EXIT_REFUSED;
    }
    struct document document;
    document_init(&document);
    msgpack_pack_map(&document.packer, 3);
    mpack_pack_string(&document.packer, "item");
    document_pack_bytes(&document, item->item);
    mpack_pack_string(&document.packer, "ok");
    item->ok ? msgpack_pack_true(&document.packer) : msgpack_pack_false(&document.packer);
    mpack_pack_string(&document.packer, "message");
    document_pack_bytes(&document, item->message);
    enum exit_status printed = document_print(&document, invocation);
    return item->ok ? printed : EXIT_REFUSED;
}

static enum exit_status check_node(struct invocation *invocation)
{
    enum exit_status status;
    if (!command_connect(invocation, &status)) {
        return status;
    }
    const pgnear_check_item *items;
    size_t count;
    pgnear_error error;
    if (pgnear_check(invocation->node, NULL, &items, &count, &error) != PGNEAR_OK) {
        return complain_of_call(&error);
    }
    status = EXIT_DONE;
    for (size_t i = 0; i < count; i++) {
        enum exit_status one = print_check_item(invocation, &items[i]);
        status = one != EXIT_DONE ? one : status;
    }
    return status;
}

enum exit_status run_check(struct invocation *invocation)
{
    if (!option_is_given(invocation, OPTION_CONFIG)) {
        return check_node(invocation);
    }
    return hand_over(invocation);
}
