"""The commands of the guide give a corpus."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from winnow.config import FilterConfig, construct
from winnow.config.compose import compose_cells
from winnow.data import Dataset
from winnow.filters import Filter

GUIDE = (Path(__file__).parents[2] / "docs/data.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^winnow filter (.*)$", GUIDE, re.MULTILINE)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_guide_gives_a_corpus(command: str, workplace: Path) -> None:
    rows = "".join(f"title {i},{i} words of body number {i * 7},{i % 5},{i // 2}\n" for i in range(120))
    (workplace / "reviews.csv").write_text("title,body,stars,product\n" + rows)
    (workplace / "held_out.csv").write_text("body\n1 words of body number 7\nnew words\nand more\n")
    (workplace / "book.txt").write_text("\n\n".join(f"paragraph {i}\nand its end" for i in range(80)))
    [cell], _ = compose_cells("filter", FilterConfig, shlex.split(command))
    dataset = construct(cell.config.dataset, "dataset", Dataset)
    assert dataset.check() + construct(cell.config.filter, "filter", Filter).check() == []
    corpus = dataset.load(workplace)
    assert corpus.split("train").num_rows > 50
    assert all(shares["exact"] == 0 for shares in corpus.leakage.values())
    assert "external" not in command or corpus.split("external").num_rows == 3
    assert "validation" not in command or corpus.split("validation").num_rows == 3


def test_the_guide_has_commands() -> None:
    assert len(COMMANDS) == 9
