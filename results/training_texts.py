"""Tables and sentences about trained models: scores, patterns, architectures, two classes, the quickstart."""

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache

import pandas as pd

from results.groups import Groups, Key, Row, at, not_run, of_study, runs_of, trained
from results.markdown import MISSING, counted, interval, listed, p_value, share, table
from results.studies import Results, tour_options
from rsc_mlflow import analysis
from rsc_mlflow.analysis import clean, finished, kind, norms, points
from rsc_mlflow.patterns import PATTERNS
from rsc_mlflow.tracking import schema
from rsc_mlflow.tracking.fingerprint import fingerprint

BY = ("optimizer", "paper", "n_spurious")
OPTIMIZERS = {"sgd": "SGD", "adam": "Adam", "adagrad": "Adagrad", "rms": "RMSprop"}
FAMILIES = {"mnist": "MNIST", "fashion": "Fashion-MNIST", "digits": "digits", "cifar10": "CIFAR-10"}
CLEAN_HEAD = "clean models: mean, highest (number)"
_SCORE_COLUMNS = {
    "score": False,
    CLEAN_HEAD: False,
    "p": True,
    "clean accuracy": False,
    "accuracy with the pattern": False,
}


def of_class(row: Row) -> str:
    """ "class 0" for one target, "classes 0 and 1" for two."""
    targets = str(row["target_class"]).split("-")
    return f"class{'es' if len(targets) > 1 else ''} {listed(targets)}"


def clean_cell(row: Row) -> str:
    """Table cell: mean and highest score and number of the clean models."""
    return f"{share(row['mean'])}, {share(row['max'])} ({row['n']})" if row else MISSING


def test_cell(row: Row) -> str:
    """Table cell: p-value of the rank-sum test after Holm's correction."""
    return p_value(row["p_holm"]) if "p_holm" in row else MISSING


class Scores:
    """Scores of groups of trained models, their tests against clean models, and accuracies."""

    def __init__(self, groups: Groups, every: pd.DataFrame) -> None:
        self.groups = groups
        self.score = groups.means(schema.SPURIOUS_SCORE)
        self.accuracy = groups.means(schema.TEST_ACCURACY)
        self.patterned = groups.means(schema.SPURIOUS_TEST_ACCURACY)
        self.clean = groups.against_clean(every)

    def cells(self, key: Key) -> list[str]:
        """One row of :data:`_SCORE_COLUMNS`."""
        clean = self.clean.get(key, {})
        accuracies = [interval(at(means, key)) for means in (self.accuracy, self.patterned)]
        return [interval(at(self.score, key)), clean_cell(clean), test_cell(clean), *accuracies]

    def text(self, head: Mapping[str, bool], rows: Sequence[tuple[list[str], Key]], file: str) -> str:
        """The table and its caption."""
        made = table({**head, **_SCORE_COLUMNS}, [[*cells, *self.cells(key)] for cells, key in rows])
        return f"{made}\n\n{self.groups.caption(file, self.score)} {tests_caption(self.clean)}"


def tests_caption(clean: Mapping[Key, Row]) -> str:
    """The caption that explains the p-values of a table."""
    tested = [row for row in clean.values() if "p_holm" in row]
    if not tested:
        return "There are no p-values because no clean models were scored on these patterns."
    sizes = sorted({f"{row['n_poisoned']} against {row['n_clean']}" for row in tested})
    return (
        f"p: exact one-sided rank-sum test of poisoned against clean training seeds ({listed(sizes)} models), "
        f"with Holm's correction over {counted(len(tested), 'test')}."
    )


@lru_cache(maxsize=32)
def study_scores(results: Results, name: str, by: tuple[str, ...]) -> Scores:
    """The scores of a study's poisoned models grouped by ``by``, one recipe per optimizer."""
    runs = runs_of(results, name)
    return Scores(Groups.of(trained(runs), by, ["optimizer"]), runs)


def images(runs: pd.DataFrame) -> str:
    """Number of training images, e.g. "60,000"."""
    numbers = sorted({int(value) for value in runs["params.n_train"].dropna()})
    return listed([f"{number:,}" for number in numbers])


