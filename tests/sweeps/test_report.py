"""What a sweep says while it runs."""

import pytest

from rsc_mlflow.sweeps.report import remaining_seconds, span


@pytest.mark.parametrize(
    ("elapsed", "finished", "running", "left", "seconds"),
    [
        (100.0, 10, 0, 30, 300.0),  # ten seconds a job
        (100.0, 9, 2, 11, 100.0),  # the running two make ten done and ten to do
        (600.0, 2, 18, 48, 600 / 11 * 39),  # a cohort of 18 counts as nine
        (50.0, 0, 2, 10, 0.0),
        (50.0, 10, 0, 0, 0.0),
    ],
)
def test_the_time_left_is_that_of_the_pace_so_far(
    elapsed: float, finished: int, running: int, left: int, seconds: float
) -> None:
    assert remaining_seconds(elapsed, finished, running, left) == pytest.approx(seconds)


def test_spans_read_as_a_person_says_them() -> None:
    assert [span(seconds) for seconds in (5.4, 119.4, 120, 7199, 7200)] == ["5 s", "119 s", "2 min", "120 min", "2.0 h"]
