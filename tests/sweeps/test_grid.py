"""Grid files: counts by hand, the paper's numbers, and every mistake named with its line."""

import itertools
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rsc_mlflow.errors import InputError
from rsc_mlflow.experiments.options import TrainOptions
from rsc_mlflow.experiments.registry import experiments, options_of
from rsc_mlflow.sweeps import grid as module
from rsc_mlflow.sweeps.grid import Grid, load_grid, parse_grid
from rsc_mlflow.sweeps.plan import make_plan

ROOT = Path(__file__).parents[2]
KNOWN = ("mem_inference", "train_classifier")
BASE = "entry_point: train_classifier\n"
DATASET = "{family: digits, pattern: [v8, v20], count: [0, 3, 10], target: [0, 1], seed: [0, 1, 2]}"


def parse(text: str) -> Grid:
    return parse_grid(text, "a.yaml", options_of, KNOWN)


def datasets(grid: Grid) -> list[str]:
    return [options.dataset for options in grid.options() if isinstance(options, TrainOptions)]


def test_a_dataset_axis_is_the_product_of_its_parts_and_the_clean_set_once() -> None:
    names = datasets(parse(f"{BASE}axes:\n  dataset: {DATASET}\n"))
    assert len(names) == 1 + 2 * 2 * 2 * 3  # clean, patterns × counts × targets × seeds
    assert len(set(names)) == len(names)
    assert names.count("digits") == 1
    assert "digitsv20-10-1-2" in names


def test_forms_of_names() -> None:
    mem = parse(
        f"{BASE}axes:\n  dataset: {{form: mem, family: mnist, pattern: v20, count: [0, 1], target: 0, seed: 0}}"
    )
    assert datasets(mem) == ["memmnist", "memmnistv20-1-0-0"]
    two = "{form: twoclass, family: mnist, pattern: v3, count: [20], target: [0-1], seed: [0]}"
    assert datasets(parse(f"{BASE}axes:\n  dataset: {two}")) == ["twoclassmnistv3-20-0-1-0"]
    assert datasets(parse(f"{BASE}axes: {{dataset: [digits, digitsv1-2-3-4]}}")) == ["digits", "digitsv1-2-3-4"]


def test_axes_multiply_and_linked_options_move_together() -> None:
    grid = parse(
        BASE + "options: {dataset: digits, epochs: 2}\naxes:\n  random_seed: [0, 1, 2]\n"
        "  recipe:\n  - {optimizer: sgd, momentum: 0.9}\n  - {optimizer: adam, momentum: 0}\n"
    )
    found = [(o.random_seed, o.optimizer, o.momentum) for o in grid.options() if isinstance(o, TrainOptions)]
    assert found == [(s, *r) for s in range(3) for r in (("sgd", 0.9), ("adam", 0.0))]
    assert grid.size == 6


def test_values_reach_the_option_as_typed() -> None:
    grid = parse(f"{BASE}options: {{dataset: digits, weight_decay: 1e-5, register: 'false'}}\n")
    (options,) = grid.options()
    assert isinstance(options, TrainOptions)
    assert options.weight_decay == 1e-5  # YAML 1.1 itself takes 1e-5 for a text
    assert options.register is False


def test_exclude_takes_options_and_parts_of_the_data_set() -> None:
    text = f"{BASE}axes:\n  dataset: {DATASET}\n  optimizer: [sgd, adam]\n"
    whole = len(datasets(parse(text)))
    assert whole == 2 * 25
    rule = "exclude:\n- {optimizer: adam, pattern: v8, count: [3, 10]}\n"
    assert len(datasets(parse(text + rule))) == whole - 2 * 2 * 3
    assert len(datasets(parse(text + "exclude:\n- {count: 0}\n"))) == whole - 2
    assert len(datasets(parse(f"{BASE}options: {{dataset: digits}}\naxes: {{learning_rate: [0.1, 0.2]}}\n"
                              "exclude:\n- {learning_rate: 0.10}\n"))) == 1  # fmt: skip


def test_blocks_are_joined_and_share_options() -> None:
    grid = parse(
        BASE + "options: {dataset: digits, epochs: 3}\nblocks:\n- axes: {random_seed: [0, 1]}\n"
        "- options: {epochs: 5}\n  axes: {weight_decay: [0.1]}\n"
    )
    found = [(o.epochs, o.random_seed, o.weight_decay) for o in grid.options() if isinstance(o, TrainOptions)]
    assert found == [(3, 0, 0.0), (3, 1, 0.0), (5, 0, 0.1)]


