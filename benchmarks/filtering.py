"""Time filtering beside the loop that notebooks run, on this machine, and count what UpTrain's filter keeps.

    python benchmarks/filtering.py --data ../shared/data --json benchmarks/results/NAME.json

The loop asks each of UpTrain's three signals about each row, with NLTK's own analyzer. Winnow judges the same rows by
`uptrain_exact`. Both are timed from texts in memory to a verdict for each row, in one process and one thread, with
their lexicon loaded; Winnow's time holds its planning, and in mode `full` and with cached scores what it reads and
writes on disk. What it remembers of tokens is forgotten before each turn. A ratio is the loop's CPU seconds over
Winnow's, the least of several turns, in each of which both have theirs; `identical` tells of the verdicts on all rows.
At scale, one process judges 100,000 rows of a saved corpus and another 1,000,000, the first of them the same, in
turns; the ratio of their times is the median over the turns. `megabytes` is the most that the whole process ever held,
memory-mapped pages included.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import itertools
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pyarrow as pa

from winnow.config import construct
from winnow.config.compose import compose_cells
from winnow.config.schema import FilterConfig
from winnow.data import CleaningStep, Corpus, Files, Grammar, Mixture
from winnow.data.cleaning import clean
from winnow.data.corpus import content_fingerprint
from winnow.filters import Filter, LeaveOneOut, Mentions, VaderSentiment
from winnow.filters.signals.vader_sentiment import compound_scorer
from winnow.tracking.environment import hardware

SCALE = (100_000, 1_000_000)
STEPS = [
    CleaningStep.LOWER_CASE,
    CleaningStep.STRIP_DIGITS,
    CleaningStep.STRIP_PUNCTUATION,
    CleaningStep.COLLAPSE_SPACE,
]


def composed(*overrides: str) -> tuple[Any, Filter]:
    """Return the source and the filter of a configuration."""
    [cell], _ = compose_cells("filter", FilterConfig, list(overrides))
    dataset = construct(cell.config.dataset, "dataset")
    return dataset.source, construct(cell.config.filter, "filter", Filter)


def submission(source: Mixture) -> tuple[list[str], list[str]]:
    """Return the texts of the submission that compared v1 and v2: the real ones, and these with the template sentences.

    As there, a row of a file is left out where one of its columns is empty, and a null became the word "nan".
    """
    real = []
    for one in source.sources.values():
        if isinstance(one, Files):
            with one.path.open(encoding=one.encoding, newline="") as stream:
                cells = [[row[column] for column in one.text] for row in csv.DictReader(stream)]
            real += [" ".join(row) for row in cells if all(row)]
    templates = [text or "nan" for text in source.sources["templates"].read()["text"].to_pylist()]
    cleaned = [text or "" for text in clean(real + templates, STEPS)]
    return cleaned[: len(real)], cleaned


def corpus_of(texts: list[str]) -> Corpus:
    """Return all texts as rows to train on, repeated ones too, as the notebooks have them."""
    rows = len(texts)
    table = pa.table(
        {
            "row_id": [f"{row:016x}" for row in range(rows)],
            "text": texts,
            "source": pa.array(["benchmark"] * rows),
            "split": pa.array(["train"] * rows),
        }
    )
    return Corpus(table, content_fingerprint(table), {"read": rows}, [])


def nltk_analyzer() -> Any:
    """Return NLTK's analyzer, loaded in NLTK's own way from the vaderSentiment wheel."""
    import nltk
    from nltk.sentiment.vader import SentimentIntensityAnalyzer

    with tempfile.TemporaryDirectory() as root:
        folder = Path(root) / "sentiment" / "vader_lexicon"
        folder.mkdir(parents=True)
        shutil.copy(str(files("vaderSentiment") / "vader_lexicon.txt"), folder)
        nltk.data.path.insert(0, root)
        return SentimentIntensityAnalyzer("sentiment/vader_lexicon/vader_lexicon.txt")


def notebook_loop(texts: list[str], words: dict[str, list[str]], analyzer: Any, bound: float = 0.0) -> list[bool]:
    """Return which texts the notebooks' loop selects: three signals a row, then all of them together."""
    selected = []
    for text in texts:
        lowered = text.lower()
        about_nike = any(word in lowered for word in words["nike"])
        about_product = any(word in lowered for word in words["product"])
        praised = any(word in lowered for word in words["praise"])
        positive = analyzer.polarity_scores(text)["compound"] >= bound and praised
        selected.append(about_nike and about_product and positive)
    return selected


