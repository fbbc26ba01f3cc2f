"""The ledger of claims: statement, source, measure, verdict by rule."""

from heavytail.evidence.claims.claim import PROFILES, SOURCES, VERDICTS, Claim, Entry
from heavytail.evidence.claims.ledger import CLAIMS, as_text, hold, largest, ledger, measured, named

__all__ = [
    "CLAIMS",
    "PROFILES",
    "SOURCES",
    "VERDICTS",
    "Claim",
    "Entry",
    "as_text",
    "hold",
    "largest",
    "ledger",
    "measured",
    "named",
]
