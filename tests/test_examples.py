"""Every public name shows its use: an example in its docstring, which pytest runs with the package."""

from __future__ import annotations

import doctest

import pytest

import heavytail

CONTRACT = [
    heavytail.train,
    heavytail.sweep,
    heavytail.Run,
    heavytail.grid,
    heavytail.perturb,
    heavytail.stable.symmetric,
    heavytail.stable.positive,
    heavytail.stable.isotropic,
    heavytail.compress.error_curve,
    heavytail.compress.prune,
    heavytail.compress.shrink,
    heavytail.datasets.load,
    heavytail.laws.required_width,
    heavytail.tails.hill,
    heavytail.tails.log_moment,
]


@pytest.mark.parametrize("thing", CONTRACT, ids=lambda thing: f"{thing.__module__}.{thing.__name__}")
def test_a_public_name_has_an_example(thing):
    assert any(found.examples for found in doctest.DocTestFinder(recurse=False).find(thing, thing.__name__))
