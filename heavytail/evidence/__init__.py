"""From tables to verdicts: cells with intervals, and the ledger of claims."""
