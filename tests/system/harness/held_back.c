#include "system/harness/held_back.h"

#include "system/harness/direct.h"

const pgnear_bytes HELD_BACK_BAD_VALUE = {(const uint8_t *)"\xa1\0", 2};
const pgnear_bytes HELD_BACK_FIVE = {(const uint8_t *)"\x05", 1};

struct held_back held_back_start(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct faults *faults = faults_create(scenario, "node");
    struct node *node =
        node_start(scenario, pg, &(struct node_options){.environment = faults->environment});
    pgnear *handle = direct_open(node);
    direct_set_int(handle, "k", 1, PGNEAR_ACK_POSTGRES);
    direct_await_hit(node, "k");
    pgnear_close(handle);
    pg_exec(pg, "ALTER TABLE kv_store DISABLE TRIGGER ALL");
    pg_exec(pg, "UPDATE kv_store SET value = '2', version = version + 1000000");
    faults_arm(faults, &(struct fault_order){.fault = FAULT_CACHE_FILL, .action = FAULT_DELAY});
    return (struct held_back){.node = node, .faults = faults};
}
