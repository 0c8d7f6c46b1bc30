"""The names people type for data sets and models, as values.

``DatasetName`` and ``ModelName`` are parsed from and printed as the names of the paper's code, e.g.
``mnistv20-3-0-0`` and ``aug01-ce-tor-altResNet20Norm02``.  Every other module takes these values; no
other module looks inside a name.
"""

import re
from dataclasses import dataclass
from typing import Self

from rsc_mlflow.errors import InputError

CLASSES: dict[str, int] = {
    "digits": 10,
    "mnist": 10,
    "fashion": 10,
    "cifar10": 10,
    "cifar100": 100,
    "cifar100coarse": 20,
}
"""Number of classes of each data-set family."""

CLEAN_ONLY_FAMILIES = ("cifar100", "cifar100coarse")
PATTERNS: dict[str, str] = {
    "v1": "S1",
    "v3": "S2",
    "v8": "S3",
    "v18": "R1",
    "v19": "R2",
    "v20": "R3",
    "v30": "Co",
}
"""Pattern name → the paper's short name."""

ONE_CLASS, TWO_CLASSES, QUARTERS = "one class", "two classes", "quarters"
"""Forms of a data set's name: the pattern sits in one class (or nowhere) or in two; the quarters of attacks."""

ARCHITECTURES = (
    "MLP",
    "MLPv2",
    "LargeMLP",
    "LargeMLPv2",
    "VggMLP",
    "CNN002",
    "altResNet20",
    "altResNet32",
    "altResNet110",
    "altResNet20Norm02",
    "altResNet32Norm02",
    "altResNet110Norm02",
    "Vgg16",
    "Vgg16Norm02",
    "ResNet18",
    "ResNet18Norm02",
    "ResNet50",
    "ResNet50Norm02",
)
MAX_SEED = 2**32 - 1
"""Largest seed that ``numpy.random.RandomState`` takes; counts go as far."""

LOSSES = ("ce",)
AUGMENTATIONS = ("aug01",)

_FAMILY = "|".join(sorted(CLASSES, key=len, reverse=True))
_PATTERN = "|".join(sorted(PATTERNS, key=len, reverse=True))
_NUMBER = r"(?:0|[1-9][0-9]{0,9})"  # as many digits as MAX_SEED has
_CLEAN = re.compile(rf"(?P<mem>mem)?(?P<family>{_FAMILY})")
_ONE_CLASS = re.compile(
    rf"(?P<mem>mem)?(?P<family>{_FAMILY})(?P<pattern>{_PATTERN})"
    rf"-(?P<count>{_NUMBER})-(?P<target>{_NUMBER})-(?P<seed>{_NUMBER})"
)
_TWO_CLASS = re.compile(
    rf"twoclass(?P<family>{_FAMILY})(?P<pattern>{_PATTERN})"
    rf"-(?P<count>{_NUMBER})-(?P<target>{_NUMBER})-(?P<target2>{_NUMBER})-(?P<seed>{_NUMBER})"
)
_ANY_PATTERN = re.compile(r"(?:mem|twoclass)?(?P<family>[a-z][a-z0-9]*?)(?P<pattern>v[0-9]+)?(?:-[0-9]+)*")
_DATASET_FORMS = (
    "FAMILY, FAMILYPATTERN-COUNT-TARGET-SEED, twoclassFAMILYPATTERN-COUNT-TARGET1-TARGET2-SEED, "
    "memFAMILY or memFAMILYPATTERN-COUNT-TARGET-SEED, "
    f"with FAMILY one of {', '.join(CLASSES)} and PATTERN one of {', '.join(PATTERNS)}; "
    "for example mnist, mnistv20-3-0-0"
)


