"""The ledger of claims: statement, source, measure, verdict by rule."""

from heavytail.evidence.claims.claim import OURS, PROFILES, SOURCES, VERDICTS, WHOSE, Claim, Entry, Word
from heavytail.evidence.claims.ledger import (
    CLAIMS,
    as_text,
    counted,
    hold,
    largest,
    ledger,
    measured,
    named,
    read,
    study_of,
    tally,
    tally_cells,
)

__all__ = [
    "CLAIMS",
    "OURS",
    "PROFILES",
    "SOURCES",
    "VERDICTS",
    "WHOSE",
    "Claim",
    "Entry",
    "Word",
    "as_text",
    "counted",
    "hold",
    "largest",
    "ledger",
    "measured",
    "named",
    "read",
    "study_of",
    "tally",
    "tally_cells",
]
