"""What the rows measure in: sizes and times of this run, and servers that are started when the
first row asks for them and then shared by all."""

import dataclasses
import functools
import re
import socket
import subprocess
import sys
import time

from driver.measure import run_json
from driver.servers import (CACHE_MIB, OUTBOX_MIB, Echo, Failed, Home, Memcached, Node, Postgres,
                            Redis)

SETTLE_S = 2
SETTLE_TURNS_MAX = 20
SETTLED_TURNS = 3
FILL_ROWS = 1_000_000  # of one statement
STALLED_S = 60
TELL_EVERY_S = 5


@dataclasses.dataclass(frozen=True)
class Scale:
    """How much is measured."""
    name: str
    seconds: float  # of each contestant in each round
    rounds: int
    keys: int  # of the socket rows
    sizes: tuple  # numbers of keys of the rows by size
    keys_max: int  # of any table
    value_keys_max: int  # of a table of large values
    bulk_rows: int  # rows of what runs once over a whole table
    cold_rows: int  # of the table whose keys are missed
    flush_rows: int
    disturbing_rows: int
    eviction_keys: int  # a cache of a tenth of them is of the least size
    eviction_operations: int
    commits: int  # whose notifications are timed
    tail_commits: int  # the same for a p99, which a few hundred leave to two or three of them
    burst: int  # clients that miss one key at once
    budget_s: float  # no row is begun after it; None: all are


SCALES = {
    "smoke": Scale("smoke", 0.05, 1, 1000, (1000, 2000), 1000, 1000, 2000, 2000, 2000, 2000,
                   8000, 4000, 20, 20, 100, 40),
    "quick": Scale("quick", 0.5, 3, 100_000, (10_000, 100_000, 1_000_000), 1_000_000, 0,
                   1_000_000, 100_000, 50_000, 100_000, 70_000, 100_000, 200, 600, 1000, 540),
    "full": Scale("full", 2.0, 7, 100_000, (10_000, 100_000, 1_000_000, 10_000_000), 10_000_000,
                  1_000_000, 1_000_000, 1_000_000, 200_000, 100_000, 70_000, 1_000_000, 1000, 2000,
                  1000, None),
}

# A get of a 16-byte key and its answer with a version of up to 4 bytes, as they are on the wire.
GET_REQUEST_BYTES = 27
GET_REPLY_OVERHEAD_BYTES = 14


def value_sql(value_bytes):
    """The text whose MessagePack is what load/keys.c's value_format makes."""
    header_bytes = 2 if value_bytes - 2 <= 255 else 3
    return f"to_jsonb(rpad(key, {value_bytes - header_bytes}, 'x'))"


def keys_sql(first, count):
    return (f"(SELECT 'k' || lpad(i::text, 15, '0') AS key, i + 1 AS version "
            f"FROM generate_series({first}, {first + count - 1}) i) AS keys")


def fill_sql(table, first, count, value_bytes):
    return (f"INSERT INTO {table} (key, value) "
            f"SELECT key, {value_sql(value_bytes)} FROM {keys_sql(first, count)}")


# The table as a node makes it, but for its triggers and indexes. A node that finds it there adds what
# is missing: rows that come before it cost a twentieth of what they cost under its triggers.
CREATE_SQL = """CREATE TABLE kv_store (key text COLLATE "C", value jsonb NOT NULL,
    version bigint NOT NULL, created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(), expires_at timestamptz)"""
INDEX_SQL = """SET maintenance_work_mem = '512MB';
    ALTER TABLE kv_store ADD PRIMARY KEY (key);
    CREATE INDEX kv_store_updated_at_idx ON kv_store (updated_at);
    ANALYZE kv_store"""


def document_sql(value_bytes):
    """A document of about that size, which ends with its key."""
    return f"jsonb_build_object('pad', rpad('', {value_bytes - 35}, 'x'), 'tail', key)"


def bare_fill_sql(first, count, value):
    return (f"INSERT INTO kv_store (key, value, version) "
            f"SELECT key, {value}, version FROM {keys_sql(first, count)}")


class Progress:
    """Lines on standard error about something long, a few seconds apart."""

    def __init__(self, what, whole):
        self.what, self.whole = what, whole
        self.began = self.told = time.monotonic()

    def tell(self, done):
        now = time.monotonic()
        if now - self.told >= TELL_EVERY_S:
            self.told = now
            print(f"bench/run: {self.what}: {done:,} of {self.whole:,} after "
                  f"{now - self.began:.0f} s", file=sys.stderr, flush=True)


def cache_size_for(keys, value_bytes):
    """The default, or room for so many records at LMDB's usual fill, and for the outbox."""
    mib = keys * (value_bytes + 150) * 2 // 2**20 + OUTBOX_MIB
    return f"{max(mib, CACHE_MIB)}MiB"