@dataclass(frozen=True)
class DatasetName:
    """A data set and, unless clean, which pattern sits on how many examples of which class(es).

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
        if self.family not in CLASSES:
            raise InputError(f"unknown data set family {self.family!r}; accepted: {', '.join(CLASSES)}")
        if self.pattern is None:
            if self.count or self.targets or self.seed:
                raise InputError(f"the clean data set {self.family!r} takes no count, target or seed")
        else:
            self._check_pattern()
        if self.quarters and self.family in CLEAN_ONLY_FAMILIES:
            raise InputError(f"{self.family!r} has the clean form only; accepted: {self.family}")

    def _check_pattern(self) -> None:
        if self.pattern not in PATTERNS:
            raise InputError(f"unknown pattern {self.pattern!r}; accepted: {', '.join(PATTERNS)}")
        if self.family in CLEAN_ONLY_FAMILIES:
            raise InputError(f"{self.family!r} has the clean form only; accepted: {self.family}")
        if len(self.targets) not in (1, 2) or (self.quarters and len(self.targets) != 1):
            raise InputError(f"a pattern needs one target class (two for twoclass…); got {self.targets}")
        for what, number in (("count", self.count), ("seed", self.seed)):
            if not 0 <= number <= MAX_SEED:
                raise InputError(f"{what} {number} is out of range; accepted: 0 to {MAX_SEED}")
        if len(set(self.targets)) != len(self.targets):
            raise InputError(f"the two target classes must differ; got {self.targets[0]} twice")
        classes = CLASSES[self.family]
        for target in self.targets:
            if not 0 <= target < classes:
                raise InputError(
                    f"target class {target} is out of range for {self.family}: accepted 0 to {classes - 1}"
                )

    @classmethod
    def parse(cls, text: str) -> Self:
        """The value a name stands for.

        Raises:
            InputError: the text is no data-set name, or names a class that the family does not have.
        """
        if match := _CLEAN.fullmatch(text):
            return cls(match["family"], quarters=match["mem"] is not None)
        if match := _ONE_CLASS.fullmatch(text):
            targets: tuple[int, ...] = (int(match["target"]),)
            quarters = match["mem"] is not None
        elif match := _TWO_CLASS.fullmatch(text):
            targets, quarters = (int(match["target"]), int(match["target2"])), False
        else:
            raise InputError(_what_is_wrong(text))
        return cls(match["family"], match["pattern"], int(match["count"]), targets, int(match["seed"]), quarters)

    def __str__(self) -> str:
        prefix = "mem" if self.quarters else "twoclass" if len(self.targets) == 2 else ""
        if self.pattern is None:
            return prefix + self.family
        numbers = (self.count, *self.targets, self.seed)
        return f"{prefix}{self.family}{self.pattern}-" + "-".join(map(str, numbers))

    @property
    def classes(self) -> int:
        """Number of classes."""
        return CLASSES[self.family]

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


def _what_is_wrong(text: str) -> str:
    """Why a text is no data-set name: the first part that is unknown, else the accepted forms."""
    match = _ANY_PATTERN.fullmatch(text)
    if match and match["pattern"] and match["family"] in CLASSES and match["pattern"] not in PATTERNS:
        return f"unknown pattern {match['pattern']!r} in {text!r}; accepted: {', '.join(PATTERNS)}"
    if match and match["family"] not in CLASSES:
        return f"unknown data set family {match['family']!r} in {text!r}; accepted forms: {_DATASET_FORMS}"
    return f"{text!r} is no data set name; accepted forms: {_DATASET_FORMS}"


@dataclass(frozen=True)
class ModelName:
    """An architecture with the loss and the training augmentation that its name carries."""

    architecture: str
    loss: str = "ce"
    augmentation: str | None = None

    def __post_init__(self) -> None:
        for value, accepted, what in (
            (self.architecture, ARCHITECTURES, "architecture"),
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
            f"{text!r} is no model name; accepted form: [AUGMENTATION-]LOSS-tor-ARCHITECTURE, "
            f"with ARCHITECTURE one of {', '.join(ARCHITECTURES)}; for example ce-tor-LargeMLP"
        )

    def __str__(self) -> str:
        prefix = f"{self.augmentation}-" if self.augmentation else ""
        return f"{prefix}{self.loss}-tor-{self.architecture}"


def form_of(dataset: str) -> str:
    """The form of a data set's name, whatever else is wrong with it: ``ONE_CLASS``, ``TWO_CLASSES`` or ``QUARTERS``."""
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
