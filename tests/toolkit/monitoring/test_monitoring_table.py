from datetime import UTC, datetime

import pandas as pd

from model_quality.capture import Window, read
from tests.capture_files import CLASSES, line
from toolkit.monitoring import table as tables
from toolkit.monitoring.table import TYPES, table_of


def test_an_empty_window_has_the_types_of_a_full_one(tmp_path):
    (tmp_path / "a.jsonl").write_text(line())
    full = table_of(read(str(tmp_path), Window(), classes=CLASSES))
    empty = table_of(read(str(tmp_path), Window(datetime(2027, 1, 1, tzinfo=UTC)), classes=CLASSES))
    assert len(empty) == 0
    for name in TYPES.keys() - {"file"}:  # its categories are the files
        assert empty[name].dtype == full[name].dtype, name


def test_parquet_and_csv_hold_the_same_table(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jsonl").write_text(line() + "damaged\n")
    found = read(str(tmp_path / "in"), Window(), classes=CLASSES)
    table = table_of(found)
    assert table["score_motorcycle"].tolist() == [0.1]
    tables.write(found, table, tmp_path / "out")
    parquet = pd.read_parquet(tmp_path / "out" / "captures.parquet")
    pd.testing.assert_frame_equal(parquet, table)
    csv = pd.read_csv(tmp_path / "out" / "captures.csv")
    assert csv.columns.tolist() == parquet.columns.tolist()
    assert csv["time"].tolist() == ["2026-11-20T10:15:00Z"]
    assert pd.read_csv(tmp_path / "out" / "damaged.csv")["line"].tolist() == [2]
