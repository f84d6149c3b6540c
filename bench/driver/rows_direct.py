"""Gets in the process through pgnear.h, beside LMDB alone, Redis and PostgreSQL."""

import json
import subprocess

from driver import machine
from driver.machine import FREE, SAME
from driver.measure import (Load, Program, Row, Timed, microseconds, result_of, run_json,
                            sample_of)
from driver.registry import count_name, row, size_name

TABLES = [(10_000, 100), (1_000_000, 100), (10_000_000, 100), (1_000_000, 1024)]


def reader(world, kind, node, keys, value_bytes, value=None, seconds=None):
    """bench_direct on a node with that table."""
    path = node.cache_file if kind.startswith("mdb") else node.socket
    seconds = seconds or world.scale.seconds
    return Program(lambda turn: [world.home.program("bench/bench_direct"), kind, path, keys,
                                 value_bytes, seconds, turn + 1], value)


# What bench_direct does instead, in words; the goal; what is to be said of it.
LMDB_READS = {"mdb": ("", "mdb_get in a renewed transaction", 1.15, ""),
              "mdb-bare": ("bare-", "mdb_get in one transaction for all", None,
                           "sees no later write")}


def register_on_table(name, words, ways, goal, count, value_bytes, note):
    """`ways`: how bench_direct reads the table, and how it does for the reference."""
    @row(name)
    def _(world):
        keys = world.table_size(count, value_bytes)
        if keys is None:
            return None
        node = world.read_node(keys, value_bytes)
        measured, reference = (reader(world, way, node, keys, value_bytes, microseconds)
                               for way in ways)
        return Row(words, "us", measured, {ways[1]: reference}, goal, False,
                   value_bytes=value_bytes, note=note)


def register_against_lmdb(kind, count, value_bytes):
    prefix, what, goal, note = LMDB_READS[kind]
    name = f"{count_name(count)}-{size_name(value_bytes)}"
    register_on_table(f"direct-get-{prefix}{name}", f"direct get, {name}, against {what}",
                      ("get", kind), goal, count, value_bytes, note)


for table in TABLES:
    for reads in LMDB_READS:
        register_against_lmdb(reads, *table)


# Of 100 keys at a time, and what the node is asked for where the map has it all: nothing.
MANY_READS = {"mget": [(1_000_000, 100), (10_000_000, 100), (1_000_000, 1024)],
              "batch": [(1_000_000, 100)]}


def register_many(kind, count, value_bytes):
    name = f"{count_name(count)}-{size_name(value_bytes)}"
    register_on_table(f"direct-{kind}-{name}",
                      f"direct {kind} of 100 keys, {name}, each, against a direct get",
                      (kind, "get"), None, count, value_bytes,
                      "the latencies are of 100 keys together")


for kind, tables in MANY_READS.items():
    for table in tables:
        register_many(kind, *table)


# Large values: (keys, bytes); what is done instead of copying all of one.
DOCUMENTS = [(2000, 10 * 1024), (500, 100 * 1024)]
PARTS = {"lend": "lent where it lies", "path": "its last member alone, by its path"}


def register_document(kind, count, value_bytes):
    @row(f"direct-{kind}-{size_name(value_bytes)}")
    def _(world):
        node = world.document_node(count, value_bytes)

        def contestant(way):
            return reader(world, f"{way}-document", node, count, value_bytes, microseconds)
        return Row(f"direct read of {size_name(value_bytes)}, {PARTS[kind]}, against a copy", "us",
                   contestant(kind), {"get": contestant("get")}, None, False,
                   value_bytes=value_bytes)


for table in DOCUMENTS:
    for part in PARTS:
        register_document(part, *table)


class PinnedReader:
    """bench_direct on the core where the same-core contestants run."""

    def __init__(self, program, pinning):
        self.program, self.pinning = program, pinning

    def __call__(self, turn):
        command = self.program.command(turn)
        core = machine.client_core(self.pinning)
        if core >= 0:
            command = ["taskset", "-c", core, *command]
        return sample_of(run_json(command), command)


