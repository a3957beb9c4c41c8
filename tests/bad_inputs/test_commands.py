"""Invalid arguments of the commands other than `train` and `filter`."""

import socket
from contextlib import closing
from pathlib import Path

import pytest

from fixtures.bad_inputs import BadInput, Reject, cases
from fixtures.databases import copy_database
from winnow.cli import main
from winnow.tracking import Store, keys, track

RUN = "0" * 32


@cases(
    ("compare", "study", "missing"),
    ("compare study=", "study"),
    ("compare study=null", "study"),
    ("compare study=[]", "study", "at least 1 item"),
    ("compare study=[a,null]", "study.1"),
    ("compare study=5", "study"),
    ("compare study={a:1}", "study"),
    ("compare study=../x", "study"),
    ("compare study=nowhere", "study"),
    ("compare study=[nowhere,elsewhere]", "study"),
    ("compare study=a metrics=null", "metrics"),
    ("compare study=a metrics=loss", "metrics"),
    ("compare study=a metrics=[null]", "metrics.0"),
    ("compare study=a ui_url=null", "ui_url"),
    ("compare study=a ui_url=javascript:alert", "ui_url", "http"),
    ("compare study=a output_dir=null", "output_dir"),
    ("compare study=a tracking=none", "tracking.uri", "expected an MLflow store"),
    ("compare study=a tracking.uri=ftp://host", "tracking.uri", "Allowed"),
    ("compare study=a tracking.uri=postgresql://host:x/name", "tracking.uri", "port"),
    ("compare study=a tracking.uri=sqlite:///reviews.csv", "tracking.uri", "not a SQLite database"),
    ("compare study=1,2", "study", "expected one value"),
    ("export", "study", "missing"),
    ("export nowhere", "study"),
    ("export ../x", "study"),
    ("export nowhere folder=[a]", "folder"),
    ("export a b", "study"),
    ("rerun", "run_id", "missing"),
    ("rerun banana", "run_id", "no run 'banana'"),
    (f"rerun {RUN}", "run_id", "no run"),
    (["rerun", ""], "run_id"),
    (["rerun", "a'b"], "run_id"),
    ("rerun a/../b", "run_id"),
    (f"rerun {RUN} tracking.uri=http://", "tracking.uri"),
    ("ui port=0", "port"),
    ("ui port=65536", "port"),
    ("ui port=abc", "port"),
    ("ui host=null", "host"),
    ("ui host=256.256.256.256", "port", "cannot listen"),
    (["ui", "host='a b'"], "port", "cannot listen"),
    ("ui tracking=none", "tracking.uri", "expected an MLflow store"),
    ("sync tracking.uri=gopher://x", "tracking.uri"),
    ("sync tracking=null", "tracking"),
    ("promote banana", "run", "no run 'banana'"),
    (f"promote {RUN}", "run", "no run"),
    (["promote", RUN, "--alias", ""], "alias", "letters, digits"),
    (["promote", RUN, "--alias", "a b"], "alias"),
    (["promote", RUN, "--alias", "a/b"], "alias"),
    (["promote", RUN, "--alias", "latest"], "alias", "reserves"),
    (["promote", RUN, "--alias", "x" * 300], "alias"),
    (["promote", RUN, "--name", "a/b"], "name", "Allowed: up to 100 letters"),
    (["promote", RUN, "--name", ""], "name"),
    (["promote", RUN, "--name", "x" * 300], "name"),
    (["promote", RUN, "--name", "a\nb"], "name"),
    (f"promote {RUN} tracking=none", "tracking.uri"),
    ("push", "name", "one or several runs and a repository"),
    ("push abc", "name", "one or several runs and a repository"),
    (f"push {RUN} me/x", "run", "no run"),
    (f"push {RUN} a/b/c", "name", "OWNER/NAME"),
    (["push", RUN, ""], "name"),
    (["push", RUN, "a b"], "name"),
    (["push", RUN, "../x"], "name"),
    (["push", RUN, "me/" + "x" * 200], "name"),
)
def test_other_commands(reject: Reject, bad: BadInput) -> None:
    reject(bad)


