"""The small pictures on a run."""

import io
import math
import re

import numpy as np
import torch
from PIL import Image

from rsc_mlflow.experiments.figures import examples_png, score_matrix_page, training_curves_page


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)))


def test_the_picture_of_examples_shows_each_image_clean_above_patterned() -> None:
    clean = torch.tensor([[[[0.0, 1.0], [0.4, 0.0]]], [[[1.0, 1.0], [0.0, 0.0]]]])
    patterned = (clean + 0.2).clamp(max=1)
    picture = pixels(examples_png(clean, patterned, [3, 5]))
    for row, images in enumerate((clean, patterned)):
        for column, image in enumerate(images):
            top, left = 18 + row * 12, 50 + column * 12
            shown = picture[top : top + 6, left : left + 6]
            expected = (image[0] * 255).to(torch.uint8).numpy().repeat(3, 0).repeat(3, 1)
            assert np.array_equal(shown, np.stack([expected] * 3, -1))


def test_color_images_keep_their_colors() -> None:
    red = torch.zeros(1, 3, 4, 4)
    red[:, 0] = 1
    picture = pixels(examples_png(red, None, [0]))
    assert picture[18:30, 50:62].reshape(-1, 3).tolist() == [[255, 0, 0]] * 144


def test_the_score_matrix_is_a_table_with_a_dash_where_there_is_no_example() -> None:
    page = score_matrix_page({"one_model": np.array([[0.25, 1.0], [np.nan, 0.5]])}, "a <run>")
    assert "<h2>one model</h2>" in page
    assert "a &lt;run&gt;" in page
    assert re.findall(r"<td[^>]*>([^<]*)</td>", page) == ["0.250", "1.000", "–", "0.500"]


def test_training_curves_are_drawn_to_the_scale_of_their_ticks() -> None:
    points = {"train/loss": [(1, 0.5), (2, 0.25), (7, 2.0)], "test/loss": [(1, 0.75), (7, math.nan), (4, 1.797e308)]}
    page = training_curves_page(points | {"spurious/score": [(2, 0.9)], "train/accuracy": []}, "a <run>")
    assert "a &lt;run&gt;" in page
    assert "<script" not in page
    loss, spurious = re.findall(r"<svg.*?</svg>", page, re.DOTALL)  # nothing to draw for the accuracy
    assert ">loss</text>" in loss
    assert read_back(loss) == {"train/loss": [(1, 0.5), (2, 0.25), (7, 2.0)], "test/loss": [(1, 0.75)]}
    assert read_back(spurious) == {"spurious/score": [(2, 0.9)]}


def read_back(plot: str) -> dict[str, list[tuple[float, float]]]:
    """The values that a reader takes from a plot: positions compared with those of the tick labels."""
    epoch = np.polynomial.Polynomial.fit(*ticks(plot, r'class="x" x="([\d.]+)" y="235.*?>([\d.]+)<'), 1)
    value = np.polynomial.Polynomial.fit(*ticks(plot, r'class="y" x=.*?y="([\d.]+)">([-\d.]+)<', shift=-4), 1)
    names = re.findall(r'fill="(#\w+)">([^<]+)<', plot)
    lines = {color: drawn.split() for drawn, color in re.findall(r'<polyline points="([^"]*)" stroke="(#\w+)"', plot)}
    found = {name: [tuple(map(float, one.split(","))) for one in lines[color]] for color, name in names}
    return {name: [(round(epoch(x), 2), round(value(y), 2)) for x, y in line] for name, line in found.items()}


def ticks(plot: str, pattern: str, shift: float = 0) -> tuple[list[float], list[float]]:
    found = re.findall(pattern, plot)
    assert len(found) >= 2
    return [float(at) + shift for at, _ in found], [float(text) for _, text in found]