def register_against_redis(pinning, goal):
    @row(f"direct-get-redis-{'same' if pinning == SAME else 'unpinned'}")
    def _(world):
        keys, value_bytes = world.scale.keys, 100
        node = world.read_node(keys, value_bytes)
        direct = PinnedReader(reader(world, "get", node, keys, value_bytes), pinning)
        redis = Load(world.home, "redis", world.redis("none", keys, value_bytes), pinning,
                     keys=keys, value_bytes=value_bytes, seconds=world.scale.seconds)
        return Row(f"direct get against Redis GET on 1 connection, {pinning}", "ops/s", direct,
                   {"redis": redis}, goal, pinning=pinning, value_bytes=value_bytes)


register_against_redis(SAME, 6)
register_against_redis(FREE, 40)


def run_together(command, count):
    """`count` of them at once: the outcomes."""
    children = [subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE,
                                 text=True) for _ in range(count)]
    outputs = [child.communicate()[0] for child in children]
    return [outputs, [child.returncode for child in children]]


@row("direct-get-2-processes")
def two_processes(world):
    keys, value_bytes = world.scale.keys, 100
    one = reader(world, "get", world.read_node(keys, value_bytes), keys, value_bytes)

    def two(turn):
        outputs, _ = run_together(one.command(turn), 2)
        samples = [sample_of(json.loads(output), one.command(turn)) for output in outputs]
        samples[0].value = sum(sample.value for sample in samples)
        return samples[0]

    return Row("direct get in 2 processes at once, against 1", "ops/s", two, {"1 process": one},
               1.9, pinning=FREE, value_bytes=value_bytes)


def select(world, keys, value_bytes, value=None, first=None):
    _, database = world.node(keys, value_bytes)
    url = world.postgres.url(database)
    return Program(lambda turn: [world.home.program("bench/bench_postgres"), "select", url, keys,
                                 value_bytes, world.scale.seconds, turn + 1]
                   + ([] if first is None else [first(turn)]), value)


@row("direct-get-select")
def direct_against_select(world):
    keys, value_bytes = world.scale.keys, 100
    return Row("direct get against a prepared SELECT", "ops/s",
               reader(world, "get", world.read_node(keys, value_bytes), keys, value_bytes),
               {"select": select(world, keys, value_bytes)}, 60, value_bytes=value_bytes)


@row("socket-get-select")
def socket_against_select(world):
    keys, value_bytes = world.scale.keys, 100
    node, _ = world.node(keys, value_bytes)
    own = Load(world.home, "pgnear", node, SAME, keys=keys, value_bytes=value_bytes,
               seconds=world.scale.seconds)
    return Row("socket get, 1 connection, same core, against a prepared SELECT", "ops/s", own,
               {"select": select(world, keys, value_bytes)}, 8, pinning=SAME,
               value_bytes=value_bytes)


def points_of(world, make):
    points = []
    for keys in world.scale.sizes:
        contestant = make(keys)
        samples = [contestant(turn).value for turn in range(world.scale.rounds)]
        points.append([keys, sorted(samples)[len(samples) // 2]])
    return points


@row("size-curve")
def size_curve(world):
    """Cost against the size of the table, of reads in the process and over the socket."""
    def socket(keys):
        return Timed(world.home, "pgnear", world.node(keys, 100)[0], SAME, keys=keys,
                     value_bytes=100, seconds=world.scale.seconds / 2)

    def writes(keys):
        node, _ = world.node(keys, 100)
        load = Timed(world.home, "pgnear", node, SAME, keys=keys, value_bytes=100, mix="set",
                     ack="memory", seconds=world.scale.seconds / 2)

        def measured(turn):
            sample = load(turn)
            node.settle()
            return sample
        return measured

    def direct(kind):
        return lambda keys: reader(world, kind, world.read_node(keys, 100), keys, 100, microseconds,
                                   world.scale.seconds / 2)

    series = {
        "direct get": points_of(world, direct("get")),
        "mdb_get": points_of(world, direct("mdb")),
        "socket get, same core": points_of(world, socket),
        "set ack=memory, same core": points_of(world, writes),
    }
    results = []
    for name, points in series.items():
        (least, first), (most, last) = points[0], points[-1]
        results.append(result_of(
            f"cost by size, {name}: {count_name(least)} to {count_name(most)} keys", "us", last,
            ratio=last / first, pinning=SAME, value_bytes=100, rounds=world.scale.rounds,
            note="ratio: the largest table against the smallest"))
    results[0]["curve"] = {"title": "Cost of an operation by the size of the table",
                           "x": "keys of 100 B", "y": "us", "log_y": True, "series": series}
    return results
