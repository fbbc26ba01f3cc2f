"""Torch-Pruning, asked to take out just the units that `shrink` takes out: how far outputs change then.

`python tests/torch_pruning_alone.py` prints the table for the zoo.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import nn

from heavytail import compress
from heavytail.compress import removing, shrinking
from heavytail.compress.calling import exact, moved, run
from heavytail.networks import watching


class Change(NamedTuple):
    """The largest change of outputs, as a share of the largest output, in float32."""

    theirs: float | None  # None where it cannot be called afterwards, or stops
    ours: float
    units: int  # that went
    said: str  # why theirs stopped


def plan_of(model, sample):
    return shrinking.plan_of(exact(model), moved(sample, torch.device("cpu")))


def output(model, sample):
    with torch.no_grad():
        return next(watching.tensors(run(model, sample))).double()


def change(found, expected):
    return float((found - expected).abs().max() / expected.abs().max())


def theirs(model, sample, plan):
    """What Torch-Pruning makes of the model, and how many units it took."""
    import torch_pruning

    other = copy.deepcopy(model)
    for p in other.parameters():
        p.requires_grad_(True)
    graph = torch_pruning.DependencyGraph().build_dependency(other, sample, verbose=False)
    kept = {name: entries for names, entries in plan.kept.items() for name in names}
    names = {module: name for name, module in other.named_modules()}
    units = 0
    for group in graph.get_all_groups(root_module_types=[nn.modules.conv._ConvNd, nn.Linear]):
        root = group[0].dep.target.module
        stays = kept.get(f"{names[root]}.weight", {}).get(1 if getattr(root, "transposed", False) else 0)
        if stays is not None:
            gone = sorted(set(range(graph.get_out_channels(root))) - {int(k) for k in stays})
            graph.get_pruning_group(root, group[0].dep.handler, gone).prune()
            units += len(gone)
    return other, units


def compared(kind):
    """Both, on one network of the zoo."""
    model, sample = kind.model(), kind.sample()
    pruned = compress.prune(model, sample=sample, **kind.prune).float()
    sample = sample.float() if sample.is_floating_point() else sample
    expected = output(pruned, sample)
    plan = plan_of(pruned, sample)
    ours = change(output(compress.shrink(pruned, sample=sample), sample), expected)
    try:
        other, units = theirs(pruned, sample, plan)
        return Change(change(output(other, sample), expected), ours, units, "")
    except Exception as error:
        return Change(None, ours, 0, f"{type(error).__name__}: {error}".splitlines()[0][:60])


def table(zoo):
    lines = [f"{'network':46} {'theirs':>9} {'ours':>9}  units"]
    for name, kind in zoo.items():
        found = compared(kind)
        other = found.said if found.theirs is None else f"{found.units:6}"
        lines.append(
            f"{name:46} {'-' if found.theirs is None else f'{found.theirs:.1e}':>9} {found.ours:9.1e}  {other}"
        )
    return "\n".join(lines)


def unfolded(model, plan):
    """A wrong shrink: what dead units have said is forgotten."""
    return removing.without(copy.deepcopy(model), replace(plan, folds=()))


if __name__ == "__main__":
    from zoo import ZOO

    print(table(ZOO))