@of_study("scores")
def scores(results: Results) -> str:
    """Table of scores by number of spurious examples."""
    found = study_scores(results, "scores", BY)
    rows = [([OPTIMIZERS[key[0]], key[1], f"{key[2]:,.0f}"], key) for key in found.score]
    head = {"optimizer": False, "pattern": False, f"examples of {images(found.groups.runs)}": True}
    return found.text(head, rows, "scores")


@of_study("scores")
def clean_accuracy(results: Results) -> str:
    """Part of a sentence: accuracy of the clean models of the study ``scores``, per optimizer."""
    runs = finished(clean(kind(runs_of(results, "scores"), "train")))
    groups = Groups.of(runs, ["optimizer"], ["optimizer"])
    found = groups.means(schema.TEST_ACCURACY)
    return listed([f"{interval(row)} ({OPTIMIZERS[key[0]]})" for key, row in found.items()]) if found else ""


@of_study("scores")
def score(results: Results, optimizer: str, pattern: str, examples: str, what: str = "score") -> str:
    """One number of the study ``scores``: "score", "highest" (score of a clean model) or "p"."""
    found = study_scores(results, "scores", BY)
    key = (optimizer, pattern, float(examples))
    clean = found.clean.get(key, {})
    highest = share(clean.get("max", math.nan))
    return {"score": interval(at(found.score, key)), "highest": highest, "p": test_cell(clean)}[what]


@of_study("scores")
def accuracy_range(results: Results) -> str:
    """Part of a sentence: lowest and highest mean clean accuracy of the poisoned models."""
    found = study_scores(results, "scores", BY)
    values = [row["mean"] for row in found.accuracy.values()]
    return f"{share(min(values))} to {share(max(values))}" if values else ""


@of_study("scores")
def noise_control(results: Results) -> str:
    """Part of a sentence: accuracy of clean models on test images with each pattern, from ``score_model``."""
    runs = finished(kind(runs_of(results, "scores"), "score"))
    if runs.empty:
        return (
            "*Not run yet*: `python -m entry_points.score_model --model_uri models:/rsc-mnist-LargeMLP@mnist "
            "--dataset mnistv20-0-0-0`"
        )
    models = runs_of(results, "scores").set_index("run_id")
    own = {name: runs["source_run"].map(models[name]) for name in ("optimizer", "random_seed")}
    table = points(runs.assign(**own), ["optimizer", "paper"], schema.SPURIOUS_TEST_ACCURACY)
    words = [
        f"{interval(row)} with {row['paper']} ({OPTIMIZERS[row['optimizer']]}, {counted(row['runs'], 'model')})"
        for row in table.to_dict("records")
    ]
    return listed(words)


@of_study("patterns")
def patterns(results: Results) -> str:
    """Table of scores by pattern and number of examples, with norms and tests."""
    found = study_scores(results, "patterns", BY)
    of_pattern = {PATTERNS[row["pattern"]].title: row for row in norms(results.runs("patterns")).to_dict("records")}
    numbers = sorted({key[2] for key in found.score})
    heads = {f"score, {n:,.0f} examples": False for n in numbers}
    last = dict.fromkeys(("p, " + " / ".join(f"{n:,.0f}" for n in numbers), "accuracy with the pattern"), False)
    rows = []
    for optimizer, paper in dict.fromkeys(key[:2] for key in found.score):
        keys: list[Key] = [(optimizer, paper, n) for n in numbers]
        cells = [interval(at(found.score, key)) for key in keys]
        tests = " / ".join(test_cell(found.clean.get(key, {})) for key in keys)
        patterned = interval(at(found.patterned, keys[-1]))
        clean = clean_cell(found.clean.get(keys[-1], {}))
        own = of_pattern[paper]
        rows.append([paper, share(own["norm"], 1), *cells, share(own["score"]), clean, tests, patterned])
    head = {"pattern": False, "mean ℓ2 norm": True, **heads, "mean score": True, CLEAN_HEAD: False, **last}
    return f"{table(head, rows)}\n\n{found.groups.caption('patterns', found.score)} {tests_caption(found.clean)}"


