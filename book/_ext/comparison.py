"""The networks of the course side by side, from ``results/architectures.json``.

    ```{comparison} scores
    ```

shows a table of our scores beside the published ones (``book/published.json``, every one with the
data and the place it comes from), ``{comparison} costs`` one of details and costs, ``{comparison}
classes`` a short one with the IoU of the thinnest and of the rarest class, and

    ```{comparison-figure}
    Words for those who do not see the figure.
    ```

draws accuracy against arithmetic, in the colours of the page.
"""

from __future__ import annotations

import html
import io
import json
from pathlib import Path
from statistics import mean
from typing import ClassVar

import matplotlib
from docutils import nodes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from measured_tables import FromResults, read_result, rows_at, table, value_in

FILE = "results/architectures.json"
RARE = ("lamp", "person")
INK = "#010203"  # stands for the colour of the page's text, light or dark
ACCENT = "#040506"  # and this for its accent
TABLES = {
    "scores": ["Network", "mIoU here", "of three seeds", "published", "on", "by"],
    "costs": [
        "Network",
        "boundary F1",
        "lamp IoU",
        "parameters",
        "million MACs",
        "training step",
        "most memory",
    ],
    "classes": ["Network", "parameters", "mIoU", "lamp IoU", "person IoU"],
}


class FromArchitectures(FromResults):
    def rows(self, root: Path) -> list[dict]:
        """What was measured of every network, and what was published."""
        self.depend_on("architectures")
        self.env.note_dependency(str(root / "book" / "published.json"))
        published = json.loads((root / "book" / "published.json").read_text(encoding="utf-8"))
        measured = read_result(root, "architectures", "run `python -m benchmarks.architectures`")
        rows = rows_at(measured, "networks", FILE)
        return [{**row, "published": value_in(published, row["key"], FILE)} for row in rows]


class Comparison(FromArchitectures):
    required_arguments = 1

    def build(self, root: Path) -> list[nodes.Node]:
        kind = self.arguments[0]
        line = {"scores": self.scores, "costs": self.costs, "classes": self.classes}[kind]
        return [table(TABLES[kind], [line(row) for row in self.rows(root)])]

    def scores(self, row: dict) -> list[str]:
        scores = [run["miou"] for run in value_in(row, "runs", FILE)]
        published = row["published"]
        return [
            published["title"],
            f"{value_in(row, 'miou', FILE):.3f}",
            f"{min(scores):.3f}–{max(scores):.3f}",
            "–" if published["miou"] is None else f"{published['miou']:.1f} %",
            published["data"],
            published["origin"],
        ]

    def costs(self, row: dict) -> list[str]:
        return [
            row["published"]["title"],
            f"{value_in(row, 'boundary_f1', FILE):.2f}",
            f"{value_in(row, 'thin_iou', FILE):.2f}",
            f"{value_in(row, 'parameters', FILE):,}",
            f"{value_in(row, 'macs', FILE) / 1e6:.0f}",
            f"{value_in(row, 'step_ms', FILE):.0f} ms",
            f"{value_in(row, 'peak_gib', FILE):.1f} GiB",
        ]

    def classes(self, row: dict) -> list[str]:
        found = [value_in(run, "iou", FILE) for run in value_in(row, "runs", FILE)]
        return [
            row["published"]["title"],
            f"{value_in(row, 'parameters', FILE):,}",
            f"{value_in(row, 'miou', FILE):.3f}",
            *(f"{mean(value_in(ious, name, FILE) for ious in found):.2f}" for name in RARE),
        ]


class ComparisonFigure(FromArchitectures):
    has_content = True
    option_spec: ClassVar = {}

    def build(self, root: Path) -> list[nodes.Node]:
        points = [
            (row["published"]["title"], value_in(row, "macs", FILE) / 1e6, row["miou"])
            for row in self.rows(root)
        ]
        label = html.escape(" ".join(self.content), quote=True)
        drawn = f'<div class="drawn" role="img" aria-label="{label}">{draw(points)}</div>'
        return [nodes.raw("", drawn, format="html")]


def draw(points: list[tuple[str, float, float]]) -> str:
    """Accuracy against arithmetic as SVG: (title, million MACs, mIoU) of every network."""
    style = {"svg.fonttype": "none", "svg.hashsalt": "segcourse", "text.color": INK}
    style |= dict.fromkeys(("axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK)
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(7, 4.6), layout="constrained")
        FigureCanvasAgg(figure)  # measures the words
        axes = figure.add_subplot()
        axes.spines[["top", "right"]].set_visible(False)
        axes.patch.set_alpha(0)
        axes.scatter([x for _, x, _ in points], [y for _, _, y in points], color=ACCENT, s=36)
        axes.set(xlabel="million multiply-adds for a scene", ylabel="mIoU on Toytown")
        axes.margins(x=0.14, y=0.08)
        figure.draw_without_rendering()
        place_labels(axes, points)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :].replace(INK, "currentColor")
    return svg.replace(ACCENT, "var(--pst-color-primary)")


def place_labels(axes, points: list[tuple[str, float, float]]) -> None:
    """Write every title beside its point, or above or below it where another title stands."""
    taken, frame = [], axes.get_window_extent()
    places = [(8, 0, "left"), (-8, 0, "right"), (0, 11, "center"), (0, -11, "center")]
    places += [(8, 10, "left"), (8, -10, "left"), (-8, 10, "right"), (-8, -10, "right")]
    dots = [axes.transData.transform((x, y)) for _, x, y in points]
    for title, x, y in sorted(points, key=lambda point: point[1]):
        for dx, dy, side in places:
            text = axes.annotate(
                title, (x, y), (dx, dy), textcoords="offset points", ha=side, va="center"
            )
            text.set_in_layout(False)
            box = text.get_window_extent()
            free = not any(box.overlaps(other) for other in taken)
            inside = frame.x0 <= box.x0 and box.x1 <= frame.x1
            if free and inside and not any(box.contains(*dot) for dot in dots):
                break
            text.remove()
        else:
            text = axes.annotate(title, (x, y), (8, 0), textcoords="offset points", va="center")
        taken.append(text.get_window_extent())


def setup(app) -> dict:
    app.add_directive("comparison", Comparison)
    app.add_directive("comparison-figure", ComparisonFigure)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
