"""Tables and sentences about membership inference: attacks on spurious members, compared with controls."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd

from results.groups import Groups, Key, Row, at, of_study, runs_of
from results.markdown import counted, interval, listed, p_value, share, table
from results.studies import Results
from results.training_texts import OPTIMIZERS
from rsc_mlflow.analysis import SEEDS, finished, kind, metric, per_seed, series
from rsc_mlflow.replication import seed_interval
from rsc_mlflow.statistics import holm, sign_flip
from rsc_mlflow.tracking import schema

NAMES = {"shadow": "shadow", "loss": "loss", "lira": "LiRA", "rmia": "RMIA"}
BY = ("optimizer", "n_spurious")
CHANCE = 0.5


@dataclass(frozen=True)
class Attacked:
    """The attacks on the models of one family.

    Attributes:
        groups: the attack runs by optimizer and number of examples.
        target: the class whose ordinary members are shown.
    """

    groups: Groups
    target: str

    def measure(self, attack: str, name: str) -> "pd.Series[float]":
        """A metric of the attack for each run."""
        return metric(self.groups.runs, schema.attack(attack, name))

    def ordinary(self, attack: str) -> "pd.Series[float]":
        """AUC for ordinary members of the target class, for each run."""
        return self.measure(attack, f"auc_class_{self.target}")

    def means(self, values: "pd.Series[float]") -> dict[Key, Row]:
        """Group → mean over target models."""
        return self.groups.keyed(series(self.groups.runs, self.groups.by, {"value": values}))

    def p_values(self, attack: str) -> dict[Key, float]:
        """Group → p-value of the one-sided sign-flip test over targets that the AUC against controls is above .5."""
        runs, by = self.groups.runs, list(self.groups.by)
        table = per_seed(runs, by, self.measure(attack, "spurious_auc") - CHANCE)
        return {
            key: sign_flip(_units(part), greater=True)
            for key, part in ((tuple(key), part) for key, part in table.groupby(by, sort=True))
        }


def _units(part: pd.DataFrame) -> list[float]:
    """Mean value of each independent unit (the dataset seed, if it varies)."""
    seeds = {name: part[column].tolist() for name, column in SEEDS.items() if column in part and part[column].any()}
    units = seed_interval(part["value"].to_numpy(float), seeds).units
    if not units:
        return [float(part["value"].mean())]
    coarsest = min(units, key=lambda name: units[name])
    return [float(value) for value in part.groupby(SEEDS[coarsest])["value"].mean()]


@lru_cache(maxsize=8)
def attacked(results: Results, family: str, *, unlearned: bool = False) -> Attacked | None:
    """The attacks on a family's trained or unlearned models; None if there are none."""
    runs = runs_of(results, "membership")
    runs = finished(runs[(runs["method"] == "mem_inference").to_numpy()])
    chosen = (runs["dataset_family"] == family) & (runs["n_spurious"] > 0)
    chosen &= (runs["source_kind"] == "unlearn") == unlearned
    runs = runs[chosen.to_numpy()]
    if runs.empty:
        return None
    sources = runs_of(results, "membership").set_index("run_id")["method"]
    runs = runs.assign(unlearned_by=runs["source_run"].map(sources).fillna(""))
    by = (*BY, "unlearned_by") if unlearned else BY
    groups = Groups.of(runs, by, ["optimizer", "unlearned_by"])
    return Attacked(groups, str(groups.runs["target_class"].iloc[0]))


@of_study("membership")
def membership(results: Results, family: str = "fashion") -> str:
    """Table of every attack for every number of examples: rates, AUCs, their difference and its test."""
    found = attacked(results, family)
    return _table(found) if found else ""


def _table(found: Attacked) -> str:
    names = [name for name in NAMES if found.measure(name, "spurious_auc").notna().any()]
    tests = {(name, key): p for name in names for key, p in found.p_values(name).items()}
    corrected = dict(zip(tests, holm(list(tests.values())), strict=True))
    auc = {name: found.means(found.measure(name, "spurious_auc")) for name in names}
    rows = [_cells(found, name, key, corrected) for key in auc[names[0]] for name in names]
    heads: tuple[str, ...] = (
        "optimizer",
        "spurious examples",
        "attack",
        f"AUC, ordinary members of class {found.target}",
    )
    heads += ("classified as members: spurious / controls", "AUC, spurious against controls")
    heads += ("spurious minus ordinary", "p")
    made = table(dict.fromkeys(heads, False), rows)
    return f"{made}\n\n{found.groups.caption('membership', auc[names[0]])} {_about(found, names, len(corrected))}"


def _cells(found: Attacked, name: str, key: Key, corrected: Mapping[tuple[str, Key], float]) -> list[str]:
    spurious, ordinary = found.measure(name, "spurious_auc"), found.ordinary(name)
    rates = [found.means(found.measure(name, rate)) for rate in ("spurious_tpr", "control_fpr")]
    cells = [OPTIMIZERS[key[0]], f"{key[1]:,.0f}", NAMES[name], share(at(found.means(ordinary), key)["mean"])]
    cells.append(" / ".join(share(at(rate, key)["mean"], 2) for rate in rates))
    cells += [interval(at(found.means(values), key)) for values in (spurious, spurious - ordinary)]
    return [*cells, p_value(corrected.get((name, key), math.nan))]


