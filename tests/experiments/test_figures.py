"""The small pictures on a run."""

import io
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


def test_training_curves_name_every_metric_they_draw() -> None:
    page = training_curves_page({"train/loss": [(1, 0.5), (2, 0.25)], "spurious/score": [(2, 0.9)]}, "a <run>")
    assert "a &lt;run&gt;" in page
    assert "<script" not in page
    assert page.count('id="legend_') == 2  # one in the panel of the loss, one in that of the score
