"""The one door to torchvision, opened only when a data set needs it."""

from __future__ import annotations

from functools import cache
from types import ModuleType

import torch

_KEPT: list[torch.library.Library] = []  # a library that is collected takes its operators with it


@cache
def torchvision_datasets() -> ModuleType:
    """The module `torchvision.datasets`, also beside a CPU build of torch.

    The torchvision wheels of PyPI are built for CUDA. Beside a CPU build of torch their compiled operators do not load,
    and the import stops with "operator torchvision::nms does not exist". The data-set classes use no operator, so it is
    enough to declare the two that the import asks for; they get no implementation, so a call still fails as it should.
    """
    try:
        from torchvision import datasets
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
        library = torch.library.Library("torchvision", "DEF")
        for operator in ("nms", "qnms"):
            library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _KEPT.append(library)
        from torchvision import datasets
    return datasets
