"""The names people type for datasets and models, as values.

``DatasetName`` and ``ModelName`` are parsed from and printed as the names of the paper's code, e.g.
``mnistv20-3-0-0`` and ``aug01-ce-tor-altResNet20Norm02``.  Every other module takes these values; no
other module looks inside a name.
"""

import re
from dataclasses import dataclass
from typing import Self

from rsc_mlflow.architectures import ARCHITECTURES
from rsc_mlflow.errors import InputError
from rsc_mlflow.families import FAMILIES
from rsc_mlflow.patterns import PATTERNS, Pattern

ONE_CLASS, TWO_CLASSES, QUARTERS = "one class", "two classes", "quarters"
"""Forms of a dataset's name: the pattern sits in one class (or nowhere) or in two; the quarters of attacks."""

MAX_SEED = 2**32 - 1
"""Largest seed that ``numpy.random.RandomState`` takes; counts go as far."""

LOSSES = ("ce", "mse", "kld")
AUGMENTATIONS = ("aug01", "aug02", "aug03")

_NUMBER = r"(?:0|[1-9][0-9]{0,9})"  # as many digits as MAX_SEED has
_DATASET = re.compile(rf"(?P<form>mem|twoclass)?(?P<stem>[a-z][a-z0-9]*)(?P<numbers>(?:-{_NUMBER})*)")


def dataset_forms() -> str:
    """The accepted forms of a dataset's name, with the families and patterns there are now."""
    return (
        "FAMILY, FAMILYPATTERN-COUNT-TARGET-SEED, twoclassFAMILYPATTERN-COUNT-TARGET1-TARGET2-SEED, "
        "memFAMILY or memFAMILYPATTERN-COUNT-TARGET-SEED, "
        f"with FAMILY one of {', '.join(FAMILIES)} and PATTERN one of {', '.join(PATTERNS)}; "
        "for example mnist, mnistv20-3-0-0"
    )


@dataclass(frozen=True)
class DatasetName:
    """A dataset and, unless clean, which pattern sits on how many examples of which class(es).

    ``targets`` is empty for a clean set, holds one class for the usual form and two for ``twoclass…``.
    ``count`` is the number of spurious examples *per target class*.  ``quarters`` marks the ``mem…`` form.
    """

    family: str
    pattern: str | None = None
    count: int = 0
    targets: tuple[int, ...] = ()
    seed: int = 0
    quarters: bool = False

    def __post_init__(self) -> None:
        clean_only = FAMILIES[self.family].clean_only
        if self.pattern is None:
            if self.count or self.targets or self.seed:
                raise InputError(f"the clean dataset {self.family!r} takes no count, target or seed")
        elif not clean_only:
            self._check_pattern(PATTERNS[self.pattern])
        if clean_only and (self.quarters or self.pattern):
            raise InputError(f"{self.family!r} has the clean form only; accepted: {self.family}")

    def _check_pattern(self, pattern: Pattern) -> None:
        if len(self.targets) not in (1, 2) or (self.quarters and len(self.targets) != 1):
            raise InputError(f"a pattern needs one target class (two for twoclass…); got {self.targets}")
        for what, number in (("count", self.count), ("seed", self.seed)):
            if not 0 <= number <= MAX_SEED:
                raise InputError(f"{what} {number} is out of range; accepted: 0 to {MAX_SEED}")
        if len(set(self.targets)) != len(self.targets):
            raise InputError(f"the two target classes must differ; got {self.targets[0]} twice")
        classes = self.classes
        for target in self.targets:
            if not 0 <= target < classes:
                raise InputError(
                    f"target class {target} is out of range for {self.family}: accepted 0 to {classes - 1}"
                )

    @classmethod
    def parse(cls, text: str) -> Self:
        """The value a name stands for.

        Raises:
            InputError: the text is not a valid dataset name, or names a class that the family does not have.
        """
        match = _DATASET.fullmatch(text)
        if match is None:
            raise InputError(_what_is_wrong(text))
        numbers = [int(part) for part in match["numbers"].split("-")[1:]]
        quarters, two = match["form"] == "mem", match["form"] == "twoclass"
        if not numbers and not two and match["stem"] in FAMILIES:
            return cls(match["stem"], quarters=quarters)
        parts = _family_and_pattern(match["stem"])
        if parts is None or len(numbers) != 3 + two:
            raise InputError(_what_is_wrong(text))
        return cls(*parts, numbers[0], tuple(numbers[1:-1]), numbers[-1], quarters)

    def __str__(self) -> str:
        prefix = "mem" if self.quarters else "twoclass" if len(self.targets) == 2 else ""
        if self.pattern is None:
            return prefix + self.family
        numbers = (self.count, *self.targets, self.seed)
        return f"{prefix}{self.family}{self.pattern}-" + "-".join(map(str, numbers))

    @property
    def classes(self) -> int:
        """Number of classes."""
        return FAMILIES[self.family].classes

    @property
    def n_spurious(self) -> int:
        """Number of training examples that carry the pattern, over all target classes."""
        return self.count * len(self.targets)

    @property
    def target(self) -> int | None:
        """The (first) target class; None for a clean set."""
        return self.targets[0] if self.targets else None

    def clean(self) -> "DatasetName":
        """The same family (and quarters) without a pattern."""
        return DatasetName(self.family, quarters=self.quarters)


