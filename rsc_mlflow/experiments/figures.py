"""Small static figures for the artifacts of runs, a few kilobytes each.

An interactive Plotly page contains 4.8 MB of JavaScript or needs a network connection.  The dashboards show interactive
versions of the same data.
"""

import html
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image, ImageDraw
from torch import Tensor

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<style>body{{font:14px system-ui,sans-serif;margin:1rem;color:#1b1b1b;background:#fff}}
h1{{font-size:1.1rem}}svg{{max-width:100%;height:auto}}table{{border-collapse:collapse}}
td,th{{padding:.35rem .5rem;text-align:right;font-variant-numeric:tabular-nums}}</style></head>
<body><h1>{title}</h1>{body}</body></html>
"""

_SVG = """<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-size="12">
<style>polyline{{fill:none;stroke-width:1.5}}.x{{text-anchor:middle}}.y{{text-anchor:end}}</style>
<marker id="dot" viewBox="-2 -2 4 4" markerWidth="3"><circle r="1.5" fill="context-stroke"/></marker>{parts}</svg>
"""
_WIDTH, _HEIGHT, _LEFT, _TOP, _BOTTOM = 380, 260, 50, 25, 45
"""Size and margins of a plot of training curves, in pixels."""
_LINE_COLORS = ("#004488", "#bb5566", "#997700")
_LARGEST = 1e300
"""MLflow stores infinity as 1.797e308."""

_ENLARGED, _GAP, _MARGIN, _HEADING = 3, 6, 50, 18
"""Layout of the figure of examples, in pixels: enlargement, gap between images, left margin, height of headings."""


def score_matrix_page(matrices: Mapping[str, np.ndarray], title: str) -> str:
    """Return an HTML page with one table per model: spurious scores by true class (rows) and target class (columns).

    Args:
        matrices: each model's scores by its name, float ``[C, C]``; NaN for true classes without images.
        title: heading of the page.
    """
    note = (
        "<p>Share of test images whose probability of the target class rises by more than the score threshold when the "
        "pattern is added.</p>"
    )
    tables = [f"<h2>{html.escape(name.replace('_', ' '))}</h2>{_matrix(matrix)}" for name, matrix in matrices.items()]
    return _PAGE.format(title=html.escape(title), body=note + "".join(tables))


def _matrix(matrix: np.ndarray) -> str:
    classes = range(matrix.shape[1])
    head = "<tr><th>true \\ target</th>" + "".join(f"<th>{k}</th>" for k in classes) + "</tr>"
    rows = "".join(f"<tr><th>{i}</th>{''.join(map(_cell, row))}</tr>" for i, row in enumerate(matrix))
    return f"<table>{head}{rows}</table>"


def _cell(value: float) -> str:
    if np.isnan(value):
        return "<td>–</td>"
    ink = "#fff" if value > 0.55 else "#1b1b1b"
    return f'<td style="background:rgba(0,68,136,{value:.3f});color:{ink}">{value:.3f}</td>'


def training_curves_page(history: Mapping[str, Sequence[tuple[int, float]]], title: str) -> str:
    """Return an HTML page with plots of loss, accuracy and spurious score by epoch.

    The SVG is written without Matplotlib, which would take longer than everything else that a run stores.

    Args:
        history: (epoch, value) pairs for each metric; values that are not finite are left out.
        title: heading of the page.
    """
    finite = {name: [(x, y) for x, y in points if abs(y) < _LARGEST] for name, points in history.items()}
    plots = []
    for word, label in (("loss", "loss"), ("accuracy", "accuracy (share)"), ("spurious", "spurious (share)")):
        lines = {name: points for name, points in finite.items() if word in name and points}
        if lines:
            plots.append(_line_plot(lines, label))
    return _PAGE.format(title=html.escape(title), body="".join(plots))


def _line_plot(lines: Mapping[str, Sequence[tuple[int, float]]], label: str) -> str:
    """Return an SVG with one line per metric; the metric's name has the color of its line."""
    epochs, values = zip(*(point for points in lines.values() for point in points), strict=True)
    across = _Axis.over(epochs, MaxNLocator(6, integer=True), _LEFT, _WIDTH - 10)
    up = _Axis.over(values, MaxNLocator(5), _HEIGHT - _BOTTOM, _TOP)
    parts = [f'<text x="{_LEFT}" y="14">{label}</text>']
    parts += [f'<text class="x" x="{at}" y="{_HEIGHT - 25}">{text}</text>' for at, text in across.labels()]
    parts.append(f'<text class="x" x="{(_LEFT + _WIDTH) / 2}" y="{_HEIGHT - 6}">epoch</text>')
    for at, text in up.labels():
        parts.append(f'<path stroke="#ddd" d="M{_LEFT} {at}H{_WIDTH - 10}"/>')
        parts.append(f'<text class="y" x="{_LEFT - 6}" y="{at + 4}">{text}</text>')
    for number, (name, points) in enumerate(lines.items()):
        color = _LINE_COLORS[number % len(_LINE_COLORS)]
        drawn = " ".join(f"{across.place(x)},{up.place(y)}" for x, y in points)
        parts.append(f'<polyline points="{drawn}" stroke="{color}" marker-mid="url(#dot)" marker-end="url(#dot)"/>')
        parts.append(f'<text x="{_LEFT + 105 + 115 * number}" y="14" fill="{color}">{html.escape(name)}</text>')
    return _SVG.format(width=_WIDTH, height=_HEIGHT, parts="".join(parts))


@dataclass(frozen=True)
class _Axis:
    """Maps values to pixels; the first and the last tick are at the ends of the axis."""

    ticks: Sequence[float]
    start: float
    end: float

    @classmethod
    def over(cls, values: Sequence[float], locator: MaxNLocator, start: float, end: float) -> Self:
        return cls([float(tick) for tick in locator.tick_values(min(values), max(values))], start, end)

    def place(self, value: float) -> float:
        share = (value - self.ticks[0]) / (self.ticks[-1] - self.ticks[0])
        return round(self.start + share * (self.end - self.start), 1)

    def labels(self) -> list[tuple[float, str]]:
        return [(self.place(tick), f"{tick:.4g}") for tick in self.ticks]


def svg_page(figures: Sequence[Figure], title: str) -> str:
    """Return an HTML page with figures as inline SVG, one below the other."""
    return _PAGE.format(title=html.escape(title), body="".join(map(_svg, figures)))


def _svg(figure: Figure) -> str:
    buffer = io.StringIO()
    FigureCanvasSVG(figure).print_svg(buffer)
    drawn = buffer.getvalue()
    return drawn[drawn.index("<svg") :]


def examples_png(clean: Tensor, patterned: Tensor | None, labels: Sequence[int]) -> bytes:
    """Return a PNG of images (top) and the same images with the pattern (bottom).

    It is drawn with Pillow, because a figure with an axis per image takes longer than a short training run.

    Args:
        clean: images without the pattern, float32 ``[N, C, H, W]`` in [0, 1], N ≥ 1.
        patterned: the same images with the pattern, if any.
        labels: the N labels.
    """
    rows = [("clean", clean)] + ([("pattern", patterned)] if patterned is not None else [])
    size = _ENLARGED * clean.shape[-1]
    step = size + _GAP
    picture = Image.new("RGB", (_MARGIN + step * len(clean), _HEADING + step * len(rows)), "white")
    pen = ImageDraw.Draw(picture)
    for column, label in enumerate(labels):
        pen.text((_MARGIN + column * step, 3), f"class {label}", fill="black")
    for row, (word, images) in enumerate(rows):
        pen.text((3, _HEADING + row * step), word, fill="black")
        for column, image in enumerate(images):
            large = _as_picture(image).resize((size, size), Image.Resampling.NEAREST)
            picture.paste(large, (_MARGIN + column * step, _HEADING + row * step))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def _as_picture(image: Tensor) -> Image.Image:
    """Return an image, float32 ``[C, H, W]`` in [0, 1], as gray or RGB; torchvision is slow to import."""
    pixels = (255 * image.cpu()).byte().permute(1, 2, 0).numpy()
    return Image.fromarray(pixels.squeeze(2) if pixels.shape[2] == 1 else pixels)
