"""Captured data as a typed table, and its files."""

from __future__ import annotations

from datetime import UTC
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from model_quality.capture import Capture

# Explicit, so that an empty window has the types of a full one.
TYPES: dict[str, Any] = {
    "event_id": "string",
    "item": "int16",
    "time": "datetime64[us, UTC]",
    "class": "category",
    "confidence": "float64",
    "latency_ms": "float64",
    "width": "Int32",
    "height": "Int32",
    "bytes": "Int32",
    "brightness": "float64",
    "sharpness": "float64",
    "content": "string",
    "file": "category",
    "line": "int32",
}


def table_of(capture: Capture) -> pd.DataFrame:
    """Return a row for each image: the columns of `TYPES`, and `score_<class>` for each class."""
    table = pd.DataFrame({name: _typed(name, capture.columns[name], capture.classes) for name in TYPES})
    scores = np.asarray(capture.scores, np.float64).reshape(len(table), len(capture.classes))
    for place, name in enumerate(capture.classes):
        table.insert(table.columns.get_loc("latency_ms"), f"score_{name}", scores[:, place])
    return table


def write(capture: Capture, table: pd.DataFrame, directory: Path) -> None:
    """Write captures.parquet, captures.csv and, where lines are damaged, damaged.csv."""
    directory.mkdir(parents=True, exist_ok=True)
    table.to_parquet(directory / "captures.parquet", index=False)
    table.to_csv(directory / "captures.csv", index=False, date_format="%Y-%m-%dT%H:%M:%SZ")
    damaged = directory / "damaged.csv"
    if capture.damaged:
        damaged.write_text(capture.damaged_csv(), encoding="utf-8")
    else:
        damaged.unlink(missing_ok=True)


def _typed(name: str, values: list[Any], classes: tuple[str, ...]) -> pd.Series:
    if name == "class":
        return pd.Series(pd.Categorical(values, categories=list(classes)))
    if name == "time":
        return pd.Series(np.array([time.replace(tzinfo=None) for time in values], "datetime64[us]")).dt.tz_localize(UTC)
    return pd.Series(values, dtype=TYPES[name])
