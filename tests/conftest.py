"""What several rooms' tests share."""

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fixtures.databases import copy_database
from winnow.tracking import Store

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

# Tests run in parallel on few cores; torch's threads would fight for them. Read when torch is loaded, hence here.
os.environ.setdefault("OMP_NUM_THREADS", "1")

pytest_plugins = [
    "fixtures.bad_inputs",
    "fixtures.planted_study",
    "fixtures.postgres",
    "fixtures.slow_tests",
    "fixtures.small_corpus",
    "fixtures.tiny_model",
    "fixtures.tracked_runs",
]

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session", autouse=True)
def user_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache folder for the session, so that tests neither use nor change the cache of the user."""
    folder = tmp_path_factory.mktemp("user-cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WINNOW_CACHE_DIR", str(folder))
        yield folder


@pytest.fixture(scope="session", autouse=True)
def unsynchronized_databases() -> None:
    """Let SQLite return before the disk has written, as no test loses power: most of a migration is such waiting.

    Only databases that SQLAlchemy opens in this process are affected, and neither their content nor their locks.
    """
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    @event.listens_for(Engine, "connect")
    def set_pragma(connection: Any, _: object) -> None:
        if isinstance(connection, sqlite3.Connection):
            connection.execute("PRAGMA synchronous = OFF")


@pytest.fixture(scope="session")
def migrated_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty MLflow database: its schema takes seconds to make and a copy of it none."""
    folder = tmp_path_factory.mktemp("store")
    Store(uri=f"sqlite:///{folder}/mlflow.db", artifacts=str(folder)).client()
    return folder / "mlflow.db"


@pytest.fixture
def store(tmp_path: Path, migrated_database: Path) -> Store:
    """A store of the test's own, as `output_dir=outputs` in its folder gives it."""
    folder = tmp_path / "outputs"
    folder.mkdir()
    copy_database(migrated_database, folder / "mlflow.db")
    return Store(uri=f"sqlite:///{folder}/mlflow.db", artifacts=str(folder / "artifacts"), spool=str(folder / "unsent"))


@pytest.fixture
def workplace(tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of a user's own, outside the checkout, with an empty store in `outputs`."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def small() -> list[str]:
    """Overrides that make a run of the synthetic corpus take a second."""
    return [
        "dataset.source.rows=1500",
        "model.layers=1",
        "model.hidden_size=32",
        "training.max_steps=4",
        "training.batch_size=16",
        "training.validate_every_steps=2",
        "evaluation.max_rows=48",
    ]


@pytest.fixture
def shared_data() -> Path:
    folder = ROOT / "../shared/data"
    if not folder.exists():
        pytest.skip("the real CSV files are not beside the repository")
    return folder.resolve()


@pytest.fixture
def compose() -> Callable[..., dict[str, Any]]:
    """Compose `conf/` from overrides alone, without a root file."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from omegaconf import OmegaConf

    def compose(*overrides: str) -> dict[str, Any]:
        with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
            tree = OmegaConf.to_container(hydra_compose(overrides=list(overrides)), resolve=True)
        assert isinstance(tree, dict)
        return tree

    return compose


@pytest.fixture(scope="session")
def find_violations() -> Callable[["Page"], list[str]]:
    """Return the rules of WCAG 2 (levels A and AA) that a page violates, as axe-core finds them."""
    import axe_playwright_python

    script = Path(axe_playwright_python.__file__).with_name("axe.min.js").read_text("utf-8")
    tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]

    def find(page: "Page") -> list[str]:
        page.evaluate("document.querySelectorAll('details').forEach(section => section.open = true)")
        page.evaluate(script)
        found = page.evaluate("tags => axe.run(document, {runOnly: tags})", tags)
        assert len(found["passes"]) > 10, "axe checked the page"
        return [f"{rule['id']}: {rule['nodes'][0]['html']}" for rule in found["violations"]]

    return find


@pytest.fixture(scope="session")
def browser() -> Iterator["Browser"]:
    """The system's own Chromium, without a window."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("there is no Chromium; Debian and Ubuntu install it with: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()
