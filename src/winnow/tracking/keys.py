"""Names of a run's tags and artifacts, shared by the packages that write and read these tags and artifacts.

A study is one MLflow experiment. It contains a parent run of kind ``study`` with one child run of kind ``cell`` per
training run. A cell's tags identify the cell's arm and contain all values that must match for a comparison.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

KIND: Final = "winnow.kind"
"""Tag: the kind of run: ``study``, ``cell``, ``comparison``, ``rerun`` or ``search``."""

TRIAL: Final = "winnow.trial"
"""Tag: the number of the search trial that the cell belongs to; absent outside a search."""

PRUNED: Final = "winnow.pruned"
"""Tag: the step at which a search stopped the run, because its scores were worse than those of other trials. The run
has the status KILLED and keeps its checkpoint; the tag is removed if the run is resumed."""

SEARCH: Final = "search/declaration.json"
"""Artifact of a search's parent run: the search space, the objective, the sampler and the seeds."""

STUDY: Final = "winnow.study"
"""Tag: the name of the study."""

ARM: Final = "winnow.arm"
"""Tag: the name of the arm, which is the name of the filter that selected the training rows."""

ARM_LABEL: Final = "winnow.arm_label"
"""Tag: the label of the arm, which reports display, such as ``cheerful[mood.at_least=0.4]``. It is the name if
no filter setting was swept, and absent before version 0.3."""

FACTOR_PREFIX: Final = "winnow.factor."
"""Prefix of tags: ``winnow.factor.optimizer.lr`` is the level of the factor ``optimizer.lr``. A factor is a setting
outside the filter that the sweep varies. Absent if there are no factors and before version 0.3."""

ARM_PARAMETER: Final = "arm"
"""Parameter of a cell: the label of its arm, because MLflow's charts show parameters but not tags."""

FACTOR_PARAMETER_PREFIX: Final = "factors."
"""Prefix of parameters: ``factors.optimizer.lr`` is the level of the factor ``optimizer.lr``."""

SEED: Final = "winnow.seed"
"""Tag: the training seed."""

CELL_ID: Final = "winnow.cell_id"
"""Tag: the cell's id; every attempt to run a cell has the same id."""

RECIPE: Final = "winnow.recipe"
"""Tag: the fingerprint of a cell's settings, excluding the seed. All cells of an arm with the same factor levels must
have the same recipe."""

COMPARED_RUN_COUNT: Final = "winnow.compared"
"""Tag of a comparison: the number of compared runs; ``comparison/runs.json`` lists them."""

COMPARISON_FOLDER: Final = "comparison"
"""Artifact folder of a comparison: its results, report, tables and figures."""

RERUN_OF: Final = "winnow.rerun_of"
"""Tag of a rerun: the id of the original run."""

FAILURE_REASON: Final = "winnow.cause"
"""Tag: why a run has the status FAILED or KILLED."""

RUN_OWNER: Final = "winnow.owner"
"""Tag: the process that executes the run, as a :class:`winnow.tracking.process.run_ownership.RunOwner` in JSON."""

HEARTBEAT: Final = "winnow.last_sign_of_life"
"""Tag: the time of the owner's last heartbeat, in milliseconds since 1970."""

ATTEMPTS: Final = "winnow.attempts"
"""Tag: how many times the run was started or resumed; greater than 1 if the run was resumed."""

OFFLINE_ID: Final = "winnow.begun_as"
"""Tag: the temporary id of a run before it was created in the store, used to avoid creating the run twice."""

CHANGED_PARAMS: Final = "winnow.changed_params"
"""Tag: parameters that changed when the run was resumed, as JSON; MLflow keeps only a parameter's first value."""

DECLARATION_FINGERPRINT: Final = "winnow.declared"
"""Tag of a study's parent run: the fingerprint of the study's declaration."""

COMMIT: Final = "mlflow.source.git.commit"
"""Tag: the git commit of the code. MLflow defines this name."""

CORPUS: Final = "winnow.corpus"
"""Tag: the fingerprint of the corpus."""

VERDICTS: Final = "winnow.verdicts"
"""Tag: the fingerprint of the verdict table that selected the training rows; absent if all rows were used."""

TOKENIZER: Final = "winnow.tokenizer"
"""Tag: the fingerprint of the tokenizer."""

HELD_OUT: Final = "winnow.held_out"
"""Tag: the fingerprint of the held-out rows and their masks. Losses are comparable only if this tag is equal."""

PROBES: Final = "winnow.probes"
"""Tag: the fingerprint of all probes. Probe scores are comparable only if this tag is equal."""

USER_METRICS: Final = "winnow.user_metrics"
"""Tag: user-defined metrics as JSON, each with ``direction``, ``unit`` and ``label``; absent if there are none."""

MAX_STEPS: Final = "winnow.max_steps"
"""Tag: the training budget, either a number of optimizer steps or text such as ``1000000 tokens`` or ``2 passes``.
Arms are comparable only if this tag is equal."""

NOT_COMPARABLE: Final = "winnow.not_comparable"
"""Tag: why a run is not comparable, for example because it uses early stopping; absent if the run is comparable."""

NUMERICS_SUMMARY: Final = "winnow.arithmetic"
"""Tag: a summary of the numerics: the precision, the device and the number of linear-layer matmuls that use oneDNN."""

RESOLVED_CONFIG: Final = "config/resolved.yaml"
"""Artifact: the resolved configuration, including every default."""

OVERRIDES: Final = "config/overrides.txt"
"""Artifact: the overrides of the command line, one per line."""

WINNOW_VERSION: Final = "winnow.version"
"""Tag: the Winnow version that executed the run; Winnow 0.1 did not set this tag."""

