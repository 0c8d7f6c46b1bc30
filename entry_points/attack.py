"""Run any registered attack: ``mlflow run . -e attack -P method=NAME -P dataset=memfashionv20-100-0-0``."""

from entry_points.command import main
from entry_points.generic import GENERIC

if __name__ == "__main__":
    main(next(one.command() for one in GENERIC if one.name == "attack"))
