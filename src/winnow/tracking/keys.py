"""What a run leaves in the store: the names that tracking writes and comparison reads.

A study is one MLflow experiment. It holds a parent run of kind ``study`` and, below it, one run of kind ``cell``
for every training. Each cell carries all that is needed to group it and to judge whether it may be compared.
"""

from __future__ import annotations

from typing import Final

KIND: Final = "winnow.kind"
"""Tag: ``study``, ``cell``, ``comparison`` or ``rerun``."""

STUDY: Final = "winnow.study"
ARM: Final = "winnow.arm"
"""Tag: the name of the filter that chose the training rows."""

SEED: Final = "winnow.seed"
CELL_ID: Final = "winnow.cell_id"
RECIPE: Final = "winnow.recipe"
"""Tag: fingerprint of all that a cell is made of but its seed; an arm's cells count together only where it is equal."""

COMPARED: Final = "winnow.compared"
"""Tag of a comparison: how many runs it compared; ``comparison/runs.json`` names them."""

COMPARISON: Final = "comparison"
"""Artifact folder of a comparison: its numbers, report, tables and figures."""

RERUN_OF: Final = "winnow.rerun_of"
"""Tag of a rerun: the id of the run that it repeats."""

FAILURE_REASON: Final = "winnow.cause"
"""Tag: why a run ended FAILED or KILLED."""

OWNER: Final = "winnow.owner"
"""Tag: the process that works on the run, as :class:`winnow.tracking.process.ownership.RunOwner` writes it."""

HEARTBEAT: Final = "winnow.last_sign_of_life"
"""Tag: when that process last told that it lives, in milliseconds since 1970."""

ATTEMPTS: Final = "winnow.attempts"
"""Tag: how often the run was begun; above 1 where a broken one was taken up again."""

OFFLINE_ID: Final = "winnow.begun_as"
"""Tag: the id that a run bore before the store knew of it, by which it is found again and never made twice."""

CHANGED_PARAMS: Final = "winnow.changed_params"
"""Tag: parameters whose value differs since a broken run was taken up again, as JSON; MLflow keeps the first."""

DECLARATION_FINGERPRINT: Final = "winnow.declared"
"""Tag of a study's own run: fingerprint of its declaration."""

COMMIT: Final = "mlflow.source.git.commit"
"""Tag: the commit that the code stood at, by MLflow's own name for it."""

CORPUS: Final = "winnow.corpus"
VERDICTS: Final = "winnow.verdicts"
"""Tag: fingerprint of the verdict table that chose the training rows; absent where all rows were taken."""

TOKENIZER: Final = "winnow.tokenizer"
HELD_OUT: Final = "winnow.held_out"
"""Tag: fingerprint of the held-out rows and their masks; losses are compared only where it is equal."""

PROBES: Final = "winnow.probes"
"""Tag: fingerprint of all probes; probe scores are compared only where it is equal."""

USER_METRICS: Final = "winnow.user_metrics"
"""Tag: the user's own metrics as JSON, by name with ``direction``, ``unit`` and ``label``; absent where there are none.
"""

MAX_STEPS: Final = "winnow.max_steps"
"""Tag: the budget in optimizer steps, or as ``1000000 tokens``; arms are compared only where it is equal."""

NOT_COMPARABLE: Final = "winnow.not_comparable"
"""Tag: why a run may not be compared, such as early stopping; absent where it may."""

NUMERICS_SUMMARY: Final = "winnow.arithmetic"
"""Tag: precision, device and how many products of linear layers oneDNN takes."""

CONFIG: Final = "config/resolved.yaml"
"""Artifact: the resolved configuration, with every default."""

VERSION: Final = "winnow.version"
"""Tag: the version of Winnow that made the run; Winnow 0.1 did not set it."""

NUMERICS: Final = "environment/arithmetic.json"
"""Artifact of a cell: how it computes. Keys: ``precision``, ``device``, ``tf32``, ``compile``, ``linear``, ``onednn``
(the products that it takes, as ``forward OUTPUTS INPUTS``) and ``gflops`` (what was timed)."""

DECLARATION: Final = "study/declaration.json"
"""Artifact of the parent run: what was declared before the first cell ran. Keys: ``study``, ``primary_metric``,
``secondary_metrics``, ``equivalence_margin`` (null where none), ``block_by_seed`` (absent before version 0.2, when no
study had it), ``arms`` (list of names), ``baseline`` (``full``), ``filter`` (the filter under test), ``control``
(``random_matched``), ``ablations`` (of each arm that is the filter less a signal, that signal), ``seeds``,
``max_steps``, ``filter_words`` and ``probe_words`` (sorted lists), and
``cells`` (the ids of the study's cells)."""

ROWS: Final = "evaluation/rows.parquet"
"""Artifact of a cell: ``stage`` (before, after), ``split``, ``row_id``, ``source``, ``loss_sum``, ``masked``, ``top1``,
``top5``, ``mrr`` (sum of reciprocal ranks), ``ranks`` and ``confidences`` (of each masked token),
``pseudo_log_likelihood`` and ``pseudo_tokens`` (null outside the fixed subset), and ``slices`` (list of the slice names
the row belongs to, ``all`` left out)."""

PROMPTS: Final = "evaluation/prompts.parquet"
"""Artifact of a cell: ``stage``, ``probe`` and the per-prompt columns of ``ProbeScores.prompts``. Runs before version
0.2 have no ``template``."""

FILLS: Final = "evaluation/fills.parquet"
"""Artifact of a cell: ``stage``, ``probe``, ``prompt_id``, ``prompt``, ``rank``, ``word``, ``probability``."""

CURVES: Final = "evaluation/curves.parquet"
"""Artifact of a cell: what the probes said during training, from step 0 on. ``step``, ``probe``, ``metric`` and
``value``; where ``metric`` is ``probability`` also ``role`` and ``word``, a followed word whose mean over the prompts
``value`` is."""

WORDS: Final = "evaluation/words.json"
"""Artifact of a cell: for each probe its ``lexicon`` (name, version, fingerprint), ``coverage`` and ``uncovered`` words
by role, and the words it has in common with the filter (``shared_with_filter``, ``filter_overlap``)."""

TOPK: Final = "probe_topk.json"
"""Artifact: the likeliest words at each prompt as a table of MLflow's (``log_table``), so that its pages show it across
runs: ``model``, ``probe``, ``prompt``, ``rank``, ``word``, ``probability``."""

LINEAGE: Final = "data/lineage.json"
"""Artifact of a cell: ``stages``, from the sources to the training rows, each with counts and fingerprint."""

REMOVED: Final = "data/removed.parquet"
"""Artifact of a cell: ``row_id``, ``source`` and ``reasons`` (a list) of each training row that was left out."""

FILTER_SUMMARY: Final = "filter/summary.json"
"""Artifact of a cell whose filter judged rows: ``Verdicts.summary()`` plus ``dropped``, a short list of examples."""

MODEL: Final = "model"
"""Artifact folder of a cell: what ``save_pretrained`` wrote, for ``transformers.pipeline("fill-mask", folder)``."""
