"""The tables of a comparison as CSV for programs and as LaTeX for papers."""

from __future__ import annotations

import csv
import html
import math
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

from winnow.comparison.analysis import Comparison
from winnow.comparison.metric_scores import Metric
from winnow.comparison.verdict import Finding
from winnow.formatting import MINUS, NOTHING, interval, number, p_text

LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    MINUS: "$-$", NOTHING: "--", "±": r"$\pm$",
}  # fmt: skip


@dataclass(frozen=True)
class Table:
    """One table: full numbers in ``rows`` for programs, rounded text in ``shown`` for people."""

    name: str
    caption: str
    columns: list[str]
    rows: list[list[Any]]
    heads: list[str]
    shown: list[list[str]]

    def _repr_html_(self) -> str:
        """Return what a notebook shows."""
        head = "".join(f"<th>{html.escape(text)}</th>" for text in self.heads)
        body = "".join(f"<tr>{''.join(f'<td>{html.escape(text)}</td>' for text in row)}</tr>" for row in self.shown)
        return f"<table><caption>{html.escape(self.caption)}</caption><tr>{head}</tr>{body}</table>"

    def as_csv(self) -> str:
        """Return the table as CSV with every digit; what is not known is left empty."""
        text = StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.columns)
        for row in self.rows:
            writer.writerow(["" if isinstance(one, float) and math.isnan(one) else one for one in row])
        return text.getvalue()

    def as_latex(self) -> str:
        r"""Return the table as a float with booktabs rules; the document needs ``\usepackage{booktabs}``."""
        numeric = [all(_is_number(row[i]) for row in self.shown) for i in range(len(self.heads))]
        body = [" & ".join(map(latex, row)) + r" \\" for row in self.shown]
        return "\n".join(
            [
                r"% needs \usepackage{booktabs}",
                r"\begin{table}",
                r"  \centering",
                rf"  \caption{{{latex(self.caption)}}}",
                rf"  \label{{tab:{self.name}}}",
                rf"  \begin{{tabular}}{{{''.join('r' if right else 'l' for right in numeric)}}}",
                r"    \toprule",
                "    " + " & ".join(map(latex, self.heads)) + r" \\",
                r"    \midrule",
                *(f"    {line}" for line in body),
                r"    \bottomrule",
                r"  \end{tabular}",
                r"\end{table}",
                "",
            ]
        )


def latex(text: str) -> str:
    r"""Escape a text for LaTeX.

    >>> print(latex("top_5 < 10%"))
    top\_5 \textless{} 10\%
    """
    return "".join(LATEX.get(letter, letter) for letter in text)


def tables(comparison: Comparison) -> list[Table]:
    """Return the tables of a comparison that are not empty: arms, seeds, contrasts, contributions and slices."""
    found = [_arms(comparison), _seeds(comparison), _contrasts(comparison), _contributions(comparison)]
    found += [_slices(comparison), _metrics(comparison)]
    return [table for table in found if table.rows]


