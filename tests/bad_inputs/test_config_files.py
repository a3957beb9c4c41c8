"""Config files that are not text, are not mappings, contain themselves, or expand to billions of values."""

from pathlib import Path

import pytest

from fixtures.bad_inputs import BadInput, Reject

GLOBAL = "# @package _global_\n"
BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{previous}'] * 9)}]\n"
    for previous, name in zip("abcdefgh", "bcdefghi", strict=True)
)


def write_doublings(first: str, pattern: str, count: int = 40) -> str:
    """Return an experiment in which each value refers to the previous value twice. REF stands for `${probe.aN}`."""
    lines = [
        f"  a{i + 1}: {pattern.replace('REF', f'${{probe.a{i}}}').replace('NAME', f'probe.a{i}')}" for i in range(count)
    ]
    return "\n".join([f"{GLOBAL}probe:", f"  a0: {first}", *lines, ""])


@pytest.mark.parametrize(
    ("content", "key", "text"),
    [
        (b"\xff\xfe\x00\x01", "experiment/mine.yaml", "not UTF-8"),
        (b"a: \0\n", "conf", "are not allowed"),
        (b"#" * 2_000_000, "experiment/mine.yaml", "bytes"),
        (BOMB, "experiment/mine.yaml", "more than 50,000 values"),
        ("a: &a [*a]\n", "experiment/mine.yaml", "contains itself"),
        ("a: &a {b: *a}\n", "experiment/mine.yaml", "contains itself"),
        ("a: " + "[" * 3_000 + "]" * 3_000, "experiment/mine.yaml", "levels deep"),
        ("training: " + "{a: " * 300 + "1" + "}" * 300, "experiment/mine.yaml", "levels deep"),
        ("- 1\n- 2\n", "experiment/mine.yaml", "expected a mapping"),
        ("hello\n", "experiment/mine.yaml", "expected a mapping"),
        ("a: [1\n", "conf", "expected"),
        ("a:\n\tb: 1\n", "conf", "cannot start any token"),
        ("a: *nope\n", "conf", "undefined alias"),
        ("seed: 1\nseed: 2\n", "conf", "duplicate key"),
        ("a: !!python/object/apply:os.system ['touch executed']\n", "conf", "could not determine a constructor"),
        (GLOBAL + "null: 1\n", "conf", "not valid"),
        ("defaults: 5\n", "conf", "defaults must be a list"),
        ("defaults: [mine]\n", "conf", "refer to each other"),
        ("defaults: [nope]\n", "conf", "nope"),
        ("defaults: [{override /filter: nope}]\n", "conf", "filter"),
        (GLOBAL + "seed: 2020-01-01\n", "seed", "integer"),
        (GLOBAL + "seed: ${seed}\n", "seed", "Recursive"),
        (GLOBAL + "study: {name: '${nope}'}\n", "study.name", "not found"),
        (write_doublings("x", "'REFREF'"), "probe.a10", "expand to more than 2,000 values"),
        (write_doublings("[x]", "['REF', 'REF']"), "probe.a3[0]", "expand to more than 2,000 values"),
        (write_doublings("{x: 1}", "{b: 'REF', c: 'REF'}"), "probe.a3.b", "expand to more than 2,000 values"),
        (write_doublings("x", "'${oc.select:NAME}${oc.select:NAME}'"), "probe.a10", "expand to more than 2,000 values"),
        (write_doublings("x" * 9_999, "'REFREF'", 9), "probe.a5", "1,048,576 characters"),
        (write_doublings("x", "'REF'", 500), "conf", "too deeply"),
        (write_doublings("x", "'REFREF'") + "study: {name: '${probe.a40}'}\n", "probe.a10", "expand to"),
        (
            write_doublings("x", "'REFREF'") + "hydra: {mode: MULTIRUN, sweeper: {params: {seed: '${probe.a40}'}}}\n",
            "probe.a10",
            "expand to",
        ),
        (GLOBAL + "study: 5\n", "study", ""),
        (GLOBAL + "training: {max_step: 5}\n", "training.max_step", "Did you mean 'max_steps'?"),
        (GLOBAL + "optimizer: {_target_: os.system}\n", "optimizer._target_", "never allowed"),
        (GLOBAL + "allow_targets: [mine]\n", "allow_targets", ""),
        (GLOBAL + "optimizer: {_target_: torch.optim}\n", "optimizer._target_", ""),
        (GLOBAL + "optimizer: {_target_: [1]}\n", "optimizer._target_", ""),
        (GLOBAL + "hydra: {mode: MULTIRUN, sweeper: {params: {seed: 'range(1,1000000)'}}}\n", "seed", "999,999"),
        (GLOBAL + "hydra: {mode: MULTIRUN, sweeper: {params: [1, 2]}}\n", "conf", "Cannot merge"),
        (GLOBAL + "hydra: {mode: MULTIRUN, sweeper: {params: {seed: null}}}\n", "hydra.sweeper.params.seed", ""),
        (GLOBAL + "hydra: {mode: SIDEWAYS}\n", "hydra.mode", ""),
    ],
)
def test_an_experiment(
    reject: Reject, tmp_path: Path, bad_input_folder: Path, content: str | bytes, key: str, text: str
) -> None:
    file = tmp_path / "experiment" / "mine.yaml"
    file.parent.mkdir()
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    reject(BadInput(["train", "--config-dir", str(tmp_path), "experiment=mine"], key, text))
    assert not (bad_input_folder / "executed").exists()


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("raise RuntimeError('no license')", "RuntimeError: no license"),
        ("import sys; sys.exit('stopped')", "SystemExit: stopped"),
        ("def broken(:", "SyntaxError"),
        ("import winnow_no_such_package", "No module named"),
        ("1 / 0", "ZeroDivisionError"),
    ],
)
def test_a_module_that_cannot_be_imported(
    reject: Reject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, text: str
) -> None:
    module = f"broken_{abs(hash(source))}"
    (tmp_path / f"{module}.py").write_text(source, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    target = f"optimizer._target_={module}.Mine"
    reject(BadInput(["train", f"allow_targets=[{module}]", target], "optimizer._target_", text))
