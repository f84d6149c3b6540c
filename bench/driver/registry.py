"""The rows by name. A factory is called when its row is to be measured and gives a Row, or the
finished results where a row is not a matter of rounds."""

import fnmatch

FACTORIES = {}  # in the order of the report
# Rows without a goal are measured after all others: where time is short, they are left out.
REPORTED = ("direct-get-bare-", "direct-mget-", "direct-batch-", "direct-lend-", "direct-path-",
            "ycsb-", "open-loop", "connections-curve", "cpu-per-million-gets",
            "memory-per-entry", "set-journal-1", "set-memory-50x16-long", "size-curve")


def row(name):
    def register(factory):
        assert name not in FACTORIES, name
        FACTORIES[name] = factory
        return factory
    return register


def in_order_of_worth(names):
    return sorted(names, key=lambda name: name.startswith(REPORTED))


def chosen(patterns):
    """The names that any pattern matches, whole or as a beginning; all where there is none."""
    if not patterns:
        return list(FACTORIES)
    return [name for name in FACTORIES
            if any(name.startswith(pattern) or fnmatch.fnmatch(name, pattern)
                   for pattern in patterns)]


def size_name(value_bytes):
    return f"{value_bytes // 1024}KiB" if value_bytes % 1024 == 0 else f"{value_bytes}B"


def count_name(count):
    for unit, factor in (("M", 1_000_000), ("k", 1000)):
        if count % factor == 0:
            return f"{count // factor}{unit}"
    return str(count)
