"""What several rooms' tests share."""

import shutil
from pathlib import Path

import pytest

from winnow.tracking import Store


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
    shutil.copy(migrated_database, folder / "mlflow.db")
    return Store(uri=f"sqlite:///{folder}/mlflow.db", artifacts=str(folder / "artifacts"))
