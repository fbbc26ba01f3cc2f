"""From tables to verdicts: cells with intervals, and the ledger of claims."""

from heavytail import _require

_require("evidence", "pandas")
