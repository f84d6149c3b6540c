"""What a run says: lines while it goes, then Markdown, JSON and plots."""

import json
import os

from driver import plot

COLUMNS = ("row", "median", "spread", "p50/p99/p999 us", "reference", "ratio", "goal", "met")


def number(value):
    if value is None:
        return "-"
    if value >= 10000:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def latency_of(result):
    if "p50" not in result:
        return "-"
    return "/".join(f"{result[name]:.3g}" if result[name] < 1000 else f"{result[name]:.0f}"
                    for name in ("p50", "p99", "p999"))


def reference_of(result):
    texts = [f"{name} {number(figures['median'])}"
             for name, figures in result.get("references", {}).items()]
    return ", ".join(texts) or "-"


def cells_of(result):
    goal = "-" if result["goal"] is None else f"{result['sense']} {result['goal']:g}"
    met = {None: "-", True: "met", False: "MISSED"}[result["met"]]
    spread = "-" if result.get("spread") is None else f"{result['spread']:.0%}"
    ratio = "-" if result["ratio"] is None else f"{result['ratio']:.3g}"
    return (result["name"], f"{number(result['median'])} {result['unit']}", spread,
            latency_of(result), reference_of(result), ratio, goal, met)


def line_of(result):
    name, median, spread, latency, reference, ratio, goal, met = cells_of(result)
    line = f"{name}: {median} (+-{spread}), {latency} us; {reference}; ratio {ratio}"
    return line if result["goal"] is None else f"{line}, goal {goal}: {met}"


def heading_of(about):
    return (f"{about['cpu']}, {about['cores']} cores, {about['memory_gib']} GiB, Linux "
            f"{about['kernel']}, load {about['load_before']} before; {about['rounds']} rounds of "
            f"{about['seconds']} s each, contestants in turn")


def goals_of(rows):
    judged = [result for result in rows if result["met"] is not None]
    met = sum(result["met"] for result in judged)
    return f"{met} of {len(judged)} goals met, {len(rows) - len(judged)} rows only reported"


def closing_of(document):
    rows = document["rows"]
    judged = [result for result in rows if result["met"] is not None]
    lines = [f"{goals_of(rows)}, in {document['machine']['took_s']:.0f} s; load "
             f"{document['machine']['load_after']} at the end"]
    lines += [f"  missed: {result['name']}: {result['ratio']} (goal {result['sense']} "
              f"{result['goal']:g})" for result in judged if not result["met"]]
    return "\n".join(lines)


def write_json(path, document):
    with open(path, "w", encoding="utf-8") as out:
        json.dump(document, out, indent=1)
        out.write("\n")


def table_of(results):
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
    lines += ["| " + " | ".join(cells_of(result)) + " |" for result in results]
    return "\n".join(lines)


def details_of(results):
    lines = ["| row | pinning | value | hit ratio | sync | server CPU us/op, and references' | note |",
             "|---|---|---|---|---|---|---|"]
    for result in results:
        cpu = [number(result.get("server_cpu_us"))]
        cpu += [f"{name} {number(figures.get('server_cpu_us'))}"
                for name, figures in result.get("references", {}).items()]
        hit_ratio = "-" if result.get("hit_ratio") is None else f"{result['hit_ratio']:.3f}"
        lines.append(f"| {result['name']} | {result['pinning']} | {result['value_bytes'] or '-'} "
                     f"| {hit_ratio} | {result['sync']} | {', '.join(cpu)} | {result['note']} |")
    return "\n".join(lines)


def markdown_of(document, plots):
    missed = [result for result in document["rows"] if result["met"] is False]
    others = [result for result in document["rows"] if result["met"] is not False]
    parts = ["# Results of bench/run", heading_of(document["machine"]) + ".",
             closing_of(document).split("\n", maxsplit=1)[0] + "."]
    if missed:
        parts += ["## Goals missed", table_of(missed)]
    parts += ["## Goals met, and rows only reported", table_of(others),
              "## Conditions", details_of(document["rows"])]
    parts += [f"![{title}]({name})" for name, title in plots]
    return "\n\n".join(parts) + "\n"


def write_results(directory, document, buckets):
    os.makedirs(directory, exist_ok=True)
    plots = plot.write_all(directory, document["rows"], buckets)
    write_json(os.path.join(directory, "results.json"), document)
    with open(os.path.join(directory, "results.md"), "w", encoding="utf-8") as out:
        out.write(markdown_of(document, plots))
