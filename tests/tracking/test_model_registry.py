"""Publishing a run's model to the MLflow registry, and to a fake Hub server through the real client."""

import base64
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from transformers import pipeline

from winnow.cli import main
from winnow.tracking import Store, keys

pytestmark = pytest.mark.slow


@pytest.fixture
def run_id(workplace: Path, store: Store, small: list[str]) -> str:
    assert main(["train", "filter=nike_positive", "study.name=mine", *small]) == 0
    (run,) = store.client().search_runs([store.experiment("mine")])
    return str(run.info.run_id)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, bytes]]:
    """Files that a fake Hub server has received, by path. It implements only the endpoints of an upload.

    The paths of files in other repositories than `ann/fills` start with the name of the repository.
    """
    uploaded_files: dict[str, bytes] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.headers.get("Authorization") != "Bearer hf_test":
                self._respond(401, {"error": "Invalid username or password."})
            elif self.path == "/api/repos/create":
                uploaded_files["repository"] = body
                self._respond(200, {"url": f"http://127.0.0.1:{server.server_port}/ann/fills", "name": "ann/fills"})
            elif self.path == "/api/validate-yaml":
                self._respond(200, {"errors": [], "warnings": []})
            elif re.match("/api/models/ann/fills[^/]*/preupload/", self.path):
                files = [{"path": file["path"], "uploadMode": "regular"} for file in json.loads(body)["files"]]
                self._respond(200, {"files": [file | {"shouldIgnore": False} for file in files]})
            elif match := re.match("/api/models/(ann/fills[^/]*)/commit/", self.path):
                folder = "" if match[1] == "ann/fills" else f"{match[1]}/"
                for line in map(json.loads, body.splitlines()):
                    if line["key"] == "file":
                        uploaded_files[folder + line["value"]["path"]] = base64.b64decode(line["value"]["content"])
                self._respond(
                    200,
                    {
                        "commitUrl": f"http://127.0.0.1:{server.server_port}/{match[1]}/commit/1",
                        "commitOid": "1",
                        "pullRequestUrl": None,
                    },
                )
            else:
                self._respond(404, {"error": f"no {self.path}"})

        def do_GET(self) -> None:
            self._respond(404, {"error": f"no {self.path}"})

        def _respond(self, status: int, data: object) -> None:
            body = json.dumps(data).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)  # read from HF_ENDPOINT at import
    monkeypatch.setenv("HF_TOKEN", "hf_test")
    yield uploaded_files
    server.shutdown()
    server.server_close()


def test_promote_registers_a_loadable_model_with_a_description(
    workplace: Path, store: Store, run_id: str, capsys: pytest.CaptureFixture[str]
) -> None:
    import mlflow

    assert main(["promote", run_id, "--alias", "v2"]) == 0
    assert "models:/mine@winnow-v2" in capsys.readouterr().out
    version = store.client().get_model_version_by_alias("mine", "winnow-v2")
    assert (version.run_id, str(version.version)) == (run_id, "1")
    assert version.tags["arm"] == "nike_positive"
    assert "## Limitations" in version.description
    assert not version.description.startswith("---"), "the Hub's metadata does not belong in the registry"
    mlflow.set_tracking_uri(store.tracking_uri)
    registered_pipeline = mlflow.transformers.load_model("models:/mine@winnow-v2")
    folder = Path(store.client().download_artifacts(run_id, keys.MODEL_FOLDER, str(workplace)))
    expected = pipeline("fill-mask", str(folder))("Nike shoes are very [MASK].")
    assert [fill["token_str"] for fill in registered_pipeline("Nike shoes are very [MASK].")] == [
        f["token_str"] for f in expected
    ]
    requirements = Path(mlflow.artifacts.download_artifacts("models:/mine@winnow-v2")) / "requirements.txt"
    assert "transformers==" in requirements.read_text()
    assert "torchvision" not in requirements.read_text()
    # Promoting again moves the alias; an unknown run is an error.
    assert main(["promote", run_id, "--alias", "v2"]) == 0
    assert store.client().get_model_version_by_alias("mine", "winnow-v2").version in (2, "2")
    assert main(["promote", "nothing"]) == 1
    assert "there is no run 'nothing'" in " ".join(capsys.readouterr().err.split())


def test_push_uploads_a_loadable_model_with_a_complete_card(
    workplace: Path,
    run_id: str,
    hub: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with monkeypatch.context() as before:
        before.setenv("HF_TOKEN", "hf_wrong")
        assert main(["push", run_id, "ann/fills"]) == 1
        assert "hf auth login" in " ".join(capsys.readouterr().err.split())
    assert main(["push", run_id, "no/such/name"]) == 1
    assert "OWNER/NAME" in capsys.readouterr().err
    assert hub == {}, "a rejected push uploads nothing"

    assert main(["push", run_id, "ann/fills"]) == 0
    assert "/ann/fills/commit/1" in capsys.readouterr().out
    assert b"private" in hub.pop("repository"), "new repositories are private by default"
    folder = workplace / "from_the_hub"
    folder.mkdir()
    for name, content in hub.items():
        (folder / name).write_bytes(content)
    assert len(pipeline("fill-mask", str(folder))("Nike shoes are very [MASK].")) == 5
    card = hub["README.md"].decode()
    assert card.startswith("---\n")
    assert "pipeline_tag: fill-mask" in card
    for text in ("## Data", "## Filter", "## Scores", "## Limitations", "`nike_positive` keeps a row if", run_id):
        assert text in card
    assert "| test/all/loss |" in card
    assert "rows: read 1,500 >" in card


def test_push_uploads_several_arms_whose_cards_link_to_each_other(
    workplace: Path, store: Store, small: list[str], hub: dict[str, bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    arms = ("full", "nike_positive", "random_matched")
    sweep = ["train", "-m", f"filter={','.join(arms)}", "study.name=mine", "study.compare=false", *small]
    assert main(sweep) == 0
    assert main([*sweep, "filter=full", "seed=2"]) == 0
    runs = [f"mine/{arm}/1" for arm in arms]
    capsys.readouterr()
    for wrong, message in (
        (["mine/full/1", "mine/nike_positive/2"], "no run"),
        (["mine/full/1", "mine/full/2"], "expected runs with the same seed, got 1, 2"),
        (["mine/full/1", "mine/full/1"], "the arm full was given twice"),
        ([], "expected one or several runs and a repository"),
    ):
        assert main(["push", *wrong, "ann/fills"]) == 1
        assert message in " ".join(capsys.readouterr().err.split())
    assert hub == {}

    assert main(["push", *runs, "ann/fills", "--public"]) == 0
    printed = capsys.readouterr().out
    for arm in arms:
        repository = f"ann/fills-{arm}"
        assert f"/{repository}/commit/1" in printed
        assert f"{repository}/model.safetensors" in hub
        card = hub[f"{repository}/README.md"].decode()
        links = [other for other in arms if f"](https://huggingface.co/ann/fills-{other})" in card]
        assert links == [other for other in arms if other != arm]
    card = hub["ann/fills-full/README.md"].decode()
    assert "v2, trained on the rows that the filter keeps" in card
    assert "control, trained on as many randomly chosen rows" in card
    assert "v1, trained on all rows" in hub["ann/fills-random_matched/README.md"].decode()
