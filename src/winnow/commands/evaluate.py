"""`winnow evaluate`: any number of models on the same held-out rows, masks and prompts, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from rich.console import Console

from winnow.commands.evaluation_results import keep_results, print_results
from winnow.commands.model_lookup import Contender, find_contenders, load_contender
from winnow.config import EvaluateConfig, construct
from winnow.data import Dataset
from winnow.errors import WinnowError, WinnowErrors
from winnow.filters import Filter
from winnow.metrics.metric_names import LOSSES
from winnow.reporting.model_figures import EvaluatedModel
from winnow.run.components import check_store, filters_in
from winnow.run.corpora import load_corpus
from winnow.run.evaluate import Predictor, probe_summaries, score_split
from winnow.run.slices import HeldOutSplit, apply_filter, held_out_rows, slices_of
from winnow.tracking import Store, keys
from winnow.tracking.query import artifact_path, histories

if TYPE_CHECKING:
    import pandas as pd

    from winnow.evaluation import Probe


TOKENS_AT_ONCE, GUESSED_AT_ONCE = 640, 64
"""What a batch of prompts takes through a model, which decides who multiplies its matrices."""

READABLE = 12
"""Prompts of a probe that are drawn one by one; a larger probe is drawn as a whole."""


@dataclass(frozen=True)
class HeldOut:
    """The rows that all models are measured on, and which of them are in each slice."""

    rows: pa.Table
    members: dict[str, npt.NDArray[np.bool_]]


def run_evaluate(config: EvaluateConfig, console: Console) -> Path:
    """Measure every model, print the tables, and keep tables, figures and scores in files and in the store.

    Returns:
        The folder written to.

    Raises:
        WinnowErrors: Before any model is loaded, with all that is wrong.
    """
    store = construct(config.tracking, "tracking", Store, config.allow_targets)
    check_store(store)
    contenders = find_contenders(config.models, store)
    probes = _probes(config, contenders)
    held_out = _held_out(config, contenders)
    results = []
    for place, contender in enumerate(contenders):
        with console.status(f"measuring {contender.label}"):
            results.append(_measure(config, contender, place, probes, held_out, store))
    print_results(console, results, config.split)
    if held_out is None:
        console.print("No dataset was chosen and no run named, so only probes are compared. Add dataset=NAME.")
    folder = keep_results(config, store, results)
    console.print(f"Tables and figures: {folder}")
    return folder


def _measure(
    config: EvaluateConfig,
    contender: Contender,
    place: int,
    probes: Mapping[str, Probe],
    held_out: HeldOut | None,
    store: Store,
) -> EvaluatedModel:
    import torch

    from winnow.evaluation import fill_masks
    from winnow.evaluation.fill_mask import mean_word_probabilities
    from winnow.evaluation.model_structure import list_components, list_modules
    from winnow.training import tokenize, tokenizer_fingerprint
    from winnow.training.forward import numerics

    loaded = load_contender(contender, place)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    numerics.configure_numerics(loaded.model, device, TOKENS_AT_ONCE, GUESSED_AT_ONCE, config.output_dir / "cache")
    predictor = Predictor(loaded.model, loaded.tokenizer, device, config.forward)
    scores: dict[str, float] = {}
    if held_out is not None:
        length = min(config.max_length, loaded.tokenizer.model_max_length)
        tokens = tokenize(held_out.rows, loaded.tokenizer, length, config.output_dir / "cache")
        split = HeldOutSplit(config.split, held_out.rows, held_out.members, tokens)
        _, scores = score_split(split, predictor, config.evaluation)
    found = {
        name: probe.run(loaded.model, loaded.tokenizer, device, forward=config.forward)
        for name, probe in probes.items()
    }
    readable = [probe for probe in probes.values() if sum(cloze.mask_count for cloze in probe.clozes) <= READABLE]
    texts = [cloze.text for probe in readable for cloze in probe.clozes]
    wide = [cloze.text for probe in probes.values() for cloze in probe.clozes if cloze.wanted and cloze.unwanted]
    return EvaluatedModel(
        label=contender.label,
        source=loaded.source,
        run_id=contender.run_id,
        tokenizer=tokenizer_fingerprint(loaded.tokenizer),
        scores=scores | probe_summaries(found),
        probes=found,
        rankings={text: fill_masks(text, loaded.model, loaded.tokenizer, config.depth, device) for text in texts},
        word_probabilities=mean_word_probabilities(wide, loaded.model, loaded.tokenizer, device),
        modules=list_modules(loaded.model),
        components=list_components(loaded.model),
        history=_history(contender, store),
    )


def _history(contender: Contender, store: Store) -> dict[str, pd.DataFrame]:
    """Return the losses and the probes' scores by step, where the model was named by its run."""
    import pandas as pd

    if contender.run_id is None:
        return {}
    client = store.client()
    points = [(contender.label, 0, *point) for point in histories(client, contender.run_id, LOSSES)]
    found = {"losses": pd.DataFrame(points, columns=["arm", "seed", "metric", "step", "value"])}
    if curves := artifact_path(client, contender.run_id, keys.CURVES):
        found["curves"] = pd.read_parquet(curves).assign(arm=contender.label, seed=0)
    return found