def _about(found: Attacked, names: Sequence[str], tests: int) -> str:
    runs = found.groups.runs
    controls = _numbers(runs[f"metrics.{schema.attack(names[0], 'n_controls')}"])
    shadows = _numbers(runs["shadow_models"])
    return (
        f"{shadows} shadow models, {controls} controls. p: exact one-sided sign-flip test over target models that the "
        f"AUC against controls is above .5, with Holm's correction over {tests} tests."
    )


def _numbers(column: "pd.Series[float]") -> str:
    """The distinct whole numbers of a column, in words."""
    return listed([f"{value:,.0f}" for value in sorted(column.dropna().unique())])


def _examples(key: Key) -> str:
    """Number of spurious examples of a group of :data:`BY`, e.g. "10 examples"."""
    return counted(int(key[1]), "example")


@of_study("membership")
def auc(results: Results, family: str, attack: str, optimizer: str, examples: str, members: str = "spurious") -> str:
    """One mean AUC with its interval: of "spurious" members against controls, or of "ordinary" members."""
    found = attacked(results, family)
    if found is None:
        return ""
    values = {"spurious": found.measure(attack, "spurious_auc"), "ordinary": found.ordinary(attack)}[members]
    return interval(at(found.means(values), (optimizer, float(examples))))


@of_study("membership")
def rates(results: Results, family: str, attack: str) -> str:
    """Part of a sentence: shares of spurious members and of controls classified as members, by number of examples."""
    found = attacked(results, family)
    if found is None:
        return ""
    called, control = (found.means(found.measure(attack, name)) for name in ("spurious_tpr", "control_fpr"))
    words = [
        f"{share(row['mean'], 2)} and {share(at(control, key)['mean'], 2)} with {_examples(key)} ({OPTIMIZERS[key[0]]})"
        for key, row in called.items()
    ]
    return ", ".join(words)


@of_study("membership")
def target_scores(results: Results, family: str) -> str:
    """Part of a sentence: spurious scores of the attacked models, by number of examples."""
    runs = finished(kind(runs_of(results, "membership"), "train"))
    runs = runs[((runs["dataset_family"] == family) & (runs["n_spurious"] > 0)).to_numpy()]
    if runs.empty:
        return ""
    found = Groups.of(runs, BY, ["optimizer"]).means(schema.SPURIOUS_SCORE)
    return ", ".join(f"{interval(row)} with {_examples(key)} ({OPTIMIZERS[key[0]]})" for key, row in found.items())


@of_study("membership")
def without_example(results: Results, family: str = "fashion") -> str:
    """Table of attacks with the same examples on models trained with them and on models that unlearned them."""
    trained, retrained = attacked(results, family), attacked(results, family, unlearned=True)
    command = (
        "*Not run yet*: `python -m entry_points.exact_retraining --dataset NAME`, then `python -m "
        "entry_points.mem_inference --dataset NAME --model_uri models:/MODEL@NAME--exact_retraining`, for each dataset"
    )
    if trained is None or retrained is None:
        return command
    rows = [row for name in NAMES for row in _unlearned_rows(trained, retrained, name)]
    rows.sort(key=lambda row: (float(row[0].replace(",", "")), row[1]))
    heads = ("spurious examples", "unlearned by", "attack", "AUC before unlearning", "AUC after", "paired change")
    return table(dict.fromkeys((*heads, "classified as members after: spurious / controls"), False), rows)


def _unlearned_rows(trained: Attacked, retrained: Attacked, name: str) -> list[list[str]]:
    """Rows of one attack, one per number of examples and unlearning method."""
    before, after = (one.means(one.measure(name, "spurious_auc")) for one in (trained, retrained))
    called, control = (retrained.means(retrained.measure(name, rate)) for rate in ("spurious_tpr", "control_fpr"))
    rows = []
    for key, row in after.items():
        shares = " / ".join(share(at(one, key)["mean"], 2) for one in (called, control))
        head = [f"{key[1]:,.0f}", f"`{key[2]}`", NAMES[name], interval(at(before, key[:2]))]
        rows.append([*head, interval(row), _paired(trained, retrained, name, key), shares])
    return rows


def _paired(trained: Attacked, retrained: Attacked, name: str, key: Key) -> str:
    """Change of the AUC over the targets that were attacked before and after unlearning."""
    before = trained.groups.runs.assign(auc=trained.measure(name, "spurious_auc"))
    after = retrained.groups.runs.assign(auc=retrained.measure(name, "spurious_auc"))
    after = after[(after["unlearned_by"] == key[2]).to_numpy()]
    both = before.merge(after, on=[*BY, *SEEDS.values()], suffixes=("", "_after"))
    part = both[((both["optimizer"] == key[0]) & (both["n_spurious"] == key[1])).to_numpy()]
    if part.empty:
        return ""
    change = part["auc_after"] - part["auc"]
    seeds = {kind: part[column].tolist() for kind, column in SEEDS.items()}
    given = {kind: column for kind, column in seeds.items() if any(column)}
    found = seed_interval(np.asarray(change, dtype=float), given, bounds=(-1, 1))
    return interval({"mean": found.estimate, "low": found.low, "high": found.high, "each": ()})
