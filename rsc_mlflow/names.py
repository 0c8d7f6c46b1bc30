"""Dataset and model names.

:class:`DatasetName` and :class:`ModelName` parse and format the names used by the paper's code, such as
``mnistv20-3-0-0`` and ``aug01-ce-tor-altResNet20Norm02``.  Other modules use these classes and do not parse names.
"""

import re
from dataclasses import dataclass
from typing import Self

from rsc_mlflow.architectures import ARCHITECTURES
from rsc_mlflow.errors import InputError, unknown_name
from rsc_mlflow.families import FAMILIES
from rsc_mlflow.patterns import PATTERNS, Pattern

ONE_CLASS, TWO_CLASSES, QUARTERS = "one class", "two classes", "quarters"
"""Forms of a dataset name: the pattern in one class or in none, the pattern in two classes, and the four quarters for
membership inference."""

MAX_SEED = 2**32 - 1
"""The largest seed that ``numpy.random.RandomState`` accepts; also the largest count."""

LOSSES = ("ce", "mse", "kld")
AUGMENTATIONS = ("aug01", "aug02", "aug03")

_NUMBER = r"(?:0|[1-9][0-9]{0,9})"  # as many digits as MAX_SEED has
_DATASET = re.compile(rf"(?P<form>mem|twoclass)?(?P<stem>[a-z][a-z0-9]*)(?P<numbers>(?:-{_NUMBER})*)")


def dataset_forms() -> str:
    """Return the accepted forms of a dataset name, with the families and patterns that exist now."""
    return (
        "FAMILY, FAMILYPATTERN-COUNT-TARGET-SEED, twoclassFAMILYPATTERN-COUNT-TARGET1-TARGET2-SEED, "
        "memFAMILY or memFAMILYPATTERN-COUNT-TARGET-SEED, "
        f"with FAMILY one of {', '.join(FAMILIES)} and PATTERN one of {', '.join(PATTERNS)}, "
        "for example mnist or mnistv20-3-0-0"
    )


