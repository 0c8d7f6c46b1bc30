"""Functions for plug-ins: register dataset families, patterns, architectures, unlearning methods and attacks.

A plug-in is a module that calls the ``register_…`` functions when it is imported.  Plug-ins are listed in the
environment variable ``RSC_PLUGINS`` (separated by commas) or in the Python entry-point group ``rsc_mlflow.plugins``.
They are imported at the first look-up of any name; :func:`load` imports them immediately.  ``docs/extending.md`` has
examples.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rsc_mlflow.architectures import ARCHITECTURES, Architecture
from rsc_mlflow.attacks.base import register_attack
from rsc_mlflow.errors import InputError
from rsc_mlflow.families import FAMILIES, Family, Split
from rsc_mlflow.patterns import PATTERNS, Pattern
from rsc_mlflow.registries import load_plugins, plugin_versions
from rsc_mlflow.unlearning.base import register_method
from rsc_mlflow.user_files import family_name_problem, pattern_name_problem

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = [
    "load",
    "register_architecture",
    "register_attack",
    "register_family",
    "register_method",
    "register_pattern",
    "versions",
]

load = load_plugins
versions = plugin_versions

_ARCHITECTURE_NAME = re.compile(r"[A-Za-z][A-Za-z0-9]{0,49}")


def register_family(
    name: str, classes: int, load: Callable[[str | Path], tuple[Split, Split]], *, clean_only: bool = False
) -> None:
    """Register a dataset family, so that dataset names may contain it.

    Args:
        name: at most 50 lower-case letters and digits, starting with a letter; not starting with ``mem`` or
            ``twoclass`` and not ending in a pattern's name.
        classes: number of classes, ≥ 2.
        load: called with the option ``data_root`` (``auto`` or a folder); returns ``(images, labels)`` of the training
            set and of the test set, always the same and in the same order.  Images are arrays or tensors
            ``[N, C, H, W]``, uint8 or floating point in [0, 1].  Labels are integers ``[N]`` from 0.
        clean_only: allow only the clean form of the dataset name, without a pattern and without ``mem``.

    Raises:
        InputError: the name is taken or not allowed, or ``classes`` < 2.
    """
    FAMILIES.load_builtins()
    if problem := family_name_problem(name):
        raise InputError(f"Cannot register the family {name!r}: {problem}. Choose another name.")
    if classes < 2:
        raise InputError(f"The family {name!r} has {classes} classes. Expected at least 2.")
    FAMILIES.register(name, Family(classes, load, clean_only=clean_only))


def register_pattern(
    name: str,
    apply: "Callable[[Tensor, int], Tensor]",
    *,
    depends_on_seed: bool = False,
    smallest: tuple[int, int] = (1, 1),
) -> None:
    """Register a spurious pattern, so that dataset names may contain it.

    Args:
        name: at most 50 lower-case letters and digits, starting with a letter.  It may not end in the name of another
            pattern, and no pattern's or family's name may end in it.
        apply: called with images, float32 ``[N, C, H, W]`` in [0, 1], and the pattern seed; returns the images with the
            pattern added, same shape, type and range.  Each image must be processed independently of the others.
        depends_on_seed: whether ``apply`` uses the seed.
        smallest: height and width of the smallest images that the pattern fits.

    Raises:
        InputError: the name is taken or not allowed.
    """
    PATTERNS.load_builtins()
    if problem := pattern_name_problem(name, FAMILIES.so_far()):
        raise InputError(f"Cannot register the pattern {name!r}: {problem}. Choose another name.")
    PATTERNS.register(name, Pattern(apply, name, depends_on_seed, smallest))


def register_architecture(
    name: str,
    construct: "Callable[[tuple[int, int, int], int], nn.Module]",
    *,
    stackable: bool = False,
    smallest_batch: int = 1,
) -> None:
    """Register a model architecture, so that ``ce-tor-NAME`` is a model name.

    Args:
        name: at most 50 letters and digits, starting with a letter.
        construct: called with the image shape ``(C, H, W)`` and the number of classes; returns a new module that maps
            float32 ``[N, C, H, W]`` in [0, 1] to logits ``[N, classes]``.  It initializes its weights from PyTorch's
            global generator, as PyTorch's layers do.  That generator is seeded from the option ``random_seed`` first.
        stackable: whether many models can be trained together on every device.  The module must then be an
            ``nn.Sequential`` of Flatten, Linear, ReLU, ``rsc_mlflow.models.Dropout``, Conv2d (stride 1, no padding) and
            MaxPool2d.  On a GPU, models of other architectures are trained together as well if ``torch.func.vmap`` can
            run the module's ``forward``.
        smallest_batch: minimum number of examples in a training batch, e.g. 2 for batch norm on a single pixel.

    Raises:
        InputError: the name is taken or not allowed.
    """
    ARCHITECTURES.load_builtins()
    if not _ARCHITECTURE_NAME.fullmatch(name):
        raise InputError(
            f"Cannot register the architecture {name!r}. Expected at most 50 letters and digits, starting with a "
            "letter."
        )
    made: Any = construct
    ARCHITECTURES.register(name, Architecture(made, stackable=stackable, smallest_batch=smallest_batch))
