"""The network of a run: before its first step, in the middle, and trained."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from heavytail import networks, streams
from heavytail.lab.datasets import Dataset
from heavytail.lab.runs import Run


def initial_model(run: Run, dataset: Dataset) -> nn.Module:
    """The network of a run before its first step, on the data's device."""
    stream = streams.generator(run.seed, "weights", device=dataset.x_train.device)
    shape = dataset.x_train.shape[1:]
    return networks.build(run.network, shape, dataset.classes, width=run.width, depth=run.depth, generator=stream)


def final_model(run: Run, weights: Mapping[str, Tensor], dataset: Dataset) -> nn.Module:
    """The trained network of a run, from `Results.weights(run)`."""
    model = initial_model(run, dataset)
    model.load_state_dict(dict(weights))
    return model


def rate(run: Run, model: nn.Module) -> float:
    """η, times n for the mean-field network; inf beyond float32, and then the run diverges."""
    size = run.lr * float(getattr(model, "gradient_scale", 1.0))
    return size if size <= torch.finfo(torch.float32).max else math.inf


def reached(run: Run, weights: Mapping[str, Tensor], dataset: Dataset) -> nn.Module:
    """The network of a run in the middle, from its weights; without weights before its first step."""
    return final_model(run, weights, dataset) if weights else initial_model(run, dataset)