def write_tables(comparison: Comparison, folder: Path) -> list[Path]:
    """Write every table as ``NAME.csv`` and ``NAME.tex`` into ``folder``, and return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for table in tables(comparison):
        for ending, text in (("csv", table.as_csv()), ("tex", table.as_latex())):
            written.append(folder / f"{table.name}.{ending}")
            written[-1].write_text(text, encoding="utf-8")
    return written


def _arms(comparison: Comparison) -> Table:
    label = Metric(comparison.primary_metric).label
    columns = ["arm", "role", "n", "mean", "std", "ci_low", "ci_high", "train_rows", "tokens", "seconds"]
    return Table(
        "arms",
        f"Arms in {label}, over seeds; rows and tokens are means per seed.",
        columns,
        [[name, *(getattr(arm, key) for key in columns[1:])] for name, arm in comparison.arms.items()],
        ["arm", "seeds", "mean", "std", f"{comparison.confidence:.0%} interval", "rows", "tokens"],
        [
            [name, str(arm.n), number(arm.mean), number(arm.std), interval(arm.ci_low, arm.ci_high)]
            + [f"{value:,.0f}" if math.isfinite(value) else NOTHING for value in (arm.train_rows, arm.tokens)]
            for name, arm in comparison.arms.items()
        ],
    )


def _seeds(comparison: Comparison) -> Table:
    rows: list[list[Any]] = [
        [name, seed, value, run]
        for name, arm in comparison.arms.items()
        for seed, value, run in zip(arm.seeds, arm.values, arm.run_ids, strict=True)
    ]
    label = Metric(comparison.primary_metric).label
    shown = [[name, str(seed), number(value)] for name, seed, value, _ in rows]
    columns = ["arm", "seed", comparison.primary_metric, "run_id"]
    return Table("seeds", f"Each seed in {label}.", columns, rows, ["arm", "seed", label], shown)


CONTRAST = ["a", "b", "difference", "ci_low", "ci_high", "p_value", "std_error", "df", "n_a", "n_b", "items"]


def _numbers(finding: Finding) -> list[Any]:
    beside = [finding.p_holm, finding.outcome or "", *finding.bootstrap, finding.permutation_p]
    return [*(getattr(finding.result, key) for key in CONTRAST), *beside]


def _told(finding: Finding) -> list[str]:
    r = finding.result
    told = [number(r.difference), interval(r.ci_low, r.ci_high), p_text(r.p_value), p_text(finding.p_holm)]
    return [*told[:2], *(p.removeprefix("p ").removeprefix("= ").replace("not known", NOTHING) for p in told[2:])]


BESIDE = ["p_holm", "outcome", "bootstrap_low", "bootstrap_high", "permutation_p"]


def _contrasts(comparison: Comparison) -> Table:
    found = comparison.findings
    return Table(
        "contrasts",
        f"Contrasts with {comparison.confidence:.0%} intervals for new seeds and new prompts or rows.",
        ["family", "metric", *CONTRAST, *BESIDE, "post_hoc"],
        [[f.family, f.metric, *_numbers(f), f.post_hoc] for f in found],
        ["contrast", "metric", "difference", "interval", "p", "p, Holm", "family"],
        [[f"{f.result.a} {MINUS} {f.result.b}", Metric(f.metric).label, *_told(f), _place(f)] for f in found],
    )


def _place(finding: Finding) -> str:
    return f"{finding.family}, post hoc" if finding.post_hoc else finding.family


def _contributions(comparison: Comparison) -> Table:
    found = comparison.contributions
    return Table(
        "contributions",
        f"What each signal adds to {Metric(comparison.primary_metric).label}: the filter less the filter without it.",
        ["signal", *CONTRAST, *BESIDE],
        [[signal, *_numbers(finding)] for signal, finding in found.items()],
        ["signal", "adds", "interval", "p", "p, Holm"],
        [[signal, *_told(finding)] for signal, finding in found.items()],
    )


def _slices(comparison: Comparison) -> Table:
    arms, found = list(comparison.arms), comparison.slices
    rows, shown = [], []
    for s in found:
        change = (s.change.difference, s.change.ci_low, s.change.ci_high) if s.change else (math.nan,) * 3
        means = [s.arms.get(arm, math.nan) for arm in arms]
        rows.append([s.split, s.name, s.rows, s.base, *means, *change])
        shown.append([s.name, str(s.rows), *map(number, means), number(change[0]), interval(*change[1:])])
    return Table(
        "slices",
        "Loss by held-out slice, mean over seeds, and how the filter changes it against the baseline.",
        ["split", "slice", "rows", "base", *arms, "change", "change_low", "change_high"],
        rows,
        ["slice", "rows", *arms, "change", "interval"],
        shown,
    )


def _metrics(comparison: Comparison) -> Table:
    found = [(name, arm, p) for name, by_arm in comparison.metrics.items() for arm, p in by_arm.items()]
    return Table(
        "metrics",
        "Every final metric of every arm, described and not tested.",
        ["metric", "arm", "n", "mean", "std", "ci_low", "ci_high"],
        [[name, arm, p.n, p.mean, p.std, p.ci_low, p.ci_high] for name, arm, p in found],
        ["metric", "arm", "seeds", "mean", "std", "interval"],
        [[name, arm, str(p.n), number(p.mean), number(p.std), interval(p.ci_low, p.ci_high)] for name, arm, p in found],
    )


def _is_number(text: str) -> bool:
    return text in ("", NOTHING) or text.lstrip(f"<> {MINUS}+")[:1].isdigit()
