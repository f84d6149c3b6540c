"""Mixed loads, fixed rates, numbers of connections, and reads while other work goes on: rows that
say how a node behaves rather than how fast one operation is."""

import itertools
import statistics
import time

from driver.machine import APART, FREE
from driver.measure import Load, Program, Row, result_of
from driver.registry import row
from driver.rows_socket import contestants
from driver.servers import Failed, Node
from driver.world import fill_sql

VALUE_BYTES = 100
MIXES = {"a": "50 % reads, 50 % updates", "b": "95 % reads, 5 % updates", "c": "reads",
         "d": "95 % reads of the latest, 5 % inserts", "e": "95 % scans, 5 % inserts",
         "f": "50 % reads, 50 % read-modify-writes"}
NOTES = {"d": "the latest by Zipf; a key whose insert is still on its way is a miss",
         "e": "scans of 50 come from PostgreSQL; the reference asks it for such ranges by prepared "
              "SELECTs on 8 connections, and inserts nothing"}
OPEN_RATE = 10_000


class Settled(Load):
    """A load that may write, after which the node's outbox is let to empty."""

    def __call__(self, turn):
        sample = super().__call__(turn)
        if self.protocol == "pgnear":
            self.server.settle()
        return sample


def register_mix(mix):
    @row(f"ycsb-{mix}")
    def _(world):
        keys = world.scale.keys
        servers = {"pgnear": world.node(keys, VALUE_BYTES)[0],
                   "redis": world.redis("everysec", keys, VALUE_BYTES),
                   "memcached": world.memcached(keys, VALUE_BYTES)}
        loads = {name: Settled(world.home, name, server, mix=mix, keys=keys,
                               value_bytes=VALUE_BYTES, seconds=world.scale.seconds,
                               connections=8, ack="memory", may_miss=mix == "d")
                 for name, server in servers.items() if mix != "e" or name == "pgnear"}
        if mix == "e":
            url = world.postgres.url(world.node(keys, VALUE_BYTES)[1])
            loads["ranges"] = Program(lambda turn: [world.home.program("bench/bench_postgres"),
                                                    "ranges", url, keys, VALUE_BYTES,
                                                    world.scale.seconds, turn + 1, 8])
        return Row(f"YCSB {mix.upper()}, 8 conn: {MIXES[mix]}", "ops/s", loads.pop("pgnear"),
                   loads, value_bytes=VALUE_BYTES, sync="memory; Redis everysec",
                   note=NOTES.get(mix, "Zipf 0.99"))


for letter in MIXES:
    register_mix(letter)


class Tail(Load):
    """A load whose figure is its p99 in us."""

    def __call__(self, turn):
        sample = super().__call__(turn)
        sample.value = sample.latency["p99"] / 1000
        return sample


@row("open-loop")
def open_loop(world):
    loads = {name: Tail(world.home, name, load.server, APART,
                        **{**load.options, "rate": OPEN_RATE, "connections": 8, "spin": True})
             for name, load in contestants(world, VALUE_BYTES, APART).items()}
    return Row(f"get in an open loop, {OPEN_RATE} a second on 8 conn, apart: p99", "us",
               loads.pop("pgnear"), loads, None, False, APART, VALUE_BYTES,
               note="counted from when each was due: nothing omitted")


@row("connections-curve")
def connections_curve(world):
    """Gets a second against the number of connections."""
    counts = (1, 2, 5, 10, 20, 50, 100, 200)
    series = {}
    for count in counts:
        loads = contestants(world, VALUE_BYTES, APART, connections=count)
        taken = {name: [] for name in loads}
        for turn in range(world.scale.rounds):
            for name, load in loads.items():
                load.options["seconds"] = world.scale.seconds / 2
                taken[name].append(load(turn).value)
        for name, values in taken.items():
            series.setdefault(name, []).append([count, statistics.median(values)])
    own, others = series["pgnear"], [series[name] for name in series if name != "pgnear"]
    ratios = [point[1] / max(other[i][1] for other in others) for i, point in enumerate(own)]
    title = f"Gets a second by connections, {VALUE_BYTES} B, apart"
    return [result_of(f"socket get on 1 to {counts[-1]} conn, apart, worst of all numbers",
                      "ops/s", min(point[1] for point in own), ratio=min(ratios), pinning=APART,
                      value_bytes=VALUE_BYTES, rounds=world.scale.rounds,
                      curve={"title": title, "x": "connections", "y": "gets a second",
                             "series": series})]


