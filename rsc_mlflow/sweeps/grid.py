"""Grid files: an entry point, fixed options and axes, which are expanded into combinations of options.

.. code-block:: yaml

    about: Spurious score against the number of spurious examples.
    entry_point: train_classifier
    options: {epochs: 70}
    axes:
      dataset: {family: [mnist], pattern: [v8, v20], count: [0, 3, 10], target: [0], seed: [0, 1, 2]}
      recipe:
        - {optimizer: sgd, momentum: 0.9}
        - {optimizer: adam, momentum: 0}
    exclude:
      - {optimizer: adam, count: 3}

An axis is a list of values of an option, a list of mappings that set several options together (with any name), or the
parts of dataset names.  With ``training_seeds: K`` among these parts, each dataset seed s has its own K training seeds,
``random_seed`` K·s to K·s + K - 1, so that runs of different dataset seeds are independent.  ``blocks`` contains
several sets of options, axes and exclude; the grid is their union.  Count 0 is the clean dataset, which occurs only
once.
"""

import itertools
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from yaml.nodes import MappingNode, Node, SequenceNode

from rsc_mlflow.errors import InputError, invalid_value, unknown_name
from rsc_mlflow.families import FAMILIES
from rsc_mlflow.fields import Options
from rsc_mlflow.names import DatasetName
from rsc_mlflow.patterns import PATTERNS
from rsc_mlflow.sweeps.nodes import YamlFile
from rsc_mlflow.tracking.values import param_text

Combination = dict[str, str]
"""Option names and values as text, in canonical form."""

ABSOLUTE_LIMIT = 1_000_000
"""Maximum number of combinations of a grid, even if confirmed."""
MANAGED = {"resume_run_id": "sweeps resume interrupted runs automatically"}
"""Options that a grid cannot set, and why."""
_FILE_KEYS = ("about", "axes", "blocks", "entry_point", "exclude", "options")
_BLOCK_KEYS = ("axes", "exclude", "options")
_FORMS = ("plain", "mem", "twoclass")
_DATASET_PARTS = ("family", "pattern", "count", "target", "seed")
_TRAINING_SEEDS = "training_seeds"
_MOST_TRAINING_SEEDS = 1000
_WHOLE = re.compile(r"0|[1-9][0-9]{0,8}")


@dataclass(frozen=True)
class Axis:
    """One axis: each value sets one or more options; ``labels`` are the parts of dataset names, for ``exclude``."""

    name: str
    values: tuple[Combination, ...]
    labels: tuple[Combination, ...]


@dataclass(frozen=True)
class Rule:
    """A rule that excludes combinations in which all of these keys have one of these values."""

    values: Mapping[str, frozenset[str]]
    line: int

    def matches(self, known: Mapping[str, str]) -> bool:
        """Return whether a combination, with its labels, is excluded."""
        return all(known.get(key) in accepted for key, accepted in self.values.items())


@dataclass(frozen=True)
class Block:
    """Fixed options, axes and excluded combinations."""

    options: Combination
    axes: tuple[Axis, ...]
    exclude: tuple[Rule, ...]

    @property
    def size(self) -> int:
        """Number of combinations before exclusions."""
        return math.prod(len(axis.values) for axis in self.axes)

    def combinations(self) -> Iterator[Combination]:
        """Yield the combinations that are not excluded; the last axis varies fastest."""
        for _, combination in self._marked(set()):
            yield combination

    def unused_rules(self) -> list[Rule]:
        """Return rules that exclude nothing, which are probably mistakes."""
        used: set[int] = set()
        for _ in self._marked(used):
            pass
        return [rule for i, rule in enumerate(self.exclude) if i not in used]

    def _marked(self, used: set[int]) -> Iterator[tuple[Combination, Combination]]:
        pairs = [list(zip(axis.values, axis.labels, strict=True)) for axis in self.axes]
        for choice in itertools.product(*pairs):
            combination = dict(self.options)
            labels: Combination = {}
            for values, names in choice:
                combination |= values
                labels |= names
            known = {**combination, **labels}
            hits = [i for i, rule in enumerate(self.exclude) if rule.matches(known)]
            used.update(hits)
            if not hits:
                yield labels, combination


