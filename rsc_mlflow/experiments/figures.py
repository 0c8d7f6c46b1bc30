"""Small static figures for the artifacts of runs, a few kilobytes each.

An interactive Plotly page contains 4.8 MB of JavaScript or needs a network connection.  The dashboards show interactive
versions of the same data.
"""

import html
import io
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from PIL import Image, ImageDraw
from torch import Tensor

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<style>body{{font:14px system-ui,sans-serif;margin:1rem;color:#1b1b1b;background:#fff}}
h1{{font-size:1.1rem}}svg{{max-width:100%;height:auto}}table{{border-collapse:collapse}}
td,th{{padding:.35rem .5rem;text-align:right;font-variant-numeric:tabular-nums}}</style></head>
<body><h1>{title}</h1>{body}</body></html>
"""

_ENLARGED, _GAP, _MARGIN, _HEADING = 3, 6, 50, 18
"""Layout of the figure of examples, in pixels: enlargement, gap between images, left margin, height of headings."""


def score_matrix_page(matrices: Mapping[str, np.ndarray], title: str) -> str:
    """Return HTML tables, one per model, of hits by true class (rows) and target class (columns), float ``[C, C]``."""
    note = "<p>Share of test examples whose probability of the target class rises when the pattern is added.</p>"
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

    Args:
        history: (epoch, value) pairs for each metric.
        title: heading of the page.
    """
    panels = (("loss", "nats"), ("accuracy", "share"), ("spurious", "share"))
    figure = Figure(figsize=(12, 3.6))
    figure.subplots_adjust(left=0.05, right=0.99, top=0.97, bottom=0.14)
    for axis, (word, unit) in zip(figure.subplots(1, 3), panels, strict=True):
        for name, points in history.items():
            if word in name:
                axis.plot(*zip(*points, strict=True), label=name, marker="." if len(points) < 20 else None)
        axis.set(xlabel="epoch", ylabel=f"{word} ({unit})")
        if axis.lines:
            axis.legend(frameon=False)
    return svg_page([figure], title)


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