def _probes(config: EvaluateConfig, contenders: Sequence[Contender]) -> dict[str, Probe]:
    """Return the probes that were chosen, else those of the first run, else the shipped ones."""
    from winnow.evaluation import Probe

    nodes = config.probe or _of_first_run(contenders, "probe") or _shipped_probes()
    probes = {name: construct(node, f"probe.{name}", Probe, config.allow_targets) for name, node in nodes.items()}
    if faults := [fault.under(f"probe.{name}") for name, probe in probes.items() for fault in probe.check()]:
        raise WinnowErrors(faults)
    return probes


def _shipped_probes() -> dict[str, Any]:
    """Return the probes that `winnow train` uses by default."""
    import yaml

    from winnow.config import conf_folder

    def read(name: str) -> Any:
        return yaml.safe_load((conf_folder() / f"{name}.yaml").read_text("utf-8"))

    names = next(group["probe"] for group in read("train")["defaults"] if "probe" in group)
    return {name: probe for file in names for name, probe in read(f"probe/{file}").items()}


def _held_out(config: EvaluateConfig, contenders: Sequence[Contender]) -> HeldOut | None:
    """Return the held-out rows of the chosen dataset, else of the first run's, cut into its slices."""
    node = config.dataset or _of_first_run(contenders, "dataset")
    if node is None:
        return None
    dataset = construct(node, "dataset", Dataset, config.allow_targets)
    slices = {**config.evaluation.slices}
    if config.dataset is None:
        slices |= _of_first_run(contenders, "evaluation").get("slices", {})
        slices |= filters_in(_of_first_run(contenders, "filter"))
    if faults := dataset.check():
        raise WinnowErrors(fault.under("dataset") for fault in faults)
    cache = config.output_dir / "cache"
    corpus = load_corpus(dataset, cache)
    filters = {
        name: construct(one, f"evaluation.slices.{name}", Filter, config.allow_targets) for name, one in slices.items()
    }
    verdicts = {name: apply_filter(one, corpus, cache, f"evaluation.slices.{name}") for name, one in filters.items()}
    known = held_out_rows(corpus, config.evaluation.max_rows)
    rows = known.get(config.split)
    if rows is None or not rows.num_rows:
        others = ", ".join(name for name, some in known.items() if some.num_rows) or "none"
        raise WinnowError(f"{dataset.name} has no row in its {config.split} split. It has {others}.", "split")
    return HeldOut(rows, slices_of(rows, verdicts))


def _of_first_run(contenders: Sequence[Contender], key: str) -> Any:
    return next((one.tree[key] for one in contenders if one.tree is not None and key in one.tree), None)
