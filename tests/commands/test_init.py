"""`winnow init`: the files that it writes, and how it reports invalid options."""

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from winnow.cli import main
from winnow.commands.argument_parsers import build_parser
from winnow.commands.column_summary import read_records, summarize_columns
from winnow.commands.init import run_init
from winnow.commands.study_files import GENERAL_TEMPLATES, TEMPLATES, build_templates
from winnow.errors import WinnowErrors
from winnow.evaluation.probes.prompt_splits import MIN_TEMPLATES_PER_SPLIT, assign_templates

WORDS = ["--wanted", "soft,light", "--unwanted", "tight", "--subject", "dress"]


@pytest.fixture
def reviews(workplace: Path) -> Path:
    """A file with a text, a label, a group and a number per row."""
    words, moods = ("soft", "tight", "light"), ("good", "bad", "so so")
    rows = [f"this dress number {i} is {words[i % 3]},{moods[i % 3]},item {i // 4},{i / 7}" for i in range(240)]
    file = workplace / "My reviews.csv"
    file.write_text("Review Text,mood,product,score\n" + "\n".join(rows) + "\n", encoding="utf-8")
    return file


def read_yaml(file: str) -> Any:
    return yaml.safe_load(Path(file).read_text(encoding="utf-8"))


def test_columns_are_summarized(reviews: Path) -> None:
    columns = summarize_columns(read_records(reviews))
    roles = {column.name: (column.role, column.filled, column.distinct) for column in columns}
    assert roles["Review Text"] == ("text", 240, 240)
    assert roles["mood"] == ("label", 240, 3)
    assert roles["product"][0] == "group"
    assert roles["score"] == ("", 240, 240)
    ages = [{"age": str(20 + i % 60), "shop": "A" if i % 10 else f"B{i}"} for i in range(600)]
    assert [column.role for column in summarize_columns(ages)] == ["", ""], "a number, and a value of 90% of the rows"


def test_the_files_of_a_study_are_written_and_compose(reviews: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--label", "mood", "--group", "product", "--comparison", "top"]
    assert main(["init", reviews.name, *WORDS, *options]) == 0
    printed = capsys.readouterr().out
    rows = re.search(r"subject (\d+), .* The filter keeps (\d+) of (\d+) training rows", printed)
    assert rows is not None
    assert rows[1] == rows[3]
    assert int(rows[2]) < int(rows[3]) < 240
    assert f"{rows[3]} training rows are too few to learn more than word frequencies" in printed
    assert "edit `keep: subject & wanted & ~unwanted` in conf/filter/my_reviews_filtered.yaml" in printed
    assert "experiment=my_reviews study.name=my_reviews_try seed=1,2 training.max_steps=50\n" in printed
    assert "winnow train experiment=my_reviews\n" in printed
    dataset = read_yaml("conf/dataset/my_reviews.yaml")
    assert dataset["source"] == {
        "path": "My reviews.csv", "text": ["Review Text"], "label": "mood", "group": "product"
    }  # fmt: skip
    assert main(["train", "experiment=my_reviews", "--cfg"]) == 0
    cells = list(yaml.safe_load_all(capsys.readouterr().out))
    assert Counter(cell["filter"].get("name") for cell in cells) == {
        "full": 5, "my_reviews_filtered": 5, "my_reviews_random": 5
    }  # fmt: skip
    assert cells[0]["probe"]["my_reviews"]["comparison"] == ["top"]
    assert cells[0]["study"]["primary_metric"] == "probe/my_reviews/log_odds"
    assert cells[0]["study"]["secondary_metrics"] == [
        "test/all/loss", "probe/my_reviews/wanted_mass", "probe/my_reviews/unwanted_mass"
    ]  # fmt: skip
    # The same command may be repeated; different files are overwritten only on request.
    assert main(["init", reviews.name, *WORDS, *options]) == 0
    assert main(["init", reviews.name, *WORDS]) == 1
    assert "would be overwritten" in " ".join(capsys.readouterr().err.split())
    assert main(["init", reviews.name, *WORDS, "--force"]) == 0
    assert "label" not in read_yaml("conf/dataset/my_reviews.yaml")["source"]


def test_a_study_without_a_subject_and_with_another_expression(
    reviews: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["init", reviews.name, *WORDS[:4], "--keep", "~unwanted"]) == 0
    assert "edit `keep: ~unwanted`" in capsys.readouterr().out
    rule = read_yaml("conf/filter/my_reviews_filtered.yaml")
    assert (list(rule["signals"]), rule["keep"]) == (["wanted", "unwanted"], "~unwanted")
    probe = read_yaml("conf/probe/my_reviews.yaml")["my_reviews"]
    assert probe.keys() == {"_target_", "templates", "wanted", "unwanted"}
    assert main(["init", reviews.name, *WORDS[:4], "--force"]) == 0
    assert read_yaml("conf/filter/my_reviews_filtered.yaml")["keep"] == "wanted & ~unwanted"
    assert main(["train", "experiment=my_reviews", "--cfg"]) == 0


def test_missing_options_are_requested(reviews: Path) -> None:
    answers = iter(["", "soft", "tight", "dress", "", "mood", ""])
    options = build_parser().parse_args(["init", reviews.name, "--name", "mine"])
    files = run_init(options, Console(quiet=True), lambda question: next(answers))
    assert list(answers) == []
    assert files[0].as_posix() == "conf/dataset/mine.yaml"
    source = read_yaml("conf/dataset/mine.yaml")["source"]
    assert (source["text"], source["label"]) == (["Review Text"], "mood")


def test_all_invalid_options_are_reported_together(reviews: Path) -> None:
    invalid = ["--text", "Review", "--keep", "subject", "--comparison", "top", "--name", "a/b"]
    options = build_parser().parse_args(["init", reviews.name, "--wanted", "a", *invalid])
    with pytest.raises(WinnowErrors) as raised:
        run_init(options, Console(quiet=True))
    messages = {error.key: error.message for error in raised.value.errors}
    assert set(messages) == {"--text", "--unwanted", "--keep", "--comparison", "--name"}
    assert "Available: wanted, unwanted" in messages["--keep"]
    assert "Allowed: Review Text, mood, product, score" in messages["--text"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing.csv", *WORDS], "there is no file"),
        (["My reviews.csv", *WORDS, "--name", "nike"], "name of a built-in configuration"),
        (
            ["My reviews.csv", *WORDS, "--group", "mood"],
            'have the same values, but a group may contain at most 5% of all rows. The values: ["good"]',
        ),
        (["My reviews.csv", *WORDS, "seed=1"], "unexpected argument 'seed=1'"),
    ],
)
def test_an_invalid_study_leaves_no_files(
    reviews: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["init", *arguments]) == 1
    assert message in " ".join(capsys.readouterr().err.split())
    assert not Path("conf").exists()


def test_general_templates_have_two_large_halves() -> None:
    assert len(set(GENERAL_TEMPLATES)) == 30
    assert min(Counter(assign_templates(build_templates([])).values()).values()) >= MIN_TEMPLATES_PER_SPLIT


@pytest.mark.parametrize("subject", ["dress", "shoes"])
def test_the_templates_have_two_large_halves(subject: str) -> None:
    templates = build_templates([subject])
    assert len(set(templates)) == len(TEMPLATES)
    assert min(Counter(assign_templates(templates).values()).values()) >= MIN_TEMPLATES_PER_SPLIT
    assert set(assign_templates(templates).values()) == {"validation", "test"}
    is_singular = ["{topic} is" in template or "it is [MASK]" in template for template in templates]
    assert any(is_singular) == (subject == "dress")
