"""Shadow sets: halves, pairs, and as many spurious examples in each."""

import numpy as np
import pytest

from rsc_mlflow.attacks.shadow_sets import draw_shadow_members
from rsc_mlflow.errors import InputError


def spurious(n: int, *where: int) -> np.ndarray:
    result = np.zeros(n, dtype=bool)
    result[list(where)] = True
    return result


def test_the_first_shadow_model_is_trained_on_shadow_train() -> None:
    assert draw_shadow_members(spurious(6), 1, 0).tolist() == [[True] * 3 + [False] * 3]


def test_every_example_trains_half_of_the_models_and_every_model_half_of_the_examples() -> None:
    members = draw_shadow_members(spurious(40, 1, 2, 30, 31), 8, seed=3)
    assert (members.sum(axis=0) == 4).all()
    assert (members.sum(axis=1) == 20).all()
    assert (members[::2] == ~members[1::2]).all()


def test_every_model_holds_half_of_the_spurious_examples() -> None:
    mask = spurious(40, 1, 2, 5, 30, 31, 32)
    assert (draw_shadow_members(mask, 9, seed=1)[:, mask].sum(axis=1) == 3).all()


def test_a_longer_draw_goes_on_from_a_shorter_one() -> None:
    short, long = draw_shadow_members(spurious(20), 3, 5), draw_shadow_members(spurious(20), 8, 5)
    assert (long[:3] == short).all()
    assert len({row.tobytes() for row in long}) == 8


def test_the_shadow_sets_of_a_seed_never_change() -> None:
    """Stored attacks name their shadow models by the seed only."""
    rows = draw_shadow_members(spurious(8, 0, 5), 6, seed=0).astype(int)
    assert ["".join(map(str, row)) for row in rows] == [
        "11110000",
        "00001111",
        "10011001",
        "01100110",
        "10011010",
        "01100101",
    ]


@pytest.mark.parametrize(("n", "k"), [(5, 2), (4, 0)])
def test_what_cannot_be_halved_is_refused(n: int, k: int) -> None:
    with pytest.raises(InputError):
        draw_shadow_members(spurious(n), k, 0)