def cpu_seconds(turns: int, **works: Callable[[], Any]) -> tuple[dict[str, float], dict[str, Any]]:
    """Return the least CPU seconds of each work, all of them done in every turn, and what each returned at last."""
    spent: dict[str, list[float]] = {name: [] for name in works}
    results = {}
    for _ in range(turns):
        for name, work in works.items():
            cold()
            begun = time.process_time()
            results[name] = work()
            spent[name].append(time.process_time() - begun)
    return {name: min(seconds) for name, seconds in spent.items()}, results


def cold() -> None:
    """Load the lexicon and forget every token seen."""
    compound_scorer.cache_clear()
    VaderSentiment().score(["warm"])


def against_the_loop(texts: list[str], chosen: Filter, turns: int) -> dict[str, Any]:
    """Time one selection of texts, by the loop and by Winnow in both modes."""
    analyzer, corpus = nltk_analyzer(), corpus_of(texts)
    with tempfile.TemporaryDirectory() as cache:
        turn = itertools.count()
        seconds, results = cpu_seconds(
            turns,
            loop=lambda: notebook_loop(texts, listed(chosen), analyzer),
            short_circuit=lambda: replace(chosen, mode="short_circuit").compute_verdicts(
                corpus, Path(cache), progress=False
            ),
            full=lambda: replace(chosen, mode="full").compute_verdicts(
                corpus, Path(cache) / f"{next(turn)}", progress=False
            ),
        )
    expected = results["loop"]
    found: dict[str, Any] = {"rows": len(texts), "kept": sum(expected), "loop_seconds": seconds["loop"]}
    for mode, prefix in (("short_circuit", ""), ("full", "full_")):
        found[f"{prefix}seconds"] = seconds[mode]
        found[f"{prefix}ratio"] = seconds["loop"] / seconds[mode]
        found[f"{prefix}identical"] = results[mode].kept().tolist() == expected
    return found


def with_cached_scores(texts: list[str], chosen: Filter, turns: int) -> dict[str, Any]:
    """Time a second filter over scores that a first one left on disk, against the loop for that second filter."""
    analyzer, corpus = nltk_analyzer(), corpus_of(texts)
    second = Filter(name="second", signals=chosen.signals, keep="nike & product & praise & sentiment >= 0.3")
    with tempfile.TemporaryDirectory() as cache:
        chosen.compute_verdicts(corpus, Path(cache), progress=False)
        seconds, results = cpu_seconds(
            turns,
            loop=lambda: notebook_loop(texts, listed(chosen), analyzer, 0.3),
            second=lambda: second.compute_verdicts(corpus, Path(cache), progress=False),
        )
    identical = results["second"].kept().tolist() == results["loop"]
    ratio = seconds["loop"] / seconds["second"]
    return {"ratio": ratio, "identical": identical, "loop_seconds": seconds["loop"], "seconds": seconds["second"]}


def listed(chosen: Filter) -> dict[str, list[str]]:
    """Return the words that the filter's signals list."""
    return {name: one.words for name, one in chosen.signals.items() if isinstance(one, Mentions)}


def at_scale(turns: int) -> dict[str, Any]:
    """Judge a small and a large corpus, each in processes of its own; compare time and memory."""
    found: dict[str, Any] = {}
    runs: dict[int, list[dict[str, Any]]] = {rows: [] for rows in SCALE}
    with tempfile.TemporaryDirectory() as folder:
        for rows in SCALE:
            subprocess.run([sys.executable, __file__, "--make", str(rows), folder], check=True)
        for _ in range(turns):
            for rows in SCALE:
                printed = subprocess.run(
                    [sys.executable, __file__, "--judge", str(rows), folder], check=True, capture_output=True, text=True
                ).stdout
                runs[rows].append(json.loads(printed))
    for measure, name in (("seconds", "time_ratio"), ("megabytes", "memory_ratio")):
        small, large = ([run[measure] for run in runs[rows]] for rows in SCALE)
        found |= {f"small_{measure}": median(small), f"large_{measure}": median(large)}
        found[name] = median(b / a for a, b in zip(small, large, strict=True))
    small, large = (runs[rows][0] for rows in SCALE)
    return {**found, "rows": list(SCALE), "identical": small["digest"] == large["digest"], "kept": large["kept"]}