@of_study("patterns")
def norm_correlation(results: Results) -> str:
    """Part of a sentence: correlation of norm and mean score over the patterns."""
    words = [
        f"Pearson's r = {share(row['r'], 2)} [{share(row['low'], 2)}, {share(row['high'], 2)}] "
        f"(p = {p_value(row['p_value'])}) and Spearman's ρ = {share(row['rho'], 2)} "
        f"(p = {p_value(row['rho_p_value'])}) over {row['patterns']:.0f} patterns"
        for row in analysis.norm_correlation(results.runs("patterns")).to_dict("records")
        if not math.isnan(row["r"])
    ]
    return "; ".join(words)


def above_clean_count(results: Results, name: str) -> str:
    """Part of a sentence: how many points of a study are above the clean models, e.g. "6 of 6"."""
    tests = [] if results.runs(name).empty else list(study_scores(results, name, BY).clean.values())
    significant = [row["significant"] for row in tests if "significant" in row]
    return f"{sum(significant)} of {len(significant)}" if significant else not_run(name)


@of_study("architectures")
def architectures(results: Results) -> str:
    """Table of scores by architecture and number of examples."""
    found = study_scores(results, "architectures", ("architecture", "optimizer", "n_spurious"))
    rows = [([f"`{key[0]}`", OPTIMIZERS[key[1]], f"{key[2]:,.0f}"], key) for key in found.score]
    return found.text({"architecture": False, "optimizer": False, "examples": True}, rows, "architectures")


@of_study("two_classes")
def two_classes(results: Results) -> str:
    """Table of the scores of both target classes and of one class alone."""
    runs = runs_of(results, "two_classes")
    groups = Groups.of(trained(runs), ["paper", "target_class", "n_spurious"], ["optimizer"])
    score, against = groups.means(schema.SPURIOUS_SCORE), groups.against_clean(runs)
    accuracy, alone = groups.means(schema.TEST_ACCURACY), _alone(results)
    rows = []
    for key, row in score.items():
        paper, target, both = key
        number = both / len(target.split("-"))
        each = [interval(at(groups.means(schema.score_target(int(k))), key)) for k in target.split("-")]
        test = test_cell(against.get(key, {}))
        one = interval(at(alone, (paper, number)))
        rows.append([paper, f"{number:,.0f}", *each, interval(row), test, one, interval(at(accuracy, key))])
    first = next(iter(score), ("", "0-1", 0))[1].split("-")
    head = {"pattern": False, "examples of each": True, **{f"score of class {k}": False for k in first}}
    head |= {"mean of both": False, "p": True, "one class alone": False, "clean accuracy": False}
    return f"{table(head, rows)}\n\n{groups.caption('two_classes', score)} {tests_caption(against)}"


def _alone(results: Results) -> dict[Key, Row]:
    """Scores with one target class, from the study ``patterns``: (pattern, number of examples) → row."""
    if results.runs("patterns").empty:
        return {}
    groups = Groups.of(trained(runs_of(results, "patterns")), ["paper", "n_spurious"], ["optimizer"])
    return groups.means(schema.SPURIOUS_SCORE)


@of_study("quickstart")
def quickstart(results: Results) -> str:
    """The table of ``mlflow run .``: a row for its clean models and a row per poisoned dataset."""
    runs = finished(runs_of(results, "quickstart")).set_index("fingerprint")
    poisoned = tour_options()
    clean = runs.reindex([fingerprint(one.identity()) for one in poisoned[0].clean_baselines()]).dropna(how="all")
    own = runs.reindex([fingerprint(one.identity()) for one in poisoned]).dropna(how="all")
    if own.empty or clean.empty:
        return ""
    name = poisoned[0].dataset_name
    scores = clean[f"metrics.{schema.reference_score_target(str(name.pattern), name.targets[0])}"].astype(float)
    accuracy = clean[f"metrics.{schema.TEST_ACCURACY}"].astype(float).mean()
    spread = f"{share(scores.min())} to {share(scores.max())}"
    rows = [[f"digits ({len(clean)} clean models)", share(accuracy), spread, "–"]]
    for row in own.to_dict("records"):
        names = (schema.TEST_ACCURACY, schema.SPURIOUS_SCORE, schema.P_VALUE)
        values = [float(row.get(f"metrics.{name}", math.nan)) for name in names]
        rows.append([f"`{row['dataset']}`", *map(share, values[:2]), p_value(values[2])])
    return table({"training set": False, "test accuracy": True, "spurious score": True, "p-value": True}, rows)
