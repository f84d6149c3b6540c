#include "simulation/world/binding.h"

#include <string.h>

#include "cache/writer_state.h"
#include "pg/handshake_state.h"
#include "simulation/world/clients.h"

bool binding_is_to(const struct node *node, const char *system_identifier)
{
    const char *bound = node->writer->outbox.identity.binding.system_identifier;
    return bound[0] == '\0' || strcmp(bound, system_identifier) == 0;
}

bool binding_is_on_its_way(const struct node *node)
{
    return node->worker->handshake->waiting == WAITING_BOUND;
}
