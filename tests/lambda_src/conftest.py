"""Loads the functions the way Lambda does: each from its own folder, with its own environment variables."""

from __future__ import annotations

import importlib.util
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

FUNCTIONS = Path(__file__).parents[2] / "lambda_src"


AWS_ENVIRONMENT = {
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
}


@pytest.fixture(scope="session")
def load_handler() -> Callable[..., ModuleType]:
    """Imports a function's handler.py afresh, under a name of its own since every one is called `handler`."""

    def load(function: str, **environment: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(f"{function}_handler", FUNCTIONS / function / "handler.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        # Only while it is imported: that is when a function reads its environment.
        with pytest.MonkeyPatch.context() as patch:
            for name in [name for name in os.environ if name.startswith("AWS_")]:
                patch.delenv(name)
            for name, value in (AWS_ENVIRONMENT | environment).items():
                patch.setenv(name, value)
            spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture
def example() -> Callable[[str], tuple[dict[str, Any], dict[str, Any]]]:
    """Reads a function's event.json and expected.json."""

    def read(function: str) -> tuple[dict[str, Any], dict[str, Any]]:
        event, expected = (
            json.loads((FUNCTIONS / function / name).read_text(encoding="utf-8"))
            for name in ("event.json", "expected.json")
        )
        return event, expected

    return read


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str]) -> Callable[[], list[dict[str, Any]]]:
    """Reads the log lines that were printed since the last look."""
    return lambda: [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.fixture
def printed_metrics(printed: Callable[[], list[dict[str, Any]]]) -> Callable[[], list[dict[str, Any]]]:
    """Reads those of them that are in the embedded metric format."""
    return lambda: [line for line in printed() if "_aws" in line]


@pytest.fixture(scope="session")
def configured() -> Callable[[str, str], int]:
    """Reads a function's `memory_mb` or `timeout_seconds` where Terraform has it."""
    text = (FUNCTIONS.parent / "terraform" / "modules" / "service" / "main.tf").read_text(encoding="utf-8")

    def read(function: str, setting: str) -> int:
        found = re.search(rf"^    {function} = {{$.*?^      {setting} += (\d+)", text, re.DOTALL | re.MULTILINE)
        assert found is not None
        return int(found[1])

    return read