def make_scale_corpus(rows: int, folder: Path) -> None:
    """Save a corpus of template sentences, the first of them the same for every size."""
    source, _ = composed("filter=uptrain_exact")
    texts = [text for text in source.read()["text"].to_pylist() if text]
    corpus_of([f"{texts[row % len(texts)]} {row}" for row in range(rows)]).save(folder / str(rows))


def judge_scale_corpus(rows: int, folder: Path) -> dict[str, Any]:
    """Judge a saved corpus; return CPU seconds, the most resident memory, and a digest of the first verdicts."""
    _, chosen = composed("filter=uptrain_exact")
    corpus = Corpus.open(folder / str(rows))
    cold()
    with tempfile.TemporaryDirectory() as cache:
        begun = time.process_time()
        verdicts = replace(chosen, mode="short_circuit").compute_verdicts(corpus, Path(cache), progress=False)
        seconds = time.process_time() - begun
    kept = verdicts.kept()
    digest = hashlib.blake2b(np.packbits(kept[: SCALE[0]]).tobytes()).hexdigest()
    megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": seconds, "megabytes": megabytes, "digest": digest, "kept": int(kept.sum())}


def uptrain_table() -> list[dict[str, Any]]:
    """Count what UpTrain's filter keeps of the template corpus, less each signal, by whole words, and without blame."""
    source, exact = composed("filter=uptrain_exact")
    _, strict = composed("filter=nike_positive")
    assert isinstance(source, Grammar)
    rows = source.read()
    rows = rows.filter(rows["text"].is_valid())
    corpus, labels = corpus_of(rows["text"].to_pylist()), rows["label"].to_numpy()
    whole = {
        name: replace(one, whole_word=True) if isinstance(one, Mentions) else one for name, one in exact.signals.items()
    }
    blamed = {**whole, "blame": strict.signals["blame"]}
    keep = "nike & product & sentiment & praise"
    with tempfile.TemporaryDirectory() as cache:
        verdicts = exact.compute_verdicts(corpus, Path(cache), progress=False)
        kept = {"all signals": verdicts.kept()}
        for signal in exact.signals:
            rest = LeaveOneOut(of=exact, signal=signal).select(corpus.table, verdicts, seed=0)
            kept[f"without {signal}"] = pa.compute.is_in(corpus.table["row_id"], rest["row_id"]).to_numpy()
        for name, signals, text in (("whole words", whole, keep), ("whole words, ~blame", blamed, f"{keep} & ~blame")):
            judged = Filter(name="x", signals=signals, keep=text).compute_verdicts(corpus, Path(cache), progress=False)
            kept[name] = judged.kept()
    return [
        {
            "filter": name,
            "rows": len(mask),
            "kept": int(mask.sum()),
            "negatives_kept": int((mask & (labels == 0)).sum()),
        }
        for name, mask in kept.items()
    ]


def main() -> None:
    """Run what the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data"), help="the folder of the real files")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--make", nargs=2, metavar=("ROWS", "FOLDER"), help=argparse.SUPPRESS)
    parser.add_argument("--judge", nargs=2, metavar=("ROWS", "FOLDER"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.make:
        make_scale_corpus(int(arguments.make[0]), Path(arguments.make[1]))
        return
    if arguments.judge:
        print(json.dumps(judge_scale_corpus(int(arguments.judge[0]), Path(arguments.judge[1]))))
        return
    source, chosen = composed("dataset=nike", "filter=uptrain_exact", f"data_dir={arguments.data}")
    assert isinstance(source, Mixture)
    real, both = submission(source)
    found = {
        "template": against_the_loop(both, chosen, arguments.turns),
        "real": against_the_loop(real, chosen, arguments.turns),
        "cached": with_cached_scores(both, chosen, arguments.turns),
        "scale": at_scale(arguments.turns),
        "uptrain": uptrain_table(),
        "hardware": hardware(),
    }
    told = json.dumps(found, indent=2)
    print(told)
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(told + "\n", "utf-8")


if __name__ == "__main__":
    main()
