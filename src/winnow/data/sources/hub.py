"""A source that reads datasets from the Hugging Face Hub."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import islice
from typing import Annotated, Any

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from winnow.data.fingerprint import fingerprint
from winnow.data.sources.records import RecordBatch, RecordSource
from winnow.errors import WinnowError


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class HubDataset(RecordSource):
    """A dataset that ``datasets.load_dataset`` can load: from the Hub, or from a folder with the same layout.

    Attributes:
        name: The name of the dataset (``owner/name``), or the path of a folder.
        configuration: The configuration to load; required only if the dataset has more than one.
        split: The split to load, such as ``train``, ``train+test`` or ``train[:5000]``. Winnow assigns its own splits.
        revision: A branch, tag or commit. Set a commit to make the rows reproducible.
        first_rows: The number of rows to stream from the start of the split; null downloads the whole dataset.
    """

    name: Annotated[str, Field(min_length=1)]
    configuration: str | None = None
    split: str = "train"
    revision: str | None = None
    first_rows: Annotated[int, Field(gt=0)] | None = None

    def batches(self) -> Iterator[RecordBatch]:
        """Yield the records of the split as a single batch."""
        rows = self._load_rows()
        records = enumerate(rows, start=1)
        yield RecordBatch(f"{self.name} ({self.split})", "row", islice(records, self.first_rows))

    def fingerprint(self) -> str:
        """Return a fingerprint of the settings and, unless the dataset is streamed, of the downloaded content."""
        content = self.first_rows if self.first_rows else self._load_rows()._fingerprint
        return fingerprint("hub", self.name, self.configuration, self.split, self.revision, content, self.settings())

    def describe(self) -> dict[str, Any]:
        """Return the kind of source, the settings, the homepage and the license."""
        settings = {key: getattr(self, key) for key in ("name", "configuration", "split", "revision", "first_rows")}
        homepage = self.homepage or f"https://huggingface.co/datasets/{self.name}"
        return {"kind": "hub", **settings, "text": self.text, "homepage": homepage, "licence": self.licence}

    def _load_rows(self) -> Any:
        try:
            return _load_hub_dataset(
                self.name, self.configuration, self.split, self.revision, self.first_rows is not None
            )
        except Exception as error:
            configuration = f", configuration {self.configuration}" if self.configuration else ""
            raise WinnowError(
                f"cannot load the dataset '{self.name}'{configuration}, split {self.split}: {error}. Check the name "
                "and the connection to the Hub, or set `name` to the path of a local copy.",
                key="name",
            ) from error


@lru_cache(maxsize=2)
def _load_hub_dataset(name: str, configuration: str | None, split: str, revision: str | None, streaming: bool) -> Any:
    from datasets import load_dataset

    return load_dataset(name, configuration, split=split, revision=revision, streaming=streaming)
