"""The guide to evaluation matches the code."""

import re
from pathlib import Path
from typing import Any

import yaml

from winnow.config import construct
from winnow.evaluation import Probe
from winnow.evaluation.probes.prompt_score_formulas import PROMPT_SCORES

GUIDE = (Path(__file__).parents[2] / "docs/evaluation.md").read_text("utf-8")


def test_the_probe_of_the_guide_is_valid(tmp_path: Path) -> None:
    block, *_ = re.findall(r"```yaml\n(.*?)```", GUIDE, flags=re.DOTALL)
    node: dict[str, Any] = yaml.safe_load(block)["mine"]
    (tmp_path / node["lexicon"]).write_text("word,role\ndurable,wanted\nugly,unwanted\n", "utf-8")
    probe = construct(node | {"lexicon": str(tmp_path / node["lexicon"])}, "probe.mine", Probe)
    assert probe.check() == []
    assert len(probe.clozes) == 4
    assert probe.clozes[0].prior_text == "[MASK] shoes are really [MASK]"


def test_the_guide_lists_exactly_the_scores_of_a_prompt() -> None:
    table = GUIDE.partition("| score | definition |")[2].partition("\n\n")[0]
    documented = {
        name for row in re.findall(r"^\| (`.*?) \|", table, flags=re.MULTILINE) for name in re.findall(r"`(\w+)`", row)
    }
    scores = {re.sub(r"_at_\d+$", "_at_k", name) for name in PROMPT_SCORES}
    summary_scores = {"log_odds_of_n_tokens", "seen_prompts", "held_out_log_odds", "filter_overlap"}
    assert documented == (scores - {"prior_log_odds"}) | summary_scores
