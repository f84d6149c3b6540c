"""Writes: beside Redis by what is synced when, beside upserts of one row, and their way to
PostgreSQL beside upserts of a thousand."""

import time

from driver.measure import Load, Program, Row, Sample, run_json, sample_of
from driver.registry import row

VALUE_BYTES = 100
LONG_TIMES, LONG_MAX_S = 4, 2  # what is longer does not fit into the outbox
FLUSH_LOAD = {"mix": "set", "connections": 4, "pipeline": 64, "warmup": 0, "seconds": 600,
              "distribution": "sequential", "ack": "memory", "value_bytes": VALUE_BYTES}


class SettledSets(Load):
    """Sets on a node, which is let to empty its outbox before others have their turn."""

    def __call__(self, turn):
        sample = super().__call__(turn)
        self.server.settle()
        return sample


def sets(world, kind, protocol, server, connections, pipeline, ack, seconds):
    return kind(world.home, protocol, server, mix="set", keys=world.scale.keys,
                value_bytes=VALUE_BYTES, connections=connections, pipeline=pipeline, ack=ack,
                seconds=seconds)


def register_against_redis(ack, sync, connections, pipeline, goal, is_long=False):
    shape = f"{connections}x{pipeline}" if pipeline > 1 else str(connections)
    kind, words = ("-long", ", long rounds") if is_long else ("", "")

    @row(f"set-{ack}-{shape}{kind}")
    def _(world):
        seconds = world.scale.seconds
        if is_long:
            seconds = max(min(seconds * LONG_TIMES, LONG_MAX_S), seconds)
        node, _ = world.node(world.scale.keys, VALUE_BYTES)
        redis = world.redis(sync, world.scale.keys, VALUE_BYTES)
        note = f"rounds of {seconds:g} s: the flush gives way to clients for one, no longer"
        return Row(f"set ack={ack}, {connections} conn x {pipeline}{words}, against Redis "
                   f"appendfsync {sync}", "ops/s",
                   sets(world, SettledSets, "pgnear", node, connections, pipeline, ack, seconds),
                   {"redis": sets(world, Load, "redis", redis, connections, pipeline, None,
                                  seconds)}, goal,
                   value_bytes=VALUE_BYTES, sync=sync, note=note if is_long else "")


register_against_redis("journal", "always", 1, 1, None)
register_against_redis("journal", "always", 50, 1, 1.5)
register_against_redis("memory", "everysec", 50, 1, 1.0)
register_against_redis("memory", "everysec", 50, 16, 1.0)
register_against_redis("memory", "everysec", 50, 16, None, is_long=True)


@row("set-postgres-50")
def set_postgres(world):
    keys = world.scale.keys
    node, database = world.node(keys, VALUE_BYTES)
    url = world.postgres.url(database)
    upserts = Program(lambda turn: [world.home.program("bench/bench_postgres"), "upsert", url,
                                    keys, VALUE_BYTES, world.scale.seconds, turn + 1, 50],
                      after=lambda turn: node.cli("sync"))
    return Row("set ack=postgres, 50 conn, against upserts of one row on 50 connections", "ops/s",
               sets(world, SettledSets, "pgnear", node, 50, 1, "postgres", world.scale.seconds),
               {"upserts": upserts}, 3, value_bytes=VALUE_BYTES, sync="PostgreSQL's fsync",
               note="the same table and triggers")


def flushed_sets(world, node, first):
    """Rows a second from the first set to the end of the flush."""
    rows = world.scale.flush_rows
    load = Load(world.home, "pgnear", node, keys=rows, operations=rows, **FLUSH_LOAD)

    def measured(turn):
        began = time.monotonic()
        command = load.command(first_key=first(turn))
        sample_of(run_json(command), command)
        node.settle()
        return Sample(rows / (time.monotonic() - began))
    return measured


def unnest_upserts(world, node, database, first):
    """The same number of rows in upserts of a thousand."""
    rows, url = world.scale.flush_rows, world.postgres.url(database)

    def measured(turn):
        command = [world.home.program("bench/bench_postgres"), "unnest", url, rows, VALUE_BYTES,
                   600, turn + 1, 1000, first(turn)]
        began = time.monotonic()
        sample_of(run_json(command), command)
        spent = time.monotonic() - began
        node.cli("sync")
        return Sample(rows / spent)
    return measured


def register_flush(kind, first_own, first_other):
    @row(f"flush-{kind}")
    def _(world):
        node, database = world.node(world.scale.keys, VALUE_BYTES)
        rows = world.scale.flush_rows
        return Row(f"flush rate, {kind}, against unnest upserts of 1000", "rows/s",
                   flushed_sets(world, node, lambda turn: first_own(turn, rows)),
                   {"unnest": unnest_upserts(world, node, database,
                                             lambda turn: first_other(turn, rows))}, 0.95,
                   value_bytes=VALUE_BYTES, sync="PostgreSQL's fsync",
                   note=f"{rows} rows, from the first set to the end of the flush; the same "
                        f"table and triggers, and the node hears of both")


NEW_KEYS = 50_000_000  # beyond every table here
register_flush("inserts", lambda turn, rows: NEW_KEYS + 2 * turn * rows,
               lambda turn, rows: NEW_KEYS + (2 * turn + 1) * rows)
register_flush("updates", lambda turn, rows: 0, lambda turn, rows: 0)
