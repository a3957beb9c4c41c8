"""Score each row once, evaluate a filter expression, and select the rows to train on.

A :class:`Filter` holds named signals and a boolean expression over them. Applied to a corpus, it returns
:class:`Verdicts`: a table with the score and verdict of every signal on every row of every split. The kept rows, the
reasons for dropping rows, and the statistics are derived from that table. :class:`Full` keeps every row.
:class:`RandomMatched` is the control: a random sample of the same size as a filter's selection. :class:`LeaveOneOut` is
a filter with one of its signals removed.

:func:`read_verdicts` and :func:`read_statistics` load the output of ``winnow filter``, for example in a notebook.
"""

from winnow.filters.derived_filters import LeaveOneOut, RandomMatched
from winnow.filters.expression import Name, at_least
from winnow.filters.filter import Filter, Full, Selection
from winnow.filters.filter_output import read_statistics, read_verdicts, save_dropped, save_kept, save_statistics
from winnow.filters.signals.basic_signals import Column, Length, NotNull, Regex
from winnow.filters.signals.classifier import TextClassifier
from winnow.filters.signals.duplicates import Duplicate
from winnow.filters.signals.language import Language
from winnow.filters.signals.mentions import Mentions
from winnow.filters.signals.python_function import PythonFunction, signal
from winnow.filters.signals.signal import Signal
from winnow.filters.signals.vader_sentiment import VaderSentiment
from winnow.filters.verdict_statistics import compute_filter_statistics
from winnow.filters.verdicts import Verdicts

__all__ = [
    "Column",
    "Duplicate",
    "Filter",
    "Full",
    "Language",
    "LeaveOneOut",
    "Length",
    "Mentions",
    "Name",
    "NotNull",
    "PythonFunction",
    "RandomMatched",
    "Regex",
    "Selection",
    "Signal",
    "TextClassifier",
    "VaderSentiment",
    "Verdicts",
    "at_least",
    "compute_filter_statistics",
    "read_statistics",
    "read_verdicts",
    "save_dropped",
    "save_kept",
    "save_statistics",
    "signal",
]