@dataclass(frozen=True)
class Grid:
    """A validated grid file."""

    name: str
    about: str
    entry_point: str
    options_class: type[Options]
    blocks: tuple[Block, ...]

    @property
    def size(self) -> int:
        """Number of combinations, including excluded and repeated ones; fast to compute."""
        return sum(block.size for block in self.blocks)

    def options(self) -> Iterator[Options]:
        """Yield the options of every combination, in the order of the file.

        Raises:
            InputError: two options of a combination contradict each other.
        """
        for block in self.blocks:
            for combination in block.combinations():
                try:
                    yield self.options_class.from_mapping(combination)
                except InputError as error:
                    shown = ", ".join(f"{key}={value}" for key, value in combination.items())
                    raise InputError(f"{self.name}: invalid combination {shown}: {error}") from None


def load_grid(path: str | Path, options_of: Callable[[str], type[Options] | None], known: tuple[str, ...]) -> Grid:
    """Return the grid in a file.

    Args:
        path: YAML file.
        options_of: returns the options class of an entry point, None if the name is unknown.
        known: names of the entry points, for messages.

    Raises:
        InputError: the file cannot be read or is invalid; the message has the line and the key.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"Cannot read the grid file {str(path)!r} ({error}). Expected the path of a YAML file."
        ) from None
    except ValueError as error:
        raise InputError(f"{str(path)!r} is not a valid path ({error}).") from None
    return parse_grid(text, path.name, options_of, known)


def parse_grid(
    text: str, source: str, options_of: Callable[[str], type[Options] | None], known: tuple[str, ...]
) -> Grid:
    """Return the grid in a text; ``source`` is the file name for messages (see :func:`load_grid`)."""
    where = YamlFile(source)
    root = where.root(text)
    top = where.mapping(root, "the grid", _FILE_KEYS)
    if "entry_point" not in top:
        raise where.error(root, f"entry_point is missing. Expected one of: {', '.join(known)}.")
    entry_point = where.scalar(top["entry_point"], "entry_point")
    options_class = options_of(entry_point)
    if options_class is None:
        raise where.error(top["entry_point"], unknown_name("entry point", entry_point, sorted(known)))
    about = where.scalar(top["about"], "about") if "about" in top else ""
    reader = _Reader(where, options_class)
    common = reader.options(top["options"]) if "options" in top else {}
    if "blocks" in top:
        for key in ("axes", "exclude"):
            if key in top:
                raise where.error(top[key], f"{key} cannot be used together with blocks. Move it into a block.")
        bodies = [where.mapping(node, "a block", _BLOCK_KEYS) for node in where.items(top["blocks"], "blocks")]
        blocks = tuple(reader.block(body, common) for body in bodies)
    else:
        blocks = (reader.block({key: top[key] for key in ("axes", "exclude") if key in top}, common),)
    grid = Grid(Path(source).stem, about, entry_point, options_class, blocks)
    if grid.size > ABSOLUTE_LIMIT:
        raise InputError(f"{source}: the grid has {grid.size:,} combinations. Expected at most {ABSOLUTE_LIMIT:,}.")
    reader.check_whole(grid, root)
    return grid


class _Reader:
    """Reads the parts of a grid for one entry point."""

    def __init__(self, where: YamlFile, options_class: type[Options]) -> None:
        self._where = where
        self._parsers = {field.name: field.metadata["parse"] for field in fields(options_class)}
        self._required = {
            field.name
            for field in fields(options_class)
            if field.default is field.default_factory  # both MISSING
        }

    def options(self, node: Node) -> Combination:
        """Return a mapping of options to values."""
        found = self._where.mapping(node, "options")
        return {self._option_name(node, key): self._value(key, value) for key, value in found.items()}

    def block(self, body: Mapping[str, Node], common: Combination) -> Block:
        """Return a block; its options override the grid's common options."""
        options = {**common, **(self.options(body["options"]) if "options" in body else {})}
        axes = self._axes(body["axes"]) if "axes" in body else ()
        seen: dict[str, str] = {}
        for axis in axes:
            for key in {key for value in axis.values for key in value}:
                if key in seen:
                    raise self._where.error(
                        body["axes"], f"{key} is set by two axes, {seen[key]!r} and {axis.name!r}. Set it in only one."
                    )
                seen[key] = axis.name
        keys = {**dict.fromkeys(options, ""), **seen}
        labels = {key for axis in axes for label in axis.labels for key in label}
        exclude = self._exclude(body["exclude"], set(keys) | labels) if "exclude" in body else ()
        missing = sorted(self._required - set(keys))
        if missing:
            raise self._where.error(None, f"{missing[0]} is missing. Set it in options or as an axis.")
        return Block(options, axes, exclude)

    def check_whole(self, grid: Grid, root: Node) -> None:
        """Check that every exclude rule matches a combination and that some combinations are left."""
        left = 0
        for block in grid.blocks:
            if block.exclude and (unused := block.unused_rules()):
                raise InputError(
                    f"{self._where.name}, line {unused[0].line}: this exclude rule matches no combination. "
                    "Fix or remove it."
                )
            left += next(iter(block.combinations()), None) is not None
        if not left:
            raise self._where.error(root, "every combination is excluded. Remove an exclude rule.")

    def _axes(self, node: Node) -> tuple[Axis, ...]:
        found = self._where.mapping(node, "axes")
        if not found:
            raise self._where.error(node, "axes is empty. Add at least one axis or remove axes.")
        return tuple(self._axis(node, name, value) for name, value in found.items())

    def _axis(self, parent: Node, name: str, node: Node) -> Axis:
        if name == "dataset" and isinstance(node, MappingNode):
            return self._dataset_axis(node)
        items = self._where.items(node, f"axis {name}")
        if all(isinstance(item, MappingNode) for item in items):
            if name in self._parsers:
                raise self._where.error(node, f"axis {name} takes values of the option {name}. Rename the axis.")
            values = tuple(self.options(item) for item in items)
            self._check_same_keys(name, node, values)
        else:
            self._option_name(parent, name)
            values = tuple({name: self._value(name, item)} for item in items)
        self._check_distinct(name, node, values)
        return Axis(name, values, tuple(self._labels(value) for value in values))

    def _dataset_axis(self, node: MappingNode) -> Axis:
        parts = self._where.mapping(node, "axis dataset", (*_DATASET_PARTS, "form", _TRAINING_SEEDS))
        each = self._training_seeds(node, parts)
        form = self._where.scalar(parts["form"], "form") if "form" in parts else "plain"
        if form not in _FORMS:
            raise self._where.error(parts["form"], str(invalid_value("form", form, f"one of: {', '.join(_FORMS)}")))
        for part in _DATASET_PARTS:
            if part not in parts:
                raise self._where.error(node, f"axis dataset lacks {part}. Expected {', '.join(_DATASET_PARTS)}.")
        lists = {part: self._parts(part, parts[part], form) for part in _DATASET_PARTS}
        found: dict[tuple[str, str], Combination] = {}
        prefix = "" if form == "plain" else form
        for family, pattern, count, target, seed in itertools.product(*(lists[part] for part in _DATASET_PARTS)):
            label = dict(zip(_DATASET_PARTS, (family, pattern, count, target, seed), strict=True))
            if count == "0":  # the clean dataset, without pattern, class or seed
                text, label = ("mem" if form == "mem" else "") + family, {"family": family, "count": "0"}
            else:
                text = f"{prefix}{family}{pattern}-{count}-{target}-{seed}"
            name = self._dataset(parts["family"], text)
            for own in range(each or 1):
                found.setdefault((name, str(int(seed) * each + own) if each else ""), label)
            if len(found) > ABSOLUTE_LIMIT:
                raise self._where.error(node, f"more than {ABSOLUTE_LIMIT:,} datasets. Shorten the lists.")
        values = tuple({"dataset": name} | ({"random_seed": seed} if each else {}) for name, seed in found)
        return Axis("dataset", values, tuple(found.values()))

    def _training_seeds(self, axis: Node, parts: Mapping[str, Node]) -> int:
        """Return the number of training seeds per dataset seed, or 0 if ``training_seeds`` is not used."""
        if _TRAINING_SEEDS not in parts:
            return 0
        text = self._where.scalar(parts[_TRAINING_SEEDS], _TRAINING_SEEDS)
        if "random_seed" not in self._parsers:
            raise self._where.error(axis, f"{_TRAINING_SEEDS} needs an entry point with the option random_seed.")
        if not _WHOLE.fullmatch(text) or not 1 <= int(text) <= _MOST_TRAINING_SEEDS:
            raise self._where.error(
                parts[_TRAINING_SEEDS],
                f"Invalid value for {_TRAINING_SEEDS!r}: {text!r}. "
                f"Expected an integer from 1 to {_MOST_TRAINING_SEEDS}.",
            )
        return int(text)

    def _parts(self, part: str, node: Node, form: str) -> list[str]:
        accepted = {"family": tuple(FAMILIES), "pattern": tuple(PATTERNS)}.get(part)
        found: dict[str, None] = {}
        for item in self._where.items_or_one(node, part):
            text = self._where.scalar(item, part)
            if accepted is not None and text not in accepted:
                raise self._where.error(item, unknown_name(part, text, accepted))
            if accepted is None:
                self._check_number(part, item, text, form)
            if text in found:
                raise self._where.error(item, f"{part} has {text} twice. Write it once.")
            found[text] = None
        return list(found)

    def _check_number(self, part: str, node: Node, text: str, form: str) -> None:
        two = part == "target" and form == "twoclass"
        wanted = "two classes such as 0-1" if two else "integers ≥ 0 without leading zeros"
        pieces = text.split("-") if two else [text]
        if len(pieces) != 1 + two or not all(_WHOLE.fullmatch(piece) for piece in pieces):
            raise self._where.error(node, str(invalid_value(part, text, wanted)))

    def _dataset(self, node: Node, name: str) -> str:
        try:
            return str(DatasetName.parse(name))
        except InputError as error:
            raise self._where.error(node, str(error)) from None

    def _labels(self, values: Combination) -> Combination:
        if "dataset" not in values:
            return {}
        name = DatasetName.parse(values["dataset"])
        if name.pattern is None:
            return {"family": name.family, "count": "0"}
        target = "-".join(map(str, name.targets))
        parts = (name.family, name.pattern, str(name.count), target, str(name.seed))
        return dict(zip(_DATASET_PARTS, parts, strict=True))

    def _exclude(self, node: Node, accepted: set[str]) -> tuple[Rule, ...]:
        rules = []
        for item in self._where.items(node, "exclude"):
            found = self._where.mapping(item, "an exclude rule", accepted)
            if not found:
                raise self._where.error(item, "this exclude rule is empty and would exclude everything.")
            values = {}
            for key, value in found.items():
                nodes = self._where.items_or_one(value, key)
                values[key] = frozenset(self._rule_value(key, one) for one in nodes)
            rules.append(Rule(values, item.start_mark.line + 1))
        return tuple(rules)

    def _rule_value(self, key: str, node: Node) -> str:
        return self._value(key, node) if key in self._parsers else self._where.scalar(node, key)

    def _option_name(self, parent: Node, name: str) -> str:
        place = next(key for key, _ in parent.value if key.value == name)
        if name in MANAGED:
            raise self._where.error(place, f"{name} cannot be set in a grid: {MANAGED[name]}.")
        if name not in self._parsers:
            raise self._where.error(place, unknown_name("option or axis", name, sorted(self._parsers)))
        return name

    def _value(self, name: str, node: Node) -> str:
        if isinstance(node, SequenceNode):
            raise self._where.error(node, f"{name} must be a single value. Use an axis for a list of values.")
        text = self._where.scalar(node, name)
        try:
            return param_text(self._parsers[name](name, text))
        except InputError as error:
            raise self._where.error(node, str(error)) from None

    def _check_same_keys(self, name: str, node: Node, values: tuple[Combination, ...]) -> None:
        for i, value in enumerate(values):
            if set(value) != set(values[0]):
                raise self._where.error(
                    node.value[i],
                    f"axis {name}: every item must set the same options, "
                    f"got {', '.join(sorted(value)) or 'none'} and {', '.join(sorted(values[0])) or 'none'}.",
                )
        if not values[0]:
            raise self._where.error(node, f"axis {name} sets no option.")

    def _check_distinct(self, name: str, node: Node, values: tuple[Combination, ...]) -> None:
        seen: set[tuple[tuple[str, str], ...]] = set()
        for i, value in enumerate(values):
            items = tuple(sorted(value.items()))
            if items in seen:
                raise self._where.error(node.value[i], f"axis {name} has the same value twice. Write it once.")
            seen.add(items)