@cases(
    (["fill", "Nike is [MASK]"], "models", "at least one model"),
    (["fill", ""], "text"),
    (["fill", "no mask", "./nowhere"], "text", "[MASK]"),
    (["fill", "[MASK] " * 5_000, "./nowhere"], "text"),
    (["fill", "a [MASK]", "./nowhere"], "models.0", "not a folder"),
    (["fill", "a [MASK]", "nowhere.ckpt"], "models.0", "does not exist"),
    (["fill", "a [MASK]", "reviews.csv"], "models.0"),
    (["fill", "a [MASK]", "a/b/c"], "models.0"),
    (["fill", "a [MASK]", ""], "models.0"),
    (["fill", "a [MASK]", RUN], "models.0", "no run"),
    (["fill", "a [MASK]", "./x", "top_k=0"], "top_k"),
    (["fill", "a [MASK]", "./x", "top_k=99999"], "top_k"),
    (["fill", "a [MASK]", "models=null"], "models"),
    (["fill", "a [MASK]", "models=[null]"], "models.0"),
    (["fill", "a [MASK]", "models={a:1}"], "models"),
    (["fill", "a [MASK]", RUN, "tracking.uri=http://"], "tracking.uri"),
    ("evaluate", "models", "at least one model"),
    ("evaluate ./nowhere probe=[nike]", "models.0"),
    (f"evaluate {RUN}", "models.0", "no run"),
    ("evaluate ./x split=train", "split"),
    ("evaluate ./x max_length=1", "max_length"),
    ("evaluate ./x max_length=99999999999", "max_length"),
    ("evaluate ./x depth=1", "depth"),
    ("evaluate ./x depth=99999999999", "depth"),
    ("evaluate ./x forward=fast", "forward"),
    ("evaluate ./x name=a/b", "name"),
    ("evaluate ./x evaluation.batch_size=0", "evaluation.batch_size"),
    ("evaluate ./x evaluation=null", "evaluation"),
    ("evaluate ./x dataset=5", "dataset"),
    ("evaluate ./x probe=5", "probe"),
)
def test_fill_and_evaluate(reject: Reject, bad: BadInput) -> None:
    reject(bad)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["banana"],
        ["train", "--banana"],
        ["train", "--resolve"],
        ["train", "--cfg=banana"],
        ["train", "--info=banana"],
        ["compare", "--multirun"],
        ["promote"],
        ["fill", "--top", "5"],
    ],
)
def test_options_that_argparse_rejects(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_signal:
        main(arguments)
    assert exit_signal.value.code == 2
    assert "error: " in capsys.readouterr().err.splitlines()[-1]


def test_a_port_that_is_in_use(reject: Reject) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        reject(BadInput(f"ui port={server.getsockname()[1]}", "port", "Choose another port"))


@pytest.fixture
def saved_run(bad_input_folder: Path, tmp_path: Path) -> tuple[str, str]:
    """The id of a finished run with a saved model, and the address of its store."""
    folder = tmp_path / "saved"
    folder.mkdir()
    copy_database(bad_input_folder / "outputs/mlflow.db", folder / "mlflow.db")
    artifacts, spool = str(folder / "artifacts"), str(folder / "unsent")
    store = Store(uri=f"sqlite:///{folder}/mlflow.db", artifacts=artifacts, spool=spool)
    (folder / "model").mkdir()
    (folder / "model" / "config.json").write_text("{}", encoding="utf-8")
    tags = {keys.KIND: "cell", keys.ARM: "full", keys.SEED: "1", keys.STUDY: "mine"}
    with track(store, store.experiment("mine"), "full, seed 1", tags) as run:
        run.log_folder(folder / "model", keys.MODEL_FOLDER)
    (tracked,) = store.client().search_runs([store.experiment("mine")])
    return tracked.info.run_id, store.uri


def test_an_upload_without_a_network(
    reject: Reject, saved_run: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id, uri = saved_run
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = server.getsockname()[1]
    monkeypatch.setattr("huggingface_hub.hf_api.ENDPOINT", f"http://127.0.0.1:{port}", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("HF_TOKEN", "hf_token_for_a_test")
    reject(BadInput(["push", run_id, "me/x", f"tracking.uri={uri}"], "name", "no response from the Hub"))
