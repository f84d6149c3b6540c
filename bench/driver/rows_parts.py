"""Parts by themselves: what eviction keeps, and what JSON costs."""

from driver.measure import Load, Program, Row, microseconds, result_of, run_json, sample_of
from driver.registry import row
from driver.servers import Failed

VALUE_BYTES = 1024
ENTRY_BYTES = 1250  # of such a value in the cache's pages, about


def register_eviction(percent, distribution):
    @row(f"eviction-{distribution}-{percent}")
    def _(world):
        keys = world.eviction_keys(percent)
        if keys is None:
            return None
        operations = world.scale.eviction_operations
        mib = max(8, keys * ENTRY_BYTES * percent // 100 // 2**20)
        node = world.small_node(keys, VALUE_BYTES, mib)
        load = Load(world.home, "pgnear", node, keys=keys, value_bytes=VALUE_BYTES,
                    distribution=distribution, operations=operations, seconds=600, warmup=0,
                    connections=4)
        counts = []
        for seed in (101, 202):
            command = load.command(seed=seed)
            before = node.stats()["cache"]
            sample_of(run_json(command), command)
            counts.append((before, node.stats()["cache"]))
        before, after = counts[1]
        hits = after["hits"] - before["hits"]
        asked = hits + after["misses"] - before["misses"]
        entries = (before["entries"] + after["entries"]) // 2
        if asked < operations:
            raise Failed(f"{asked} of {operations} gets were counted")
        lru = run_json([world.home.program("bench/bench_lru"), keys, entries, distribution,
                        operations, 101, 202])["hit_ratio"]
        own = hits / asked
        return [result_of(f"hit ratio, {distribution}, cache of {percent} % of {keys} keys, "
                          f"against LRU", "of 1", own, ratio=own / lru if lru else None,
                          goal=1.0, sense=">=", hit_ratio=own, value_bytes=VALUE_BYTES,
                          references={"LRU": {"median": lru}},
                          note=f"LRU of as many entries as the node held: {entries}")]


for share in (1, 10, 50):
    for kind in ("zipf", "scans"):
        register_eviction(share, kind)


def register_json(mode, what):
    @row(f"json-{mode}")
    def _(world):
        def program(kind):
            return Program(lambda turn: [world.home.program("bench/bench_json"), kind,
                                         world.scale.seconds / 2], microseconds)
        return Row(f"{what}, against simdjson's parsing alone", "us", program(mode),
                   {"simdjson": program("parse")}, 2, False,
                   note="a document of 1.3 KiB; ours checks, orders and converts as well")


register_json("to-msgpack", "JSON text to MessagePack")
register_json("to-json", "MessagePack to JSON text")
