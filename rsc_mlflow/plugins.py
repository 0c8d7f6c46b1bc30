"""What a plug-in calls: families, patterns, architectures, methods and attacks from outside the package.

A plug-in is a module that calls the ``register_…`` functions when it is imported.  Plug-ins are the modules named in
the environment variable ``RSC_PLUGINS`` (a comma list) and those of the Python entry-point group
``rsc_mlflow.plugins``.  They are imported at the first look-up of any name; :func:`load` does so at once.
``docs/extending.md`` has examples.
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
    """Add a family of datasets; all forms of dataset names then take it.

    Args:
        name: lower-case letters and digits, not ending in a pattern's name.
        classes: number of classes, at least 2.
        load: called with the option ``data_root`` (``auto``, or a folder); returns ``(images, labels)`` of the
            training and of the test set, always the same and in the same order.  Images are arrays or tensors
            ``[N, C, H, W]``, uint8 or floating point in [0, 1]; labels are integers ``[N]`` from 0.
        clean_only: the family has no forms with a pattern and no ``mem…`` form.

    Raises:
        InputError: the name is not allowed or taken, or ``classes`` is below 2.
    """
    FAMILIES.load_builtins()
    if problem := family_name_problem(name):
        raise InputError(f"cannot register the family {name!r}: {problem}")
    if classes < 2:
        raise InputError(f"the family {name!r} has {classes} classes; accepted: at least 2")
    FAMILIES.register(name, Family(classes, load, clean_only=clean_only))


def register_pattern(
    name: str,
    apply: "Callable[[Tensor, int], Tensor]",
    *,
    depends_on_seed: bool = False,
    smallest: tuple[int, int] = (1, 1),
) -> None:
    """Add a spurious pattern; names of datasets of every family whose images are large enough then take it.

    Args:
        name: lower-case letters and digits; neither may it end in another pattern's or family's name, nor they in it.
        apply: called with images float32 ``[N, C, H, W]`` in [0, 1] and the pattern seed; returns the images with the
            pattern on them, of the same shape and type and in [0, 1].  It must treat each image alone.
        depends_on_seed: whether ``apply`` draws from the seed.
        smallest: height and width of the smallest images that can carry the pattern.

    Raises:
        InputError: the name is not allowed or taken.
    """
    PATTERNS.load_builtins()
    if problem := pattern_name_problem(name, FAMILIES.so_far()):
        raise InputError(f"cannot register the pattern {name!r}: {problem}")
    PATTERNS.register(name, Pattern(apply, name, depends_on_seed, smallest))


def register_architecture(
    name: str,
    construct: "Callable[[tuple[int, int, int], int], nn.Module]",
    *,
    stackable: bool = False,
    smallest_batch: int = 1,
) -> None:
    """Add a model architecture; ``ce-tor-NAME`` then is a model name.

    Args:
        name: letters and digits, a letter first.
        construct: called with the image shape ``(C, H, W)`` and the number of classes; returns a new module from
            float32 ``[N, C, H, W]`` in [0, 1] to logits ``[N, classes]``.  It draws its weights from PyTorch's global
            generator, as PyTorch's layers do; the option ``random_seed`` decides them.
        stackable: many models train as one on every device: the module is an ``nn.Sequential`` of Flatten, Linear,
            ReLU, ``rsc_mlflow.models.Dropout``, Conv2d (stride 1, no padding) and MaxPool2d.  On a GPU models of other
            architectures train as one too, unless ``torch.func.vmap`` cannot run the module's ``forward``.
        smallest_batch: examples that a batch must have in training; 2 with batch norm on a single pixel.

    Raises:
        InputError: the name is not allowed or taken.
    """
    ARCHITECTURES.load_builtins()
    if not _ARCHITECTURE_NAME.fullmatch(name):
        raise InputError(
            f"cannot register the architecture {name!r}: accepted are letters and digits, a letter first, at most 50"
        )
    made: Any = construct
    ARCHITECTURES.register(name, Architecture(made, stackable=stackable, smallest_batch=smallest_batch))
