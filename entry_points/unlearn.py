"""Unlearn with any method: ``python -m entry_points.unlearn --method exact_retraining --dataset digitsv20-3-0-0``."""

from entry_points.command import main
from entry_points.generic import GENERIC

if __name__ == "__main__":
    main(next(one.command() for one in GENERIC if one.name == "unlearn"))
