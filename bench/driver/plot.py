"""SVG line plots, as much as three figures need."""

import math
import os

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 760, 420, 80, 170, 40, 60
COLOURS = ("#1f5fb4", "#c0392b", "#1e8449", "#7d3c98", "#b9770e", "#566573")


class Axis:
    """Maps values to a side of the plot; logarithmic or linear."""

    def __init__(self, values, start, end, log):
        self.log = log
        low, high = min(values), max(values)
        if log:
            low, high = max(low, 1e-9), max(high, 1e-9)
            self.low, self.high = math.floor(math.log10(low)), math.ceil(math.log10(high))
            self.high = max(self.high, self.low + 1)
        else:
            self.low, self.high = 0.0, high * 1.05 or 1.0
        self.start, self.end = start, end

    def at(self, value):
        position = math.log10(max(value, 1e-9)) if self.log else value
        share = (position - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self):
        if self.log:
            return [10.0**power for power in range(self.low, self.high + 1)]
        step = 10 ** math.floor(math.log10(self.high / 4))
        step *= next(factor for factor in (1, 2, 5, 10) if self.high / (step * factor) <= 6)
        return [step * i for i in range(int(self.high / step) + 1)]


def short(value):
    for factor, unit in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= factor:
            return f"{value / factor:g}{unit}"
    return f"{value:g}"


def text(x, y, content, anchor="middle", extra=""):
    content = content.replace("&", "&amp;").replace("<", "&lt;")
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{extra}>{content}</text>'


def grid(axis_x, axis_y, tick_names):
    parts = []
    for tick in axis_x.ticks():
        x = axis_x.at(tick)
        parts.append(f'<line x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{HEIGHT - BOTTOM}"/>')
        parts.append(text(x, HEIGHT - BOTTOM + 18, tick_names.get(tick, short(tick))))
    for tick in axis_y.ticks():
        y = axis_y.at(tick)
        parts.append(f'<line x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}"/>')
        parts.append(text(LEFT - 8, y + 4, short(tick), "end"))
    return parts


def line_plot(title, label_x, label_y, series, log_x=False, log_y=False, tick_names=None):
    """`series`: name -> [(x, y)...]."""
    points = [point for line in series.values() for point in line]
    axis_x = Axis([x for x, _ in points], LEFT, WIDTH - RIGHT, log_x)
    axis_y = Axis([y for _, y in points], HEIGHT - BOTTOM, TOP, log_y)
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" '
             f'font-family="sans-serif" font-size="12">',
             '<rect width="100%" height="100%" fill="white"/>',
             '<g stroke="#dddddd" fill="#333333" stroke-width="1">'
             '<style>text { stroke: none }</style>',
             *grid(axis_x, axis_y, tick_names or {}), "</g>",
             text(WIDTH / 2, 22, title, extra=' font-size="15"'),
             text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 16, label_x),
             text(18, HEIGHT / 2, label_y, extra=f' transform="rotate(-90 18 {HEIGHT / 2})"')]
    for i, (name, line) in enumerate(series.items()):
        colour = COLOURS[i % len(COLOURS)]
        path = " ".join(f"{axis_x.at(x):.1f},{axis_y.at(y):.1f}" for x, y in line)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" '
                     f'stroke-width="2"/>')
        y = TOP + 14 + 18 * i
        parts.append(f'<line x1="{WIDTH - RIGHT + 10}" y1="{y}" x2="{WIDTH - RIGHT + 34}" '
                     f'y2="{y}" stroke="{colour}" stroke-width="2"/>')
        parts.append(text(WIDTH - RIGHT + 40, y + 4, name, "start"))
    return "\n".join(parts + ["</svg>", ""])


def tail_points(buckets):
    """A latency distribution as (1 / (1 - share), latency in us): each power of ten another nine."""
    total = sum(count for _, count in buckets)
    seen, points = 0, []
    for edge, count in buckets:
        points.append((total / (total - seen), edge / 1000))
        seen += count
    return points


NINES = {1.0: "0 %", 10.0: "90 %", 100.0: "99 %", 1e3: "99.9 %", 1e4: "99.99 %",
         1e5: "99.999 %", 1e6: "99.9999 %", 1e7: "99.99999 %"}


def latency_plots(rows, buckets):
    for result in rows:
        series = {name: tail_points(counts) for name, counts in
                  buckets.get(result["name"], {}).items() if len(counts) > 1}
        if series:
            yield (f"latency-{result['id']}.svg", f"Latency of {result['name']}",
                   line_plot(result["name"], "share of operations", "latency (us)", series,
                             log_x=True, log_y=True, tick_names=NINES))


def curve_plots(rows):
    """Rows with a `curve`: {"title", "x", "y", "log_y", "series": {name: [[x, y]...]}}."""
    for result in rows:
        curve = result.get("curve")
        if curve:
            yield (f"curve-{result['id']}.svg", curve["title"],
                   line_plot(curve["title"], curve["x"], curve["y"], curve["series"], log_x=True,
                             log_y=curve.get("log_y", False)))


def title_of(name):
    """What the plot in the file of that name shows, for who cannot see it."""
    kind, row = name.removesuffix(".svg").split("-", maxsplit=1)
    return {"latency": "Latency of", "curve": "Curve of"}[kind] + f" {row}"


def write_all(directory, rows, buckets):
    """Writes every plot that the rows have points for: [(file name, title)...]."""
    written = []
    for name, title, svg in (*latency_plots(rows, buckets), *curve_plots(rows)):
        with open(os.path.join(directory, name), "w", encoding="utf-8") as out:
            out.write(svg)
        written.append((name, title))
    return written