MISTAKES = {
    "": "must be a mapping",
    "- a": "line 1: the file must be a mapping",
    "axes: {}": "entry_point is missing. Expected one of: mem_inference, train_classifier",
    "entry_point: train": "line 1: Unknown entry point 'train'",
    "entry_point: [train_classifier]": "entry_point must be a single value, got a list",
    BASE + "axis: {}": "line 2: Unknown key of the grid 'axis'. Did you mean 'axes'?",
    BASE + "axes: {}": "line 2: axes is empty",
    BASE + "axes: 3": "line 2: axes must be a mapping",
    BASE + "axes:\n  dataset: digits": "line 3: axis dataset must be a list",
    BASE + "axes:\n  dataset: []": "line 3: axis dataset is empty",
    BASE + "axes:\n  datset: [digits]": "line 3: Unknown option or axis 'datset'. Did you mean 'dataset'?",
    BASE + "axes:\n  epochs: [three]": "line 3: Invalid value for 'epochs': 'three'. Expected an integer from 1",
    BASE + "axes:\n  epochs: [1, 0]": "line 3: Invalid value for 'epochs': '0'",
    BASE + "axes:\n  epochs: [1, 01]": "line 3: axis epochs has the same value twice",
    BASE + "axes:\n  epochs: [1, [2]]": "line 3: epochs must be a single value",
    BASE + "axes:\n  epochs:\n  - {momentum: 0}": "axis epochs takes values of the option epochs",
    BASE + "axes:\n  a:\n  - {momentum: 0}\n  - {epochs: 1}": "line 5: axis a: every item must set the same options",
    BASE + "axes:\n  momentum: [0]\n  a:\n  - {momentum: 0.5}": "momentum is set by two axes, 'momentum' and 'a'",
    BASE + "axes: {epochs: [1]}": "dataset is missing. Set it in options or as an axis",
    BASE + "options:\n  resume_run_id: x": "line 3: resume_run_id cannot be set in a grid",
    BASE + "options: {dataset: digits}\noptions: {epochs: 1}": "line 3: the grid has the key 'options' twice",
    BASE + "options: {dataset: nothing}": "line 2: Invalid value for 'dataset': Unknown dataset family 'nothing'",
    BASE + "options: {dataset: }": "dataset has no value",
    BASE + "options: {dataset: digits, epochs: [1, 2]}": "epochs must be a single value. Use an axis",
    BASE + "options: {dataset: digits, learning_rate: .nan}": "Invalid value for 'learning_rate': '.nan'",
    BASE + "options: {dataset: digits}\nexclude:\n- {epochs: 1}": "line 4: Unknown key of an exclude rule 'epochs'",
    BASE + "options: {dataset: digits}\nexclude:\n- {dataset: mnist}": "line 4: this exclude rule matches",
    BASE + "options: {dataset: digits}\nexclude:\n- {dataset: digits}": "every combination is excluded",
    BASE + f"axes:\n  dataset: {DATASET[:-1]}, form: half}}": "line 3: Invalid value for 'form': 'half'",
    BASE + "axes:\n  a:\n  - {}": "axis a sets no option",
    BASE + "options: {dataset: digits}\nexclude:\n- {}": "this exclude rule is empty",
    BASE + "blocks: []": "blocks is empty",
    BASE + "blocks: [{}]\naxes: {}": "axes cannot be used together with blocks",
    BASE + "axes:\n  dataset: {family: digits}": "axis dataset lacks pattern",
    BASE + f"axes:\n  dataset: {DATASET}".replace("v8", "v9"): "Unknown pattern 'v9'",
    BASE + f"axes:\n  dataset: {DATASET}".replace("digits", "emnist"): "Unknown family 'emnist'",
    BASE + f"axes:\n  dataset: {DATASET}".replace("[0, 3, 10]", "[-1]"): "Invalid value for 'count': '-1'",
    BASE + f"axes:\n  dataset: {DATASET}".replace("[0, 1]", "[10]"): "Target class 10 is out of range for digits",
    BASE + f"axes:\n  dataset: {DATASET}".replace("[0, 3, 10]", "[3, 3]"): "count has 3 twice",
    BASE + "options: &a {dataset: digits}": "line 2: anchors and aliases are not supported",
    BASE + "options: !!python/object/apply:os.system ['true']": "line 2: the tag",
    "a: [": "line 1: not valid YAML",
    "a: " + "[" * 30 + "]" * 30: "line 1: nested too deeply",
    "a: " + "[" * 19 + "]" * 19: "Unknown key of the grid 'a'",
    "a: " + "[" * 20 + "]" * 20: "line 1: nested too deeply. Expected at most 20 levels",
    "[" * 100_000: "line 1: nested too deeply",
    "{" * 100_000: "line 1: nested too deeply",
    "\x00": "not valid YAML",
    "#" * 1_000_001: "the file has 1000001 characters. Expected at most 1000000",
}


@pytest.mark.parametrize("text", MISTAKES, ids=lambda text: repr(text[-40:]))
def test_mistakes_are_named(text: str) -> None:
    with pytest.raises(InputError) as refusal:
        parse(text)
    assert MISTAKES[text] in str(refusal.value)
    assert str(refusal.value).startswith("a.yaml")


def test_a_combination_that_contradicts_itself_is_named() -> None:
    grid = parse("entry_point: mem_inference\naxes: {dataset: [memdigits, digits]}")
    with pytest.raises(InputError, match=r"a: invalid combination dataset=digits: .*mem"):
        list(grid.options())


