"""Data sets of the Hugging Face Hub."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import islice
from typing import Annotated, Any

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from winnow.data.fingerprint import fingerprint
from winnow.data.sources.records import Batch, RecordSource
from winnow.errors import WinnowError


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class HubDataset(RecordSource):
    """A data set that ``datasets.load_dataset`` finds: one of the Hub, or a folder in the same layout.

    Attributes:
        name: The data set's name, ``owner/name``, or a folder.
        configuration: Which of its configurations, where it has several.
        split: The split, or several as ``train+test``, or a part as ``train[:5000]``. Winnow splits anew.
        revision: A branch, tag or commit; give a commit to have the same rows for ever.
        first_rows: Stream, and stop after so many rows; null downloads the whole.
    """

    name: Annotated[str, Field(min_length=1)]
    configuration: str | None = None
    split: str = "train"
    revision: str | None = None
    first_rows: Annotated[int, Field(gt=0)] | None = None

    def batches(self) -> Iterator[Batch]:
        """Yield the records of the split."""
        rows = self._load()
        records = enumerate(rows, start=1)
        yield Batch(f"{self.name} ({self.split})", "row", islice(records, self.first_rows))

    def fingerprint(self) -> str:
        """Return a fingerprint over the settings and, unless it streams, the content that was downloaded."""
        content = self.first_rows if self.first_rows else self._load()._fingerprint
        return fingerprint("hub", self.name, self.configuration, self.split, self.revision, content, self.settings())

    def describe(self) -> dict[str, Any]:
        """Return kind, name, configuration, split, revision, homepage and licence."""
        named = {key: getattr(self, key) for key in ("name", "configuration", "split", "revision", "first_rows")}
        homepage = self.homepage or f"https://huggingface.co/datasets/{self.name}"
        return {"kind": "hub", **named, "text": self.text, "homepage": homepage, "licence": self.licence}

    def _load(self) -> Any:
        try:
            return _loaded(self.name, self.configuration, self.split, self.revision, self.first_rows is not None)
        except Exception as fault:
            where = f", configuration {self.configuration}" if self.configuration else ""
            raise WinnowError(
                f"Cannot load the data set '{self.name}'{where}, split {self.split}: {fault}. See that the name is "
                "right and the Hub can be reached, or give the folder of a copy.",
                key="name",
            ) from fault


@lru_cache(maxsize=2)
def _loaded(name: str, configuration: str | None, split: str, revision: str | None, streaming: bool) -> Any:
    from datasets import load_dataset

    return load_dataset(name, configuration, split=split, revision=revision, streaming=streaming)
