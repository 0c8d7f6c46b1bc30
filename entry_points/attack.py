"""Run any registered attack: ``python -m entry_points.attack --method lira --dataset memdigitsv20-5-0-0``."""

from entry_points.command import main
from entry_points.generic import GENERIC

if __name__ == "__main__":
    main(next(one.command() for one in GENERIC if one.name == "attack"))
