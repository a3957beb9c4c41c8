"""Build a run's model card from the store. The card describes the data, filter, scores and limitations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from winnow.metrics.metric_names import TRAIN_ROWS, TRAIN_TOKENS, parse_metric_name, select_stage
from winnow.tracking.keys import ARM, CELL_ID, CORPUS, FILTER_SUMMARY, MAX_STEPS, SEED, STUDY, VERDICTS
from winnow.tracking.run_queries import read_json_artifact, read_run_metrics
from winnow.untrusted_text import escape_markdown, format_markdown_code

if TYPE_CHECKING:
    from huggingface_hub import ModelCard, ModelCardData
    from mlflow import MlflowClient
    from mlflow.entities import Run

LIMITATIONS = """\
- Trained on one narrow corpus to compare data filters. This is not a general-purpose language model.
- Trained with one seed. The study's report gives the variation between seeds.
- A filter that keeps praise produces a model that predicts praise. Its predictions are not evidence about any product
  or company.
- Probe scores consider listed words only. If the filter and the probe share words, the scores are partly circular.
- Apart from the filter above, harmful or private content was not removed from the data."""
"""Text of the card's section on limitations, in Markdown."""

MODEL_CARD_SCORES = ("loss", "perplexity", "top1", "top5")
"""Names of the held-out scores that the card lists in addition to all probe scores."""


@dataclass(frozen=True)
class RelatedModel:
    """Another arm of the same study, on the Hugging Face Hub.

    Attributes:
        repository: The repository as OWNER/NAME.
        arm: The name of the arm.
        role: The role of the arm in the study; empty if unknown.
    """

    repository: str
    arm: str
    role: str


def build_model_card(client: MlflowClient, run: Run, related: Sequence[RelatedModel] = ()) -> ModelCard:
    """Return the model card of a run, with metadata for the Hugging Face Hub and links to related models."""
    from huggingface_hub import ModelCard

    tags, metrics = run.data.tags, read_run_metrics(client, run)
    corpus, summary = (
        read_json_artifact(client, run.info.run_id, path) for path in ("data/corpus.json", FILTER_SUMMARY)
    )
    sections = {
        "Data": _describe_data(corpus, metrics),
        "Filter": _describe_filter(tags, summary),
        "Scores": _build_score_table(metrics),
        **({"Related models": _list_related_models(related)} if related else {}),
        "Limitations": [LIMITATIONS],
        "Provenance": _describe_provenance(run),
    }
    title = escape_markdown(f"# {tags[STUDY]}: {tags[ARM]}, seed {tags[SEED]}")
    introduction = f"{title}\n\n" + "\n".join(_introduce_model(run))
    section_texts = [f"## {title}\n\n" + "\n".join(lines) for title, lines in sections.items()]
    return ModelCard("\n\n".join([f"---\n{_build_metadata(run, corpus)}\n---", introduction, *section_texts]) + "\n")


def _build_metadata(run: Run, corpus: Mapping[str, Any]) -> ModelCardData:
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


def _introduce_model(run: Run) -> Iterator[str]:
    model = run.data.params.get("model.name") or "a small model trained from scratch"
    yield (
        f"A masked language model ({escape_markdown(model)}), trained for {run.data.tags.get(MAX_STEPS, '?')} steps "
        f"on the rows that the filter {format_markdown_code(run.data.tags[ARM])} selected."
    )
    yield '\n```python\nfrom transformers import pipeline\n\nfill = pipeline("fill-mask", "THIS_MODEL")\n```'


def _describe_data(corpus: Mapping[str, Any], metrics: Mapping[str, float]) -> Iterator[str]:
    for source in corpus.get("sources", []):
        details = [f"{key} {source[key]}" for key in ("version", "licence", "homepage", "revision") if source.get(key)]
        name = source.get("name") or source.get("file") or source.get("kind", "source")
        yield escape_markdown(f"- {name}: {', '.join(details) or 'license unknown'}")
    if stages := corpus.get("funnel"):
        yield "- rows: " + " > ".join(f"{stage.replace('_', ' ')} {rows:,}" for stage, rows in stages.items())
    rows, tokens = (metrics.get(name, 0) for name in (TRAIN_ROWS, TRAIN_TOKENS))
    yield f"- training rows: {rows:,.0f} ({tokens:,.0f} tokens)"
    yield f"- corpus fingerprint `{corpus.get('fingerprint', 'unknown')}`"


def _describe_filter(tags: Mapping[str, str], summary: Mapping[str, Any]) -> Iterator[str]:
    if not summary:
        yield "No filter: every row of the training split was used."
        return
    train = summary["rows"]["train"]
    if summary["filter"] != tags[ARM]:
        yield f"{format_markdown_code(tags[ARM])} selects its rows relative to this filter:\n"
    yield f"- {format_markdown_code(summary['filter'])} keeps a row if {format_markdown_code(summary['keep'])}"
    yield f"- keeps {train['kept']:,} of {train['total']:,} training rows"
    yield f"- verdicts fingerprint `{tags.get(VERDICTS, 'unknown')}`"


def _build_score_table(metrics: Mapping[str, float]) -> Iterator[str]:
    yield "Measured on unfiltered held-out rows and prompts, before and after training.\n"
    yield "| | before | after |\n|---|---:|---:|"
    before = select_stage("before", metrics)
    for metric, after in sorted(select_stage("final", metrics).items()):
        metric_name = parse_metric_name(metric)
        if metric in before and (metric_name.kind == "probe" or metric_name.score in MODEL_CARD_SCORES):
            yield f"| {escape_markdown(metric)} | {before[metric]:.3f} | {after:.3f} |"


def _list_related_models(related: Sequence[RelatedModel]) -> Iterator[str]:
    yield (
        "Trained in the same study with the same seed, training budget and held-out rows, but on other training rows. "
        "Compare these models with each other; the study's report has the differences over all seeds.\n"
    )
    for model in related:
        arm, role = format_markdown_code(model.arm), f": {model.role}" if model.role else ""
        yield f"- [{model.repository}](https://huggingface.co/{model.repository}), {arm}{role}"


def _describe_provenance(run: Run) -> Iterator[str]:
    tags = run.data.tags
    fields = {
        "run": run.info.run_id,
        "cell": tags.get(CELL_ID),
        "corpus": tags.get(CORPUS),
        "commit": tags.get("mlflow.source.git.commit"),
        "uncommitted changes": tags.get("winnow.git.dirty"),
        "command": tags.get("winnow.argv"),
    }
    for name, value in fields.items():
        if value:
            yield f"- {name}: {format_markdown_code(value)}"
