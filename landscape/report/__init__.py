"""What a study says, on one page: an HTML report, a flatness card, and the tables and figures of a paper.

Results are read and laid out, nothing is measured here.
"""

from landscape.report.bundle import bundle
from landscape.report.card import Card, card
from landscape.report.page import report

__all__ = ["Card", "bundle", "card", "report"]
