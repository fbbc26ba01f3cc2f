"""What a grid and `--set` may be given."""

from __future__ import annotations

import pytest
from fault_counts import ONE_SENTENCE, some

import heavytail

VALUES = [-1, 2**63, 10**400, float("nan"), {"a": 1}]


@pytest.mark.parametrize("value", some(VALUES, 2), ids=str)
def test_a_width_that_is_none_is_refused(value, tried):
    with pytest.raises(ValueError, match="width"):
        heavytail.grid(dataset="digits", width=value, lr=0.1, max_steps=1)
    tried("grid values", ONE_SENTENCE)
