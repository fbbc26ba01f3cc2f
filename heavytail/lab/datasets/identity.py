"""What a data set of one's own is called: a name, and a digest of what it holds, `mine@0123456789ab`."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import PurePath

from torch import Tensor

from heavytail.lab.datasets.official import NAMES
from heavytail.noise.kinds import shown

DIGITS = 12  # of the SHA-256: 48 bits tell contents apart that nobody chose to be alike
FILE = ".npz"  # a name that ends so is the path of a file

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
PATTERN = rf"{_NAME.pattern}@[0-9a-f]{{{DIGITS}}}"  # of all that `identity` returns
_IDENTITY = re.compile(PATTERN)


def check(name: object) -> str:
    """The name of a data set of one's own as it is; ValueError unless it can be one."""
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name.endswith(FILE):
        raise ValueError(
            f"a data set cannot be called {shown(name)}: use letters, digits, '_', '-' and '.', 100 at most, "
            f"a letter or digit first, and no ending {FILE}, which is for a file"
        )
    return name


def check_reference(name: object) -> None:
    """ValueError unless a run may name its data set so: by name, by name and digest, or by a path to a file."""
    if isinstance(name, str) and (is_file(name) or _IDENTITY.fullmatch(name)):
        return
    check(name)


def is_file(name: str) -> bool:
    """Whether a run names its data set by the path of a file."""
    return name.endswith(FILE)


def is_settled(name: str) -> bool:
    """Whether it is known which contents are meant: a published data set, or one named with its digest."""
    return name in NAMES or bool(_IDENTITY.fullmatch(name))


def base(name: str) -> str:
    """The name alone, without a digest, a folder, or the ending of a file."""
    return PurePath(name).stem if is_file(name) else name.partition("@")[0]


def identity(name: str, tensors: Sequence[Tensor], classes: int) -> str:
    """`name@digest` of the contents: shapes, values as little-endian float32 or int64, and the number of classes."""
    found = hashlib.sha256(repr((classes, [tuple(tensor.shape) for tensor in tensors])).encode())
    for tensor in tensors:
        values = tensor.detach().cpu().contiguous().numpy()
        found.update(values.astype(values.dtype.newbyteorder("<"), copy=False).data)
    return f"{name}@{found.hexdigest()[:DIGITS]}"
