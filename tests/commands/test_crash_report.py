"""Unexpected exceptions: one paragraph, a log file with the traceback, exit code 1, and a run marked FAILED."""

from pathlib import Path

import pytest

from winnow.cli import main
from winnow.tracking import Store

FAILING_SIGNAL = """\
from winnow.filters import Length

class Failing(Length):
    def keep(self, scores):
        raise {error}
"""


@pytest.fixture
def run_failing(workplace: Path, small: list[str], monkeypatch: pytest.MonkeyPatch):
    """Return a function that runs a filter with a user-defined signal, which raises an exception."""

    def run(module: str, error: str, *arguments: str) -> int:
        (workplace / f"{module}.py").write_text(FAILING_SIGNAL.format(error=error), encoding="utf-8")
        monkeypatch.syspath_prepend(workplace)
        signal = f"{{_target_: {module}.Failing, at_least: 3}}"
        return main(
            [
                "train",
                *small,
                f"allow_targets=[{module}]",
                "filter=nike_positive",
                f"filter.signals.broken={signal}",
                *arguments,
            ]
        )

    return run


def test_the_traceback_is_in_a_log_file(
    run_failing, workplace: Path, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_failing("failing_signal", "ZeroDivisionError('no rows')") == 1
    message = capsys.readouterr().err.rpartition("winnow: unexpected error")[2]
    assert message.startswith(" in winnow train: ZeroDivisionError: no rows.")
    (log,) = (workplace / "outputs" / "errors").glob("*.log")
    assert str(log) in message
    assert "Traceback" not in message
    assert 'failing_signal.py", line 5, in keep' in log.read_text(encoding="utf-8")
    runs = store.client().search_runs([store.experiment("scratchpad")])
    assert [run.info.status for run in runs] == ["FAILED"]


def test_the_log_file_is_written_elsewhere_if_the_output_folder_is_not_writable(
    run_failing, workplace: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (workplace / "outputs" / "errors").write_text("a file", encoding="utf-8")
    monkeypatch.setattr("tempfile.tempdir", str(workplace))
    assert run_failing("failing_signal_2", "RuntimeError('x' * 1000)") == 1
    (log,) = workplace.glob("winnow-error-*.log")
    assert "RuntimeError" in log.read_text(encoding="utf-8")
    assert len(capsys.readouterr().err.rpartition("winnow: unexpected error")[2]) < 700


def test_ctrl_c_prints_no_traceback(run_failing, store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_failing("failing_signal_3", "KeyboardInterrupt") == 130
    assert "Traceback" not in capsys.readouterr().err
    runs = store.client().search_runs([store.experiment("scratchpad")])
    assert [run.info.status for run in runs] == ["KILLED"]
