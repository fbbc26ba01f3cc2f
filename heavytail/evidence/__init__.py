"""From tables to verdicts: cells with intervals, and the ledger of claims."""

from heavytail.extras import require

require("evidence", "pandas")