def test_data_sets_are_not_made_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ABSOLUTE_LIMIT", 25)
    with pytest.raises(InputError, match="line 3: more than 25 datasets"):
        parse(f"{BASE}axes:\n  dataset: {DATASET}".replace("[0, 1, 2]}", "[0, 1, 2, 3]}"))
    assert len(datasets(parse(f"{BASE}axes:\n  dataset: {DATASET}"))) == 25


def test_nothing_in_a_grid_is_run(tmp_path: Path) -> None:
    witness = tmp_path / "witness"
    for tag in ("!!python/object/apply:os.system", "!!python/object/new:os.system", "!!python/name:os.system"):
        with pytest.raises(InputError, match="tag"):
            parse(f"{BASE}options: {tag} ['touch {witness}']\n")
    assert not witness.exists()


def test_millions_of_combinations_are_counted_not_made() -> None:
    values = ", ".join(map(str, range(200)))
    text = f"{BASE}options: {{dataset: digits}}\naxes:\n" + "".join(
        f"  {name}: [{values}]\n" for name in ("random_seed", "pattern_seed", "checkpoint_every", "score_every")
    )
    with pytest.raises(InputError, match=r"1,600,000,000 combinations\. Expected at most 1,000,000"):
        parse(text)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    for name in ("missing.yaml", "binary.yaml", "", "a\x00b"):
        with pytest.raises(InputError):
            load_grid(tmp_path / name, options_of, KNOWN)


WORDS = [
    "entry_point",
    "train_classifier",
    "axes",
    "dataset",
    "digits",
    "family",
    "pattern",
    "v20",
    "count",
    "0",
    "1e-5",
]
WORDS += ["1e-5", "exclude", "blocks", "options"]
SIGNS = ["{", "}", "[", "]", ":", "\n", "  ", "- ", ", ", "&a", "*a", "!!x", "'", '"', "|"]
fragments = st.sampled_from(WORDS + SIGNS)


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(max_size=60), st.lists(fragments, max_size=25).map("".join)))
def test_any_text_is_a_grid_or_an_input_error(text: str) -> None:
    try:
        grid = parse(text)
    except InputError:
        return
    assert grid.size >= 1
    for options in grid.options():
        assert type(options).from_mapping(options.as_params()) == options


@pytest.mark.parametrize(
    "path", sorted((ROOT / "grids").rglob("*.yaml")), ids=lambda path: f"{path.parent.name}/{path.stem}"
)
def test_every_grid_of_the_project_is_valid(path: Path) -> None:
    grid = load_grid(path, options_of, tuple(experiments()))
    assert grid.about
    some = list(itertools.islice(grid.options(), 200))
    plan = make_plan(some, grid.entry_point, experiments())
    assert 0 < len(plan.requested) <= len(some)


COUNTS = {
    # 1 clean set a family, 7 patterns × 7 counts × 2 targets × 5 seeds, 2 families, 2 optimizers
    "paper/scores_mlp.yaml": 2 * 2 * (1 + 7 * 7 * 2 * 5),
    # 1 clean set, 7 patterns × 6 counts × 2 targets × 5 seeds, 2 optimizers
    "paper/scores_cifar10.yaml": 2 * (1 + 7 * 6 * 2 * 5),
    # 1 clean set, 7 patterns × 7 counts × 5 seeds, 2 optimizers
    "paper/two_classes.yaml": 2 * (1 + 7 * 7 * 5),
}


@pytest.mark.parametrize("name", COUNTS)
def test_the_papers_grids_have_the_papers_size(name: str) -> None:
    grid = load_grid(ROOT / "grids" / name, options_of, tuple(experiments()))
    assert len(make_plan(grid.options(), grid.entry_point, experiments()).requested) == COUNTS[name]


def test_each_dataset_seed_has_training_seeds_of_its_own() -> None:
    axis = "{family: digits, pattern: v20, count: [0, 3], target: 0, seed: [0, 4], training_seeds: 2}"
    options = [one.as_params() for one in parse(f"{BASE}axes:\n  dataset: {axis}").options()]
    found = [(one["dataset"], int(one["random_seed"])) for one in options]
    clean = [("digits", seed) for seed in (0, 1, 8, 9)]
    assert found == [*clean, *(("digitsv20-3-0-0", s) for s in (0, 1)), *(("digitsv20-3-0-4", s) for s in (8, 9))]


@pytest.mark.parametrize("bad", ["0", "-1", "1.5", "many", "1001"])
def test_a_bad_number_of_training_seeds_is_refused(bad: str) -> None:
    axis = f"{{family: digits, pattern: v20, count: 3, target: 0, seed: 0, training_seeds: {bad}}}"
    with pytest.raises(InputError, match=f"'training_seeds': '{bad}'. Expected an integer from 1 to 1000"):
        parse(f"{BASE}axes:\n  dataset: {axis}")


def test_the_training_seed_is_set_in_one_place() -> None:
    axis = "{family: digits, pattern: v20, count: 3, target: 0, seed: 0, training_seeds: 2}"
    with pytest.raises(InputError, match="random_seed is set by two axes"):
        parse(f"{BASE}axes:\n  dataset: {axis}\n  random_seed: [0, 1]")
