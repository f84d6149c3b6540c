"""bench/RESULTS.md: what a run found, losses first, with its plots. Every figure is the run's."""

import os
import shutil

from driver import plot, report
from driver.reasons import reason_for

INTRODUCTION = """# What pgnear costs, measured

Written by `bench/tell` from the results of `bench/run` ([how it measures](README.md)): no figure
here was typed. All contestants of a row ran in turn on the same machine; the ratio is the median of
the ratios of the rounds, against the best reference. Run it yourself: on another machine, above all
one with other wake-up times between cores, ratios differ."""

GROUPS = [  # title, beginnings of names
    ("Reads in the process", ("direct-", "size-curve")),
    ("Reads over the socket", ("socket-", "open-loop", "connections-", "cpu-", "ycsb-", "p99-")),
    ("Writes", ("set-", "flush-")),
    ("PostgreSQL and the cache", ("commit-", "miss-", "warm-", "sweep", "preload", "eviction-",
                                  "memory-")),
    ("JSON", ("json-",)),
]


def of_group(rows, beginnings):
    return [result for result in rows if result["id"].startswith(beginnings)]


def losses_of(rows):
    missed = [result for result in rows if result["met"] is False]
    if not missed:
        return "## Goals missed\n\nNone."
    parts = ["## Goals missed", report.table_of(missed), "### What holds them back"]
    told = {}
    for result in missed:
        told.setdefault(reason_for(result["id"]), []).append(result["name"])
    for text, names in told.items():
        parts.append(f"**{'; '.join(names)}.** {text or 'Not known.'}")
    return "\n\n".join(parts)


def wins_of(rows):
    parts = []
    for title, beginnings in GROUPS:
        of_it = [result for result in of_group(rows, beginnings) if result["met"] is not False]
        if of_it:
            parts += [f"## {title}", report.table_of(of_it)]
    return "\n\n".join(parts)


def is_told(name):
    """Curves, and the distributions of a few rows: not a plot of each row."""
    few = ("socket-get-50x1-apart-100B", "set-journal-50", "set-memory-50", "open-loop", "miss-1",
           "p99-under-disturbance")
    return name.startswith("curve-") or name in {f"latency-{row}.svg" for row in few}


def plots_of(sources, target):
    """Copies the plots that are told of, the last of a name: [file name...]."""
    shutil.rmtree(target, ignore_errors=True)
    os.makedirs(target)
    for source in sources:
        for name in os.listdir(source):
            if name.endswith(".svg") and is_told(name):
                shutil.copy(os.path.join(source, name), target)
    return sorted(os.listdir(target))


def rows_of(documents):
    """Of rows that several runs have, those of the last one."""
    runs = {result["id"]: number for number, document in enumerate(documents)
            for result in document["rows"]}
    rows = [result for number, document in enumerate(documents) for result in document["rows"]
            if runs[result["id"]] == number]
    order = list(dict.fromkeys(result["id"] for result in rows))
    return sorted(rows, key=lambda result: order.index(result["id"]))


def conditions_of(documents):
    lines = []
    for document in documents:
        names = "all other rows" if document is documents[0] else ", ".join(
            dict.fromkeys(result["id"] for result in document["rows"]))
        of_it = "" if len(documents) == 1 else f", {names}"
        lines.append(f"Measured on {report.heading_of(document['machine'])}{of_it}: "
                     f"{document['machine']['took_s']:.0f} s, load "
                     f"{document['machine']['load_after']} at the end.")
    return "\n\n".join(lines)


def write(runs, out):
    """`runs`: the directory and the results of each; `out`: the Markdown file, beside which the
    plots go."""
    documents = [document for _, document in runs]
    names = plots_of([directory for directory, _ in runs],
                     os.path.join(os.path.dirname(out), "plots"))
    rows = rows_of(documents)
    parts = [INTRODUCTION, conditions_of(documents), report.goals_of(rows) + ".", losses_of(rows),
             wins_of(rows)]
    if names:
        parts.append("## Plots")
        parts += [f"![{plot.title_of(name)}](plots/{name})" for name in names]
    parts += ["## Conditions", report.details_of(rows)]
    with open(out, "w", encoding="utf-8") as file:
        file.write("\n\n".join(parts) + "\n")
