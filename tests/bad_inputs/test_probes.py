"""Probes with invalid prompts, templates, words and files."""

from pathlib import Path

import pytest

from fixtures.bad_inputs import BadInput, Reject, cases


def probe(settings: str) -> list[str]:
    return ["train", "~probe.nike_wide", "~probe.nike", f"+probe.x={{_target_: winnow.evaluation.Probe, {settings}}}"]


WORDS = "slots: {a: [x, y]}, wanted: [good], unwanted: [bad]"
BIG_SLOTS = ", ".join(f"s{i}: [{', '.join(f'w{j}' for j in range(30))}]" for i in range(5))
BIG_TEMPLATE = f"templates: ['{{s0}}{{s1}}{{s2}}{{s3}}{{s4}} [MASK]'], slots: {{{BIG_SLOTS}}}"


@cases(
    (probe("prompts: []"), "probe.x.prompts", "has no prompts"),
    (probe("prompts: null"), "probe.x.prompts"),
    (probe("prompts: [null]"), "probe.x.prompts.0"),
    (probe("prompts: ['']"), "probe.x.prompts.0"),
    (probe("prompts: ['no mask']"), "probe.x.prompts.0", "[MASK]"),
    (probe("prompts: ['a [MASK]', 'a [MASK]']"), "probe.x.prompts", "occurs twice"),
    (probe("prompts: [{text: 'a [MASK]', wanted: 5}]"), "probe.x.prompts.0.Prompt.wanted"),
    (probe("prompts: ['a [MASK]'], wanted: [a], unwanted: [a]"), "probe.x.unwanted", "share a"),
    (probe("prompts: ['a [MASK]'], wanted: ['']"), "probe.x.wanted.0"),
    (probe("prompts: ['a [MASK]'], lexicon: nowhere"), "probe.x.lexicon"),
    (probe("prompts: ['a [MASK]'], sentiment: 5"), "probe.x.sentiment"),
    (probe("prompts: ['a [MASK]'], metrics: [nope]"), "probe.x.metrics.0"),
    (probe("prompts: ['a [MASK]'], slots: {a: [x]}"), "probe.x.slots.a", "no template uses"),
    (probe(f"templates: ['{{b}} [MASK]'], {WORDS}"), "probe.x.templates.0", "has no values"),
    (probe(f"templates: ['{{a [MASK]'], {WORDS}"), "probe.x.templates.0", "braces"),
    (probe(f"templates: ['{{}} [MASK]'], {WORDS}"), "probe.x.templates.0"),
    (probe(f"templates: ['{{a:>1000000000}} [MASK]'], {WORDS}"), "probe.x.templates.0", "has a format specifier"),
    (probe(f"templates: ['{{a!r}} [MASK]'], {WORDS}"), "probe.x.templates.0", "has a format specifier"),
    (probe(f"templates: ['{{a.__class__}} [MASK]'], {WORDS}"), "probe.x.templates.0"),
    (probe(f"templates: ['{{a[0]}} [MASK]'], {WORDS}"), "probe.x.templates.0"),
    (probe("templates: ['{a} [MASK]'], slots: {a: []}"), "probe.x.slots.a"),
    (probe("templates: ['{prompt} [MASK]'], slots: {prompt: [x]}"), "probe.x.slots.prompt", "is the name of a column"),
    (
        probe(f"templates: ['{{s0}}{{s1}}{{s2}}{{s3}}{{s4}} [MASK]'], slots: {{{BIG_SLOTS}}}"),
        "probe.x.templates",
        "24,300,000",
    ),
    (probe("prompts: ['a [MASK]'], threshold: 3"), "probe.x.threshold", "unknown key"),
    (["train", "+probe.x={_target_: winnow.data.Split}"], "probe.x._target_"),
    (["train", "+probe.x=5"], "probe.x"),
    (["train", "++probe=5"], "probe"),
)
def test_a_probe(reject: Reject, bad: BadInput) -> None:
    reject(bad)


@pytest.mark.parametrize(
    ("content", "key", "text"),
    [
        (b"", "file.text", "has no column"),
        (b"\xff\xfe", "file.path", "cannot read"),
        (b"template_masked\nno mask\n", "file.path", "row 2"),
        (b"masked\na [M]\n", "file.text", "Available: masked"),
    ],
)
def test_a_prompt_file(reject: Reject, tmp_path: Path, content: bytes, key: str, text: str) -> None:
    (tmp_path / "prompts.csv").write_bytes(content)
    file = f"{{_target_: winnow.evaluation.PromptFile, path: {tmp_path / 'prompts.csv'}}}"
    reject(BadInput([*probe(f"file: {file}"), "-m", "seed=1,2"], f"probe.x.{key}", text))