def _family_and_pattern(stem: str) -> tuple[str, str] | None:
    """A family's and a pattern's name that make up the text; the rules for names allow one way at most.

    Registered patterns are tried first, since listing the others looks into folders.
    """
    for patterns in (PATTERNS.registered(), PATTERNS):
        for pattern in filter(stem.endswith, patterns):
            if (family := stem.removesuffix(pattern)) in FAMILIES:
                return family, pattern
    return None


def _what_is_wrong(text: str) -> str:
    """Why a text is no dataset name: the first part that is unknown, else the accepted forms."""
    match = _DATASET.fullmatch(text)
    if match is None or match["stem"] in FAMILIES or _family_and_pattern(match["stem"]):
        return f"{text!r} is not a valid dataset name; accepted forms: {dataset_forms()}"
    stem = match["stem"]
    pattern = next(filter(stem.endswith, PATTERNS), "")
    family = max(filter(stem.startswith, FAMILIES), key=len, default="")
    if match["numbers"] and family and not pattern:
        return f"{PATTERNS.unknown(stem.removeprefix(family))}; in {text!r}"
    return f"{FAMILIES.unknown(stem.removesuffix(pattern))}; in {text!r}"


@dataclass(frozen=True)
class ModelName:
    """An architecture with the loss and the training augmentation that its name carries."""

    architecture: str
    loss: str = "ce"
    augmentation: str | None = None

    def __post_init__(self) -> None:
        ARCHITECTURES[self.architecture]  # refuses an unknown one
        for value, accepted, what in (
            (self.loss, LOSSES, "loss"),
            (self.augmentation, (None, *AUGMENTATIONS), "augmentation"),
        ):
            if value not in accepted:
                raise InputError(f"unknown {what} {value!r}; accepted: {', '.join(a for a in accepted if a)}")

    @classmethod
    def parse(cls, text: str) -> Self:
        """The value that ``[{augmentation}-]{loss}-tor-{architecture}`` stands for.

        Raises:
            InputError: the text has another form, or one of its parts is unknown.
        """
        parts = text.split("-")
        if len(parts) == 3 and parts[1] == "tor":
            return cls(parts[2], parts[0])
        if len(parts) == 4 and parts[2] == "tor":
            return cls(parts[3], parts[1], parts[0])
        raise InputError(
            f"{text!r} is not a valid model name; accepted form: [AUGMENTATION-]LOSS-tor-ARCHITECTURE, "
            f"with ARCHITECTURE one of {', '.join(ARCHITECTURES)}; for example ce-tor-LargeMLP"
        )

    def __str__(self) -> str:
        prefix = f"{self.augmentation}-" if self.augmentation else ""
        return f"{prefix}{self.loss}-tor-{self.architecture}"


def classes_of(family: str) -> int | None:
    """Number of classes of a stored run's family; None where it is not known here, or its folder cannot be used."""
    try:
        return FAMILIES[family].classes
    except InputError:
        return None


def form_of(dataset: str) -> str:
    """The form of a dataset's name, whatever else is wrong with it: ``ONE_CLASS``, ``TWO_CLASSES`` or ``QUARTERS``."""
    return TWO_CLASSES if dataset.startswith("twoclass") else QUARTERS if dataset.startswith("mem") else ONE_CLASS


def device_name(name: str) -> str:
    """``name``, if it is one that some machine could have.

    Raises:
        InputError: it is not.
    """
    kind, _, index = name.partition(":")
    known = name in ("auto", "cpu", "cuda") or (kind == "cuda" and index.isascii() and index.isdecimal())
    if not known or len(index) > 4:
        raise InputError(f"unknown device {name!r}; accepted: auto, cpu, cuda, cuda:INDEX")
    return name