@row("cpu-per-million-gets")
def cpu_per_million(world):
    loads = {}
    for name, load in contestants(world, VALUE_BYTES, APART, connections=50).items():
        def spent(turn, load=load):
            sample = load(turn)
            sample.value = sample.server_cpu_us
            return sample
        loads[name] = spent
    return Row("CPU seconds of the server for a million gets, 50 conn, apart", "s",
               loads.pop("pgnear"), loads, None, False, APART, VALUE_BYTES,
               note="of all its threads, from the kernel's ticks")


def disturb(world, node, database, turn):
    """Begins a bulk COPY, from which a sweep follows, a backup, and reads of what was copied
    before, for which the cache has no room."""
    rows = world.scale.disturbing_rows
    first = 80_000_000 + turn * rows
    world.postgres.sql(fill_sql("staged", first, rows, VALUE_BYTES), database)
    url = world.postgres.url(database)
    psql = ["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1"]
    copy = (f"{' '.join(psql)} '{url}' -c 'COPY staged TO STDOUT (FORMAT binary)' | "
            f"{' '.join(psql)} '{url}' -c 'COPY kv_store (key, value) FROM STDIN (FORMAT binary)'")
    load = [world.home.program("bench/bench_load"), "--protocol", "pgnear", "--socket",
            node.socket, "--distribution", "sequential", "--first-key", first - rows, "--keys",
            rows, "--value-bytes", VALUE_BYTES, "--seconds", 600, "--warmup", 0]
    bulk = [world.home.start("copy", ["sh", "-c", copy]),
            world.home.start("backup", [world.home.program("bin/pgnear"), "--socket",
                                        node.socket, "backup"])]
    return bulk, world.home.start("evict", [str(part) for part in load])


@row("p99-under-disturbance")
def p99_under_disturbance(world):
    keys = max(1000, world.scale.keys // 5)
    copied = world.scale.disturbing_rows
    database = world.filled_database("disturbed", [(0, keys), (80_000_000 - copied, copied)],
                                     VALUE_BYTES)
    node = Node(world.home, world.postgres.url(database), "disturbed", cache="16MiB",
                outbox="4MiB")
    turns = itertools.count()
    world.postgres.sql("CREATE TABLE staged (key text, value jsonb)", database)
    node.warm(keys)
    # So many in flight on a connection that each is sent when it is due.
    options = {"keys": keys, "value_bytes": VALUE_BYTES, "connections": 8, "pipeline": 64,
               "rate": 5000, "seconds": max(1.0, world.scale.seconds)}
    quiet = Tail(world.home, "pgnear", node, FREE, **options)
    beside = Tail(world.home, "redis", world.redis("none", keys, VALUE_BYTES), FREE, **options)

    def disturbed(load):
        def measured(turn):
            bulk, evict = disturb(world, node, database, next(turns))
            sample = load(turn)
            for process in bulk:
                if process.child.wait() != 0:
                    raise Failed(f"{process.name} failed, see {process.log}")
            evict.stop()
            world.postgres.sql("TRUNCATE staged", database)
            node.cli("sync")
            node.warm(keys)
            return sample
        return measured

    def idle(turn):
        time.sleep(0.2)
        return quiet(turn)

    return Row("p99 of gets in an open loop while a COPY, a sweep, a backup and eviction run, "
               "against idle", "us", disturbed(quiet),
               {"idle": idle, "redis beside the same": disturbed(beside)}, 3, False, FREE,
               VALUE_BYTES, against="idle",
               note=f"{world.scale.disturbing_rows} rows; PostgreSQL and its clients share the "
                    f"cores; the last reference says what that does to a server that has no part "
                    f"in it")


@row("memory-per-entry")
def memory_per_entry(world):
    """What an entry of a 16-byte key and a value takes, by each server's own account."""
    keys = world.scale.keys
    node, _ = world.node(keys, VALUE_BYTES)
    redis = world.redis("none", keys, VALUE_BYTES)
    stats = node.stats()["cache"]
    used = int(dict(line.split(":", 1) for line in redis.cli("info", "memory").splitlines()
                    if ":" in line)["used_memory"])
    of_memcached = world.memcached_bytes(world.memcached(keys, VALUE_BYTES)) / keys
    own = stats["bytes"] / stats["entries"]
    of_redis = used / keys
    note = "disk and page cache, pages of the tree included; used_memory; memcached's bytes"
    return [result_of("bytes of an entry (key 16 B, value 100 B)", "B", own,
                      ratio=own / min(of_redis, of_memcached), value_bytes=VALUE_BYTES, note=note,
                      references={"redis": {"median": of_redis},
                                  "memcached": {"median": of_memcached}})]

