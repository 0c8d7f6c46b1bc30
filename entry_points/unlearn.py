"""Unlearn with any registered method: ``mlflow run . -e unlearn -P method=NAME -P model_uri=models:/NAME@ALIAS``."""

from entry_points.command import main
from entry_points.generic import GENERIC

if __name__ == "__main__":
    main(next(one.command() for one in GENERIC if one.name == "unlearn"))
