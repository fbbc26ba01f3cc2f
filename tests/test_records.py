"""Records are frozen; those that hold tensors, arrays or tables do not define ==, which would be an array, no truth."""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
import re
from collections.abc import Iterator

import pytest

import heavytail
from heavytail.lab.datasets import Dataset
from heavytail.sde import Problem

HOLDS = re.compile(r"\b(Tensor|ndarray|DataFrame|Series|Module|Parameter|Dataset|Networks)\b")
CALLS = re.compile(r"Callable\[.*\]")  # a function that takes tensors holds none


def records() -> Iterator[type]:
    """Every dataclass of the package."""
    for module in pkgutil.walk_packages(heavytail.__path__, "heavytail."):
        if not module.name.endswith("__main__"):
            for value in vars(importlib.import_module(module.name)).values():
                if isinstance(value, type) and dataclasses.is_dataclass(value) and value.__module__ == module.name:
                    yield value


def with_tensors(kind: type) -> bool:
    """Whether a field of the dataclass is annotated with tensors, or with what holds some."""
    return any(HOLDS.search(CALLS.sub("", str(field.type))) for field in dataclasses.fields(kind))


RECORDS = list(records())
WITH_TENSORS = [kind for kind in RECORDS if with_tensors(kind)]


@pytest.mark.parametrize("kind", WITH_TENSORS, ids=lambda kind: f"{kind.__module__}.{kind.__name__}")
def test_a_record_with_tensors_does_not_define_equality(kind):
    assert kind.__eq__ is object.__eq__
    assert kind.__hash__ is object.__hash__


def test_a_record_is_frozen_unless_its_work_is_to_change():
    changing = {f"{kind.__module__}.{kind.__name__}" for kind in RECORDS if not kind.__dataclass_params__.frozen}
    changes = {"heavytail.lab.training.Training", "heavytail.stopping._State", "heavytail.book.search._Element"}
    assert changing == changes


def test_the_records_with_tensors_are_told_from_the_others():
    assert {Dataset, Problem} <= set(WITH_TENSORS)
    assert len(WITH_TENSORS) >= 10
    assert heavytail.Run in RECORDS
    assert heavytail.Run not in WITH_TENSORS
    fields = [("x", "Tensor | None"), ("x", "Mapping[str, Tensor]"), ("x", "np.ndarray"), ("x", "Dataset")]
    assert all(with_tensors(dataclasses.make_dataclass("Made", [field])) for field in fields)
    assert not with_tensors(dataclasses.make_dataclass("Made", [("x", "Callable[[Tensor], Tensor]")]))
