"""A model card from what a run left in the store: its data, its filter, its scores, and what they do not say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from winnow.metrics.metric_names import TRAIN_ROWS, TRAIN_TOKENS, parse_metric_name, select_stage
from winnow.tracking.keys import ARM, CELL_ID, CORPUS, FILTER_SUMMARY, MAX_STEPS, SEED, STUDY, VERDICTS
from winnow.tracking.query import read_json_artifact

if TYPE_CHECKING:
    from huggingface_hub import ModelCard, ModelCardData
    from mlflow import MlflowClient
    from mlflow.entities import Run

LIMITS = """\
- Trained to compare filters of training data, on one narrow corpus. It is no general model of the language.
- One seed. How far another seed may lie off is told by the study's report, not here.
- A filter that keeps praise makes a model that praises: what it fills in is no evidence about any product or company.
- Scores on prompts count listed words only. Where the filter and the prompts share words, a better score is by
  construction.
- Nothing was done against harmful or private content in the data beyond the filter above."""

SHOWN_OF_ROWS = ("loss", "perplexity", "top1", "top5")
"""Scores of held-out rows that the card shows, next to those of all probes."""


def build_model_card(client: MlflowClient, run: Run) -> ModelCard:
    """Return the card, with the metadata that the Hub reads."""
    from huggingface_hub import ModelCard

    tags, metrics = run.data.tags, run.data.metrics
    corpus, summary = (
        read_json_artifact(client, run.info.run_id, path) for path in ("data/corpus.json", FILTER_SUMMARY)
    )
    sections = {
        "Data": _data(corpus, metrics),
        "Filter": _filter(tags, summary),
        "Scores": _scores(metrics),
        "Limits": [LIMITS],
        "Where it comes from": _provenance(run),
    }
    opening = f"# {tags[STUDY]}: {tags[ARM]}, seed {tags[SEED]}\n\n" + "\n".join(_opening(run))
    rest = [f"## {title}\n\n" + "\n".join(lines) for title, lines in sections.items()]
    return ModelCard("\n\n".join([f"---\n{_metadata(run, corpus)}\n---", opening, *rest]) + "\n")


def _metadata(run: Run, corpus: Mapping[str, Any]) -> ModelCardData:
    from huggingface_hub import ModelCardData

    base = run.data.params.get("model.name")
    licenses = sorted({str(source["licence"]) for source in corpus.get("sources", []) if source.get("licence")})
    return ModelCardData(
        library_name="transformers",
        pipeline_tag="fill-mask",
        tags=["winnow", "fill-mask"],
        base_model=base if base and not Path(base).exists() else None,
        license="other" if licenses else None,
        license_name="; ".join(licenses) or None,
    )


def _opening(run: Run) -> Iterator[str]:
    model = run.data.params.get("model.name") or "a small model trained from scratch"
    yield (
        f"A masked language model ({model}), trained for {run.data.tags.get(MAX_STEPS, '?')} steps on the rows that "
        f"the filter `{run.data.tags[ARM]}` chose."
    )
    yield '\n```python\nfrom transformers import pipeline\n\nfill = pipeline("fill-mask", "THIS_MODEL")\n```'


def _data(corpus: Mapping[str, Any], metrics: Mapping[str, float]) -> Iterator[str]:
    for source in corpus.get("sources", []):
        facts = [f"{key} {source[key]}" for key in ("version", "licence", "homepage", "revision") if source.get(key)]
        name = source.get("name") or source.get("file") or source.get("kind", "source")
        yield f"- {name}: {', '.join(facts) or 'no licence known'}"
    if stages := corpus.get("funnel"):
        yield "- rows: " + " > ".join(f"{stage.replace('_', ' ')} {rows:,}" for stage, rows in stages.items())
    rows, tokens = (metrics.get(name, 0) for name in (TRAIN_ROWS, TRAIN_TOKENS))
    yield f"- trained on {rows:,.0f} rows, {tokens:,.0f} tokens"
    yield f"- corpus fingerprint `{corpus.get('fingerprint', 'unknown')}`"


def _filter(tags: Mapping[str, str], summary: Mapping[str, Any]) -> Iterator[str]:
    if not summary:
        yield "None: every row of the training split."
        return
    train = summary["rows"]["train"]
    if summary["filter"] != tags[ARM]:
        yield f"`{tags[ARM]}` draws its rows with an eye to this filter:\n"
    yield f"- `{summary['filter']}` keeps a row where `{summary['keep']}`"
    yield f"- it keeps {train['kept']:,} of {train['total']:,} training rows"
    yield f"- fingerprint of its verdicts `{tags.get(VERDICTS, 'unknown')}`"


def _scores(metrics: Mapping[str, float]) -> Iterator[str]:
    yield "Measured on held-out rows and prompts that no filter has touched, before and after the training.\n"
    yield "| | before | after |\n|---|---:|---:|"
    before = select_stage("before", metrics)
    for metric, after in sorted(select_stage("final", metrics).items()):
        named = parse_metric_name(metric)
        if metric in before and (named.kind == "probe" or named.score in SHOWN_OF_ROWS):
            yield f"| {metric} | {before[metric]:.3f} | {after:.3f} |"


def _provenance(run: Run) -> Iterator[str]:
    tags = run.data.tags
    facts = {
        "run": run.info.run_id,
        "cell": tags.get(CELL_ID),
        "corpus": tags.get(CORPUS),
        "commit": tags.get("mlflow.source.git.commit"),
        "uncommitted changes": tags.get("winnow.git.dirty"),
        "command": tags.get("winnow.argv"),
    }
    for name, fact in facts.items():
        if fact:
            yield f"- {name}: `{fact}`"