NUMERICS: Final = "environment/arithmetic.json"
"""Artifact of a cell: its numeric settings. Keys: ``precision``, ``device``, ``tf32``, ``compile``, ``linear``,
``onednn`` (the matmuls that use oneDNN, as ``forward OUTPUTS INPUTS``) and ``gflops`` (the measured rates)."""

DECLARATION: Final = "study/declaration.json"
"""Artifact of the parent run: the declaration, stored before the first cell ran. Keys: ``study``, ``primary_metric``,
``secondary_metrics``, ``equivalence_margin`` (null if none), ``specificity_metric`` (``none`` if the probe has no
subject), ``subjects``, ``comparison_subjects``, ``guard_metric``, ``cost_margin`` (null if none), ``looks``
(the keys from ``specificity_metric`` to ``looks`` are absent before version 0.3), ``block_by_seed`` (absent before
version 0.2), ``arms`` (list of names), ``baseline`` (``full``), ``filter`` (the filter under test), ``tested_filters``
(all filters), ``control`` (``random_matched``), ``controls`` (maps each filter to its control; absent before version
0.3), ``ablations`` (maps each leave-one-out arm to the omitted signal), ``seeds``, ``max_steps``, ``arm_labels`` (maps
each arm to its label; absent before version 0.3), ``filter_words`` and ``probe_words`` (sorted lists), ``cells``
(the ids of the study's cells), ``factors`` (maps each factor to its levels), ``cell_levels`` (maps each cell id to the
cell's level of each factor), ``select`` (``validation`` or ``none``) and ``search`` (the search that chose the filter's
settings; absent if there was none). The keys ``factors``, ``cell_levels`` and ``select`` are absent before version
0.3."""

ROW_SCORES: Final = "evaluation/rows.parquet"
"""Artifact of a cell: ``stage`` (before, after, and since version 0.2 also unigram and trigram: the n-gram models,
which have only ``loss_sum`` and ``masked``), ``split``, ``row_id``, ``source``, ``loss_sum``, ``masked``, ``top1``,
``top5``, ``mrr`` (sum of reciprocal ranks), ``ranks`` and ``confidences`` (per masked token), ``pseudo_log_likelihood``
and ``pseudo_tokens`` (null outside the fixed subset), ``slices`` (list of the row's slice names, without ``all``),
``cluster`` (the label of the row's cluster) and ``cluster_kind`` (the column that the label comes from, or
``near-duplicate group``). The last two columns are absent before version 0.3."""

PROMPT_RESULTS: Final = "evaluation/prompts.parquet"
"""Artifact of a cell: ``stage`` (as in :data:`ROW_SCORES`), ``probe`` and the per-prompt columns of
``ProbeScores.prompts``. Winnow 0.1 wrote neither the column ``template`` nor the scores of n-gram models."""

PREDICTED_WORDS: Final = "evaluation/fills.parquet"
"""Artifact of a cell: ``stage``, ``probe``, ``prompt_id``, ``prompt``, ``rank``, ``word``, ``probability``."""

PROBE_CURVES: Final = "evaluation/curves.parquet"
"""Artifact of a cell: probe metrics during training, starting at step 0. Columns: ``step``, ``probe``, ``metric``,
``value``, ``role`` and ``word``. If ``metric`` is ``probability``, ``value`` is the mean probability of ``word`` across
the prompts; otherwise ``role`` and ``word`` are null."""

PROBE_WORDS: Final = "evaluation/words.json"
"""Artifact of a cell: each probe's ``lexicon`` (name, version, fingerprint), its ``coverage`` and ``uncovered`` words
by role, the number of the probe's ``words``, the words that the filter's signals use (``shared_with_filter``) and their
fraction (``filter_overlap``), the signals whose words are unknown (``unknown_signals``), and the polarity of each word
of the opinion lexicon that is in neither the filter's nor the probe's lists (``unlisted_opinions``). Before version
0.3, only the word lists of the filter were considered."""

METRIC_TABLE: Final = "metrics.json"
"""Artifact: the metrics that are not logged to MLflow, as a table that the MLflow UI displays. Columns: ``metric``
(a name without a stage), ``before`` and ``final`` (the score at that stage), and ``value`` (a metric without stages).
Absent before version 0.3: all metrics were logged to MLflow."""

LOGGED_TABLES: Final = "mlflow.loggedArtifacts"
"""Tag: the artifacts that the MLflow UI displays as tables. MLflow defines this name."""

TOP_WORDS: Final = "probe_topk.json"
"""Artifact: the most likely words for each prompt in the format of MLflow's ``log_table``, so that the MLflow UI can
show the table across runs. Columns: ``model``, ``probe``, ``prompt``, ``rank``, ``word``, ``probability``."""

DATA_LINEAGE: Final = "data/lineage.json"
"""Artifact of a cell: ``stages``, a list from the sources to the training rows with each stage's row counts and
fingerprint."""

REMOVED_ROWS: Final = "data/removed.parquet"
"""Artifact of a cell: the ``row_id``, ``source`` and ``reasons`` (a list) of each removed training row."""

FILTER_SUMMARY: Final = "filter/summary.json"
"""Artifact of a cell with a filter: ``Verdicts.summary()`` plus ``dropped``, a short list of examples."""

MODEL_FOLDER: Final = "model"
"""Artifact folder of a cell: the output of ``save_pretrained``, for ``transformers.pipeline("fill-mask", folder)``."""


def read_factor_levels(tags: Mapping[str, str]) -> dict[str, str]:
    """Return the level of each factor in a run's tags, by setting.

    >>> read_factor_levels({"winnow.factor.optimizer.lr": "1e-4", "winnow.arm": "full"})
    {'optimizer.lr': '1e-4'}
    """
    return {key.removeprefix(FACTOR_PREFIX): tags[key] for key in sorted(tags) if key.startswith(FACTOR_PREFIX)}