@dataclass(frozen=True)
class DatasetName:
    """A dataset name.

    Attributes:
        family: the dataset family, e.g. ``mnist``.
        pattern: the spurious pattern; None for a clean dataset.
        count: number of spurious examples per target class.
        targets: the target classes: none (clean), one, or two (the ``twoclass…`` form).
        seed: seed of the choice of spurious examples.
        quarters: whether this is the ``mem…`` form.

    Raises:
        InputError: the family, the pattern or a target class does not exist, a number is out of range, or the family
            does not allow this form.
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
                raise InputError(f"The clean dataset {self.family!r} takes no count, target or seed.")
        elif not clean_only:
            self._check_pattern(PATTERNS[self.pattern])
        if clean_only and (self.quarters or self.pattern):
            raise InputError(f"The family {self.family!r} exists in the clean form only. Expected {self.family}.")

    def _check_pattern(self, pattern: Pattern) -> None:
        if len(self.targets) not in (1, 2) or (self.quarters and len(self.targets) != 1):
            raise InputError(f"A pattern needs one target class (two for twoclass…), got {self.targets}.")
        for what, number in (("count", self.count), ("seed", self.seed)):
            if not 0 <= number <= MAX_SEED:
                raise InputError(f"The {what} {number} is out of range. Expected 0 to {MAX_SEED}.")
        if len(set(self.targets)) != len(self.targets):
            raise InputError(f"The two target classes must differ, got {self.targets[0]} twice.")
        classes = self.classes
        for target in self.targets:
            if not 0 <= target < classes:
                raise InputError(
                    f"Target class {target} is out of range for {self.family}. Expected 0 to {classes - 1}."
                )

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the dataset name that a text such as ``mnistv20-3-0-0`` stands for.

        Raises:
            InputError: the text is not a valid dataset name, or its target class does not exist in the family.
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
        """Number of training examples with the pattern, over all target classes."""
        return self.count * len(self.targets)

    @property
    def target(self) -> int | None:
        """The (first) target class; None for a clean dataset."""
        return self.targets[0] if self.targets else None

    def clean(self) -> "DatasetName":
        """Return the same family (and quarters) without a pattern."""
        return DatasetName(self.family, quarters=self.quarters)


def _family_and_pattern(stem: str) -> tuple[str, str] | None:
    """Split a text into the names of a family and a pattern; None if it is not composed of them.

    The rules for names allow at most one such split.  Registered patterns are tried first, because listing the others
    reads folders.
    """
    for patterns in (PATTERNS.registered(), PATTERNS):
        for pattern in filter(stem.endswith, patterns):
            if (family := stem.removesuffix(pattern)) in FAMILIES:
                return family, pattern
    return None


def _what_is_wrong(text: str) -> str:
    """Return the message for an invalid dataset name: its first unknown part, or else the accepted forms."""
    match = _DATASET.fullmatch(text)
    if match is None or match["stem"] in FAMILIES or _family_and_pattern(match["stem"]):
        return f"{text!r} is not a valid dataset name. Expected {dataset_forms()}."
    stem = match["stem"]
    pattern = next(filter(stem.endswith, PATTERNS), "")
    family = max(filter(stem.startswith, FAMILIES), key=len, default="")
    if match["numbers"] and family and not pattern:
        return PATTERNS.unknown(stem.removeprefix(family), text)
    return FAMILIES.unknown(stem.removesuffix(pattern), text)


@dataclass(frozen=True)
class ModelName:
    """A model name.

    Attributes:
        architecture: name of a registered architecture, e.g. ``LargeMLP``.
        loss: one of :data:`LOSSES`.
        augmentation: one of :data:`AUGMENTATIONS`, or None.

    Raises:
        InputError: one of the parts is unknown.
    """

    architecture: str
    loss: str = "ce"
    augmentation: str | None = None

    def __post_init__(self) -> None:
        ARCHITECTURES[self.architecture]  # raises InputError if it is unknown
        for value, accepted, what in (
            (self.loss, LOSSES, "loss"),
            (self.augmentation, (None, *AUGMENTATIONS), "augmentation"),
        ):
            if value not in accepted:
                raise InputError(unknown_name(what, str(value), filter(None, accepted)))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the model name that a text of the form ``[{augmentation}-]{loss}-tor-{architecture}`` stands for.

        Raises:
            InputError: the text has another form, or one of its parts is unknown.
        """
        parts = text.split("-")
        if len(parts) == 3 and parts[1] == "tor":
            return cls(parts[2], parts[0])
        if len(parts) == 4 and parts[2] == "tor":
            return cls(parts[3], parts[1], parts[0])
        raise InputError(
            f"{text!r} is not a valid model name. Expected [AUGMENTATION-]LOSS-tor-ARCHITECTURE, "
            f"with ARCHITECTURE one of {', '.join(ARCHITECTURES)}, for example ce-tor-LargeMLP."
        )

    def __str__(self) -> str:
        prefix = f"{self.augmentation}-" if self.augmentation else ""
        return f"{prefix}{self.loss}-tor-{self.architecture}"


def classes_of(family: str) -> int | None:
    """Return the number of classes of a family; None if it is unknown here or its folder cannot be used.

    Stored runs may belong to a family that is not available on this machine.
    """
    try:
        return FAMILIES[family].classes
    except InputError:
        return None


def form_of(dataset: str) -> str:
    """Return the form of a dataset name, even an invalid one: ``ONE_CLASS``, ``TWO_CLASSES`` or ``QUARTERS``."""
    return TWO_CLASSES if dataset.startswith("twoclass") else QUARTERS if dataset.startswith("mem") else ONE_CLASS


def device_name(name: str) -> str:
    """Return ``name`` if it is ``auto``, ``cpu``, ``cuda`` or ``cuda:INDEX``.

    The device need not exist on this machine; see :func:`rsc_mlflow.training.resolve_device`.

    Raises:
        InputError: the name is not valid.
    """
    kind, _, index = name.partition(":")
    known = name in ("auto", "cpu", "cuda") or (kind == "cuda" and index.isascii() and index.isdecimal())
    if not known or len(index) > 4:
        raise InputError(f"{name!r} is not a valid device. Expected auto, cpu, cuda or cuda:INDEX.")
    return name