class World:
    def __init__(self, build, scale):
        self.scale = scale
        self.home = Home(build)
        self.small_nodes = 0

    def close(self):
        self.home.close()

    @functools.cached_property
    def postgres(self):
        return Postgres(self.home)

    def database(self, name):
        self.postgres.sql(f'CREATE DATABASE "{name}"')
        return name

    @functools.cache
    def node(self, keys, value_bytes):
        """A node whose cache holds the whole table: (node, database). What has the table read into
        the cache goes for this start only."""
        preload = {"cache.preload": True}
        node, database = self.filled_node(f"node-{keys}-{value_bytes}", keys, value_bytes, preload)
        self.await_preload(node, keys)
        node.configure()
        node.warm(keys)
        return node, database

    def await_preload(self, node, keys):
        progress, held, since = Progress(f"{node.name}: rows in the cache", keys), -1, 0
        while (now_held := node.stats()["cache"]["entries"]) < keys:
            if now_held > held:
                held, since = now_held, time.monotonic()
            elif time.monotonic() - since > STALLED_S:
                raise Failed(f"the preload of {node.name} stands at {held} of {keys} rows")
            progress.tell(held)
            time.sleep(0.05)

    def read_node(self, keys, value_bytes):
        """The same in the state that reading brings it to: rows that wrote may have left keys to be
        asked for again, and the hot tier fills while it is read."""
        node, _ = self.node(keys, value_bytes)
        node.warm(keys)
        if self.scale.name != "smoke":
            self.settle(node, keys, value_bytes)
        return node

    def settle(self, node, keys, value_bytes):
        """Reads until what the hot tier holds has not changed by a hundredth for some turns: its
        hand rests between rounds, for a whole turn and longer, and it empties itself to grow."""
        held, settled = node.stats()["cache"]["hot_entries"], 0
        for turn in range(SETTLE_TURNS_MAX):
            if settled == SETTLED_TURNS or held >= keys * 0.99:
                break
            run_json([self.home.program("bench/bench_direct"), "get", node.socket, keys,
                      value_bytes, SETTLE_S, turn + 1])
            before, held = held, node.stats()["cache"]["hot_entries"]
            settled = settled + 1 if abs(held - before) <= before * 0.01 else 0

    def filled_database(self, name, ranges, value_bytes, value_of=value_sql):
        """A database with a table of these (first, count) ranges of keys, in which no node was."""
        database = self.database(name)
        progress = Progress(f"{name}: rows in PostgreSQL", sum(count for _, count in ranges))
        self.postgres.sql(CREATE_SQL, database)
        done = 0
        for first, count in ranges:
            for start in range(first, first + count, FILL_ROWS):
                rows = min(FILL_ROWS, first + count - start)
                self.postgres.sql(bare_fill_sql(start, rows, value_of(value_bytes)),
                                  database)
                done += rows
                progress.tell(done)
        self.postgres.sql(INDEX_SQL, database)
        progress.tell(done)
        return database

    @functools.cache
    def document_node(self, keys, value_bytes):
        """A node whose cache holds a table of documents."""
        node, _ = self.filled_node(f"documents-{value_bytes}", keys, value_bytes,
                                   {"cache.preload": True}, document_sql)
        self.await_preload(node, keys)
        return node

    def filled_node(self, name, keys, value_bytes, extra=None, value_of=value_sql):
        database = self.filled_database(name, [(0, keys)], value_bytes, value_of)
        node = Node(self.home, self.postgres.url(database), name,
                    cache=cache_size_for(keys, value_bytes), extra=extra)
        return node, database

    @property
    def bulk_table(self):
        return self.scale.bulk_rows

    def table_size(self, keys, value_bytes):
        """How many keys a row for so many has at this scale; None where it is left out."""
        if self.scale.name == "smoke":
            return min(keys, self.scale.keys_max)
        most = self.scale.keys_max if value_bytes <= 100 else self.scale.value_keys_max
        return keys if keys <= most else None

    def eviction_keys(self, percent):
        """So many that a cache of that share is not below what pgneard accepts."""
        if self.scale.name == "smoke":
            return self.scale.eviction_keys if percent == 10 else None
        if percent >= 10:
            return self.scale.eviction_keys
        return self.scale.eviction_keys * 10 if self.scale.name == "full" else None

    @functools.cache
    def eviction_table(self, keys, value_bytes):
        return self.filled_database(f"evicted-{keys}", [(0, keys)], value_bytes)

    def small_node(self, keys, value_bytes, mib):
        """A new node with a cache of so many MiB."""
        database = self.eviction_table(keys, value_bytes)
        self.small_nodes += 1
        return Node(self.home, self.postgres.url(database), f"small-{self.small_nodes}",
                    cache=f"{mib}MiB", outbox="4MiB")

    @functools.cache
    def second_node(self, database):
        """Another node on a database that has one."""
        return Node(self.home, self.postgres.url(database), f"second-{database}", cache="512MiB")

    @functools.cache
    def cold_node(self, keys, value_bytes):
        """A node that has not been asked for anything, and asks for nothing by itself, as the audit
        would: (node, database)."""
        name = f"cold-{keys}-{value_bytes}"
        return self.filled_node(name, keys, value_bytes, {"cache.audit_rate": 0})

    @functools.cache
    def redis(self, sync="none", keys=0, value_bytes=100):
        return self.loaded("redis", Redis(self.home, sync, f"{keys}-{value_bytes}"), keys,
                           value_bytes)

    @functools.cache
    def memcached(self, keys=0, value_bytes=100):
        return self.loaded("memcached", Memcached(self.home, f"{keys}-{value_bytes}"), keys,
                           value_bytes)

    def loaded(self, protocol, server, keys, value_bytes):
        if keys > 0:
            command = [self.home.program("bench/bench_load"), "--protocol", protocol, "--socket",
                       server.socket, "--mix", "set", "--distribution", "sequential", "--warmup",
                       "0", "--seconds", "600", "--operations", str(keys), "--pipeline", "64",
                       "--value-bytes", str(value_bytes), "--keys", str(keys)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                raise Failed(f"loading {protocol}: {done.stderr}")
        return server

    def memcached_bytes(self, server):
        """What memcached says it holds."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(server.socket)
            connection.sendall(b"stats\r\n")
            answer = b""
            while not answer.endswith(b"END\r\n"):
                answer += connection.recv(65536)
        return int(re.search(rb"STAT bytes (\d+)", answer).group(1))

    @functools.cache
    def echo(self, value_bytes):
        return Echo(self.home, GET_REQUEST_BYTES, value_bytes + GET_REPLY_OVERHEAD_BYTES)
