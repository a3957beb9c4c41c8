"""Score every row once, decide by an expression, select the rows to train on.

A :class:`Filter` holds named signals and a boolean expression over them. Judging a corpus gives
:class:`Verdicts`: a score and a verdict for every signal on every row of every split. What is kept, why, and
at what cost all follow from that table. :class:`Full` keeps every row; :class:`RandomMatched` is the control
that keeps as many at random, and :class:`Without` a filter less one of its signals.

:func:`read_verdicts` and :func:`read_statistics` load what `winnow filter` wrote, for example in a notebook.
"""

from winnow.filters.controls import RandomMatched, Without
from winnow.filters.expression import Name, at_least
from winnow.filters.filter import Filter, Full, Selection
from winnow.filters.filter_output import read_statistics, read_verdicts, save_dropped, save_kept, save_statistics
from winnow.filters.signals.classifier import TextClassifier
from winnow.filters.signals.duplicates import Duplicate
from winnow.filters.signals.function import Python
from winnow.filters.signals.language import Language
from winnow.filters.signals.lexical import Field, Length, NotNull, Regex
from winnow.filters.signals.mentions import Mentions
from winnow.filters.signals.signal import Signal
from winnow.filters.signals.vader_sentiment import VaderSentiment
from winnow.filters.verdict_statistics import filter_statistics
from winnow.filters.verdicts import Verdicts

__all__ = [
    "Duplicate",
    "Field",
    "Filter",
    "Full",
    "Language",
    "Length",
    "Mentions",
    "Name",
    "NotNull",
    "Python",
    "RandomMatched",
    "Regex",
    "Selection",
    "Signal",
    "TextClassifier",
    "VaderSentiment",
    "Verdicts",
    "Without",
    "at_least",
    "filter_statistics",
    "read_statistics",
    "read_verdicts",
    "save_dropped",
    "save_kept",
    "save_statistics",
]
