// A group is the rows of the status table under its name, and then what is made of several.
#include "server/stats_pack.h"

// What is not known, or -1, is nil.
static void pack_known(msgpack_packer *packer, int64_t value)
{
    if (value >= 0) {
        msgpack_pack_int64(packer, value);
    } else {
        msgpack_pack_nil(packer);
    }
}

static void pack_summary(msgpack_packer *packer, const struct latency_summary *summary)
{
    const struct {
        const char *name;
        int64_t us;
    } percentiles[] = {
        {"p50_us", summary->p50_us},   {"p90_us", summary->p90_us}, {"p99_us", summary->p99_us},
        {"p999_us", summary->p999_us}, {"max_us", summary->max_us},
    };
    enum { PERCENTILES_COUNT = sizeof percentiles / sizeof *percentiles };
    msgpack_pack_map(packer, PERCENTILES_COUNT + 2);
    mpack_pack_string(packer, "count");
    msgpack_pack_uint64(packer, summary->count);
    mpack_pack_string(packer, "sum_us");
    msgpack_pack_uint64(packer, summary->sum_us);
    for (size_t i = 0; i < PERCENTILES_COUNT; i++) {
        mpack_pack_string(packer, percentiles[i].name);
        pack_known(packer, percentiles[i].us);
    }
}

// ---- What is made of several

static void pack_outbox_more(msgpack_packer *packer, const struct stats *stats)
{
    mpack_pack_string(packer, "age_us");
    msgpack_pack_int64(packer, stats->outbox_age_us);
}

static void pack_postgres_more(msgpack_packer *packer, const struct stats *stats)
{
    mpack_pack_string(packer, "flush_rate");
    msgpack_pack_double(packer, stats->flush_rate);
    mpack_pack_string(packer, "lag");
    pack_summary(packer, &stats->lag);
}

static void pack_server_more(msgpack_packer *packer, const struct stats *stats)
{
    uint32_t count = 0;
    for (int method = 0; method < METHOD_COUNT; method++) {
        count += stats->latency[method].count > 0;
    }
    mpack_pack_string(packer, "latency");
    msgpack_pack_map(packer, count);
    for (int method = 0; method < METHOD_COUNT; method++) {
        if (stats->latency[method].count > 0) {
            mpack_pack_string(packer, method_name((enum method)method));
            pack_summary(packer, &stats->latency[method]);
        }
    }
}

static const struct {
    const char *name;
    uint32_t more_count;
    void (*pack_more)(msgpack_packer *packer, const struct stats *stats);
} GROUPS[] = {
    {"cache", 0, NULL},
    {"outbox", 1, pack_outbox_more},
    {"postgres", 2, pack_postgres_more},
    {"server", 1, pack_server_more},
};

enum { GROUPS_COUNT = sizeof GROUPS / sizeof *GROUPS };

// ---- The map

static void pack_item(msgpack_packer *packer, const struct stats *stats, enum status_item item)
{
    mpack_pack_string(packer, status_name(item));
    if (item == STATUS_PG_STATE) {
        mpack_pack_string(packer, node_state_name((enum node_state)stats->items[item]));
    } else {
        pack_known(packer, stats->items[item]);
    }
}

static void pack_group(msgpack_packer *packer, size_t group, const struct stats *stats)
{
    const char *name = GROUPS[group].name;
    uint32_t count = GROUPS[group].more_count;
    for (int item = 0; item < STATUS_COUNT; item++) {
        count += strcmp(status_group((enum status_item)item), name) == 0;
    }
    mpack_pack_string(packer, name);
    msgpack_pack_map(packer, count);
    for (int item = 0; item < STATUS_COUNT; item++) {
        if (strcmp(status_group((enum status_item)item), name) == 0) {
            pack_item(packer, stats, (enum status_item)item);
        }
    }
    if (GROUPS[group].pack_more != NULL) {
        GROUPS[group].pack_more(packer, stats);
    }
}

void stats_pack(msgpack_packer *packer, const struct stats *stats)
{
    int64_t size_bytes = stats->items[STATUS_PG_TABLE_BYTES];
    msgpack_pack_map(packer, 4 + GROUPS_COUNT);
    mpack_pack_string(packer, "count");
    pack_known(packer, stats->items[STATUS_PG_TABLE_ROWS]);
    mpack_pack_string(packer, "size");
    if (size_bytes >= 0) {
        mpack_pack_string(packer, stats_size_text(size_bytes).text);
    } else {
        msgpack_pack_nil(packer);
    }
    mpack_pack_string(packer, "size_bytes");
    pack_known(packer, size_bytes);
    mpack_pack_string(packer, "backups");
    pack_known(packer, stats->items[STATUS_TABLE_BACKUPS]);
    for (size_t i = 0; i < GROUPS_COUNT; i++) {
        pack_group(packer, i, stats);
    }
}
