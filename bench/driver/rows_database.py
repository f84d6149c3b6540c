"""What is between the cache and PostgreSQL: notifications, misses, start and sweep."""

import os
import re
import time

from driver.measure import (Program, Row, Sample, Timed, constant, microseconds, quantile,
                            result_of, run_json)
from driver.registry import row
from driver.servers import Failed, Node
from driver.world import cache_size_for

VALUE_BYTES = 100


def channel_of(world, database):
    return world.postgres.sql(
        "SELECT substring(prosrc FROM 'channel CONSTANT text := ''([^'']+)''') FROM pg_proc "
        "WHERE prosrc LIKE '%channel CONSTANT text%' LIMIT 1", database)


class WritesOf:
    """So many writes a second through another node while it is open."""

    def __init__(self, world, node, keys, rate):
        self.command = [world.home.program("bench/bench_load"), "--protocol", "pgnear", "--socket",
                        node.socket, "--mix", "set", "--ack", "memory", "--keys", str(keys),
                        "--value-bytes", str(VALUE_BYTES), "--rate", str(rate), "--seconds",
                        "600", "--connections", "4"]
        self.world = world
        self.process = None

    def __enter__(self):
        self.process = self.world.home.start("writes", self.command)
        time.sleep(0.2)

    def __exit__(self, *_):
        self.process.stop()


def register_commit(quantile_name, rate):
    busy = "idle" if rate == 0 else f"{rate // 1000}k-writes"

    @row(f"commit-to-cache-{quantile_name}-{busy}")
    def _(world):
        keys = world.scale.keys
        node, database = world.node(keys, VALUE_BYTES)
        other = world.second_node(database)
        url = world.postgres.url(database)
        program = world.home.program("bench/bench_notify")
        scale = world.scale
        count = scale.commits if quantile_name == "p50" else scale.tail_commits
        pause_us = 2000

        def contestant(kind, where):
            def command(turn):
                return [program, kind, url, keys, count, pause_us, where]
            plain = Program(command, quantile(quantile_name))

            def loaded(turn):
                with WritesOf(world, other, keys, rate):
                    return plain(turn)
            return loaded if rate else plain
        return Row(f"COMMIT to the other node's cache, {quantile_name}, {busy}, against a bare "
                   f"LISTEN", "us", contestant("watch", node.socket),
                   {"listen": contestant("listen", channel_of(world, database))}, 1.3, False,
                   value_bytes=VALUE_BYTES, sync="PostgreSQL's fsync",
                   note="from before the COMMIT; pgnear's is when a watcher on the socket has it")


for quantile_of_row in ("p50", "p99"):
    for writes_a_second in (0, 10_000):
        register_commit(quantile_of_row, writes_a_second)


@row("miss-1")
def miss_one(world):
    """Each get is of a key that was never asked for, in a table of its own."""
    keys = world.scale.cold_rows
    node, database = world.cold_node(keys, VALUE_BYTES)
    url = world.postgres.url(database)
    share = keys // (2 * world.scale.rounds)
    taken = iter(range(0, keys, share))
    own = Timed(world.home, "pgnear", node, distribution="sequential", keys=keys,
                value_bytes=VALUE_BYTES, seconds=world.scale.seconds, operations=share, warmup=0)

    def misses(turn):
        own.options["first_key"] = next(taken)
        before = node.stats()["cache"]["misses"]
        sample = own(turn)
        missed = node.stats()["cache"]["misses"] - before
        if missed < sample.hits:
            raise Failed(f"{sample.hits - missed} of {sample.hits} gets were hits")
        return sample

    selects = Program(lambda turn: [world.home.program("bench/bench_postgres"), "select", url,
                                    keys, VALUE_BYTES, world.scale.seconds, turn + 1,
                                    turn * share], microseconds)
    return Row("miss of 1 key, against a prepared SELECT", "us", misses, {"select": selects}, 1.2,
               False, value_bytes=VALUE_BYTES, note="each key for the first time")


