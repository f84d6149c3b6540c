"""A row: contestants measured in turn, A B A B, and what their figures come to."""

import dataclasses
import json
import statistics
import subprocess

from driver import machine
from driver.servers import Failed


@dataclasses.dataclass
class Sample:
    """One contestant's figures of one round."""
    value: float  # in the row's unit
    latency: dict = None  # as bench_load prints it
    hits: int = 0
    misses: int = 0
    server_cpu_us: float = None  # of one operation


@dataclasses.dataclass
class Row:
    """`subject` and each of `references` are called with a round number and give a Sample."""
    name: str
    unit: str
    subject: object
    references: dict  # name -> contestant; the best of them is what the goal compares with
    goal: float = None
    higher_is_better: bool = True
    pinning: str = machine.FREE
    value_bytes: int = None
    sync: str = "none"
    rounds: int = None  # where the row takes more or fewer than the others
    note: str = ""
    against: str = None  # the reference that counts, where it is not the best


def run_json(command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True,
                          check=False)
    if done.returncode != 0:
        raise Failed(f"{' '.join(str(part) for part in command)}: {done.stderr.strip()}")
    return json.loads(done.stdout)


def sample_of(outcome, command, may_miss=False):
    """Checks what a load program printed: an error, a wrong value or an unexpected miss ends it."""
    problems = [name for name in ("errors", "wrong") if outcome.get(name, 0) > 0]
    if outcome["misses"] > 0 and not may_miss:
        problems.append("misses")
    if outcome["operations"] == 0:
        problems.append("operations")
    if problems:
        counts = {key: value for key, value in outcome.items() if key != "latency_ns"}
        raise Failed(f"{' '.join(str(part) for part in command)}: unexpected "
                     f"{', '.join(problems)}: {counts}")
    return Sample(outcome["per_second"], outcome["latency_ns"], outcome["hits"],
                  outcome["misses"])


class Load:
    """A contestant: bench_load against a server. Options are bench_load's."""

    def __init__(self, home, protocol, server, pinning=machine.FREE, may_miss=False, **options):
        self.program = home.program("bench/bench_load")
        self.protocol, self.server, self.pinning = protocol, server, pinning
        self.may_miss, self.options = may_miss, options

    def command(self, **more):
        command = [self.program, "--protocol", self.protocol, "--socket", self.server.socket,
                   "--cpu", machine.client_core(self.pinning)]
        for name, value in {**self.options, **more}.items():
            if value is True:
                command.append(f"--{name.replace('_', '-')}")
            elif value is not None:
                command += [f"--{name.replace('_', '-')}", value]
        return command

    def __call__(self, turn):
        machine.pin(self.server.pid, self.pinning)
        before = machine.cpu_seconds(self.server.pid)
        command = self.command(seed=turn + 1)
        outcome = run_json(command)
        spent = machine.cpu_seconds(self.server.pid) - before
        sample = sample_of(outcome, command, self.may_miss)
        sample.server_cpu_us = spent * 1e6 / outcome["operations"]
        return sample


class Program:
    """A contestant: a program that prints what bench_load prints. `command` is called with the
    round; `value` makes the row's figure of the outcome."""

    def __init__(self, command, value=None, before=None, after=None, may_miss=False):
        self.command, self.may_miss = command, may_miss
        self.value = value or (lambda outcome: outcome["per_second"])
        self.before, self.after = before, after

    def __call__(self, turn):
        if self.before:
            self.before(turn)
        command = self.command(turn)
        outcome = run_json(command)
        sample = sample_of(outcome, command, self.may_miss)
        sample.value = self.value(outcome)
        if self.after:
            self.after(turn)
        return sample


def microseconds(outcome):
    """Of one operation, where they follow each other."""
    return 1e6 / outcome["per_second"]


def quantile(name):
    return lambda outcome: outcome["latency_ns"][name] / 1000


class Timed(Load):
    """A load whose figure is the time of one operation in us instead of a rate."""

    def __call__(self, turn):
        sample = super().__call__(turn)
        sample.value = 1e6 / sample.value
        return sample


def constant(value):
    """A reference that is a promise rather than a measurement."""
    return lambda turn: Sample(value)


def merged_latency(samples):
    """Quantiles over the rounds: the median of each."""
    present = [sample.latency for sample in samples if sample.latency]
    if not present:
        return {}
    return {name: statistics.median(latency[name] for latency in present) / 1000
            for name in ("p50", "p99", "p999")}


def merged_buckets(samples):
    counts = {}
    for sample in samples:
        for edge, count in (sample.latency or {}).get("buckets", []):
            counts[edge] = counts.get(edge, 0) + count
    return sorted(counts.items())


def spread_of(values):
    """Half the distance from the least to the greatest, as a share of the median."""
    middle = statistics.median(values)
    return (max(values) - min(values)) / 2 / middle if middle else 0


def figures_of(samples):
    values = [sample.value for sample in samples]
    figures = {"median": statistics.median(values), "spread": round(spread_of(values), 4),
               **merged_latency(samples)}
    cpu = [sample.server_cpu_us for sample in samples if sample.server_cpu_us is not None]
    if cpu:
        figures["server_cpu_us"] = round(statistics.median(cpu), 3)
    return figures


def is_met(row, ratio):
    if row.goal is None or ratio is None:
        return None
    return ratio >= row.goal if row.higher_is_better else ratio <= row.goal


def result_of(name, unit, median, ratio=None, goal=None, sense=None, **more):
    """A result that is no matter of contestants in turn."""
    met = None
    if goal is not None:
        met = ratio >= goal if sense == ">=" else ratio <= goal
    return {"name": name, "unit": unit, "median": median, "spread": None,
            "ratio": None if ratio is None else round(ratio, 3), "goal": goal, "sense": sense,
            "met": met, "pinning": machine.FREE, "value_bytes": None, "hit_ratio": None,
            "sync": "none", "rounds": 1, "note": "", **more}


def measure(row, rounds):
    """The row as the report has it, and the latency buckets of each contestant for the plots."""
    contestants = {"pgnear": row.subject, **row.references}
    samples = {name: [] for name in contestants}
    for turn in range(row.rounds or rounds):
        for name, contestant in contestants.items():
            samples[name].append(contestant(turn))
    figures = {name: figures_of(taken) for name, taken in samples.items()}
    result = {"name": row.name, "unit": row.unit, **figures["pgnear"]}
    ratio = None
    if row.references:
        best = max if row.higher_is_better else min
        reference = row.against or best(row.references, key=lambda name: figures[name]["median"])
        pairs = zip(samples["pgnear"], samples[reference])
        ratio = statistics.median(own.value / other.value for own, other in pairs)
        result["reference"] = reference
        result["references"] = {name: figures[name] for name in row.references}
    asked = [sample.hits + sample.misses for sample in samples["pgnear"]]
    hit_ratio = sum(sample.hits for sample in samples["pgnear"]) / sum(asked) if sum(asked) else None
    result.update({
        "ratio": None if ratio is None else round(ratio, 3),
        "goal": row.goal,
        "sense": None if row.goal is None else ">=" if row.higher_is_better else "<=",
        "met": is_met(row, ratio),
        "pinning": row.pinning,
        "value_bytes": row.value_bytes,
        "hit_ratio": hit_ratio,
        "sync": row.sync,
        "rounds": len(samples["pgnear"]),
        "note": row.note,
    })
    return result, {name: merged_buckets(taken) for name, taken in samples.items()}
