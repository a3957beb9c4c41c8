"""The data package: sources, cleaning, exact deduplication, splits, and the corpus used by the other packages.

A :class:`Dataset` reads a :class:`Source`, cleans the texts, drops exact duplicates and assigns each row to a split
based on a hash of the row's text. The result is a :class:`Corpus`, which is saved, fingerprinted and memory-mapped.
"""

from winnow.data.cleaning import CleaningStep, normalize
from winnow.data.corpus import Corpus, SplitName
from winnow.data.dataset import Dataset
from winnow.data.integrity import AllowedValues, Bounds, Check, NonNull, Unique, ZScore
from winnow.data.leakage import count_shared_texts, measure_leakage
from winnow.data.sources.files import Files
from winnow.data.sources.hub import HubDataset
from winnow.data.sources.source import Mixture, Source
from winnow.data.sources.synthetic import Grammar, Slot, Words
from winnow.data.sources.text_files import TextFiles
from winnow.data.split import NearDuplicates, Split

__all__ = [
    "AllowedValues",
    "Bounds",
    "Check",
    "CleaningStep",
    "Corpus",
    "Dataset",
    "Files",
    "Grammar",
    "HubDataset",
    "Mixture",
    "NearDuplicates",
    "NonNull",
    "Slot",
    "Source",
    "Split",
    "SplitName",
    "TextFiles",
    "Unique",
    "Words",
    "ZScore",
    "count_shared_texts",
    "measure_leakage",
    "normalize",
]