@row("miss-together")
def miss_together(world):
    """Many clients miss one key at once; PostgreSQL's own log says how often it was asked."""
    node, database = world.cold_node(world.scale.cold_rows, VALUE_BYTES)
    key_number = world.scale.cold_rows - 1
    burst = world.scale.burst
    world.postgres.sql("ALTER SYSTEM SET log_statement = 'all'")
    world.postgres.sql("SELECT pg_reload_conf()")
    node.cli("sync")
    time.sleep(0.5)
    with open(world.postgres.process.log, encoding="utf-8", errors="replace") as log:
        log.seek(0, 2)
        command = [world.home.program("bench/bench_load"), "--protocol", "pgnear", "--socket",
                   node.socket, "--connections", burst, "--operations", burst, "--distribution",
                   "one", "--first-key", key_number, "--warmup", 0]
        outcome = run_json(command)
        text = log.read()
    world.postgres.sql("ALTER SYSTEM RESET log_statement")
    world.postgres.sql("SELECT pg_reload_conf()")
    selects = len(re.findall(r"SELECT key, CASE WHEN octet_length", text))
    if outcome["misses"] or outcome["errors"] or outcome["hits"] != burst:
        raise Failed(f"{burst} concurrent misses: {outcome}")
    return [result_of(f"{burst} concurrent misses of one key: SELECTs", "SELECTs", selects,
                      ratio=selects, goal=1, sense="<=", value_bytes=VALUE_BYTES,
                      note="counted in PostgreSQL's log")]


def copy(world, database):
    program, url = world.home.program("bench/bench_postgres"), world.postgres.url(database)

    def measured(turn):
        return Sample(run_json([program, "copy", url])["seconds"])
    return measured


def sweep_seconds(node, since):
    with open(node.process.log, encoding="utf-8", errors="replace") as log:
        log.seek(since)
        took = re.findall(r'event="sweep ended".*took_ms=(\d+)', log.read())
    return int(took[-1]) / 1000 if took else None


def restart(node):
    """Seconds from the start to the first hit; the log position of the start."""
    node.stop()
    since = os.path.getsize(node.process.log)
    began = time.monotonic()
    node.start(until=lambda: node.cli("get", "k" + "0" * 15, check=False).returncode == 0)
    return time.monotonic() - began, since


@row("warm-start")
def warm_start(world):
    node, _ = world.node(world.bulk_table, VALUE_BYTES)

    def started(turn):
        seconds, _ = restart(node)
        node.cli("sync")
        return Sample(seconds)
    return Row("warm start, from exec to the first hit", "s", started, {"promise": constant(1.0)},
               1.0, False, value_bytes=VALUE_BYTES, rounds=min(3, world.scale.rounds),
               note=f"{world.bulk_table} keys in the cache; polled by starting the command line")


@row("sweep")
def sweep(world):
    node, database = world.node(world.bulk_table, VALUE_BYTES)

    def swept(turn):
        _, since = restart(node)
        deadline = time.monotonic() + 60
        while (seconds := sweep_seconds(node, since)) is None:
            if time.monotonic() > deadline:
                raise Failed("the sweep did not end")
            time.sleep(0.02)
        return Sample(seconds)
    return Row(f"sweep of {world.bulk_table} keys after a start, against COPY in binary to "
               f"nowhere", "s", swept, {"copy": copy(world, database)}, 1.2, False,
               value_bytes=VALUE_BYTES, rounds=min(3, world.scale.rounds))


@row("preload")
def preload(world):
    _, database = world.node(world.bulk_table, VALUE_BYTES)
    url, size = world.postgres.url(database), world.bulk_table
    numbers = iter(range(1000))

    def loaded(turn):
        began = time.monotonic()
        node = Node(world.home, url, f"preload-{next(numbers)}",
                    cache=cache_size_for(size, VALUE_BYTES),
                    extra={"cache.preload": True})
        while node.stats()["cache"]["entries"] < size:
            if time.monotonic() - began > 120:
                raise Failed("the preload did not end")
            time.sleep(0.02)
        seconds = time.monotonic() - began
        node.stop()
        return Sample(seconds)

    return Row(f"preload of {size} rows from exec to the last entry, against COPY in binary to "
               f"nowhere", "s", loaded, {"copy": copy(world, database)}, 1.5, False,
               value_bytes=VALUE_BYTES, rounds=min(3, world.scale.rounds))
