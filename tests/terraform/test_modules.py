"""Formatting, validity and the modules' own tests, by Terraform itself, in a copy: the checkout stays clean."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from toolkit.checks.terraform import TerraformCopy

TERRAFORM = Path(__file__).resolve().parents[2] / "terraform"
MODULES = sorted(folder.name for folder in (TERRAFORM / "modules").iterdir())
ROOTS = sorted(
    folder.relative_to(TERRAFORM).as_posix() for folder in (*TERRAFORM.glob("environments/*"), TERRAFORM / "bootstrap")
)
TESTED = [f"modules/{name}" for name in MODULES] + ["bootstrap"]


@pytest.fixture(scope="module")
def terraform(tmp_path_factory: pytest.TempPathFactory) -> TerraformCopy:
    return TerraformCopy(TERRAFORM, tmp_path_factory.mktemp("terraform"))


def succeeds(completed: subprocess.CompletedProcess[str]) -> str:
    assert completed.returncode == 0, completed.stdout + completed.stderr
    return completed.stdout


def test_every_file_is_formatted(terraform):
    assert succeeds(terraform.run(".", "fmt", "-check", "-recursive")) == ""


def test_every_module_and_root_module_says_which_provider_it_needs(terraform):
    assert terraform.folders() == sorted([*ROOTS, *(f"modules/{name}" for name in MODULES)])


@pytest.mark.parametrize("folder", [*ROOTS, *(f"modules/{name}" for name in MODULES)])
def test_is_valid(terraform, folder):
    assert "Success!" in succeeds(terraform.run_initialized(folder, "validate", "-no-color"))


@pytest.mark.parametrize("folder", TESTED)
def test_passes_its_own_tests(terraform, folder):
    report = succeeds(terraform.run_initialized(folder, "test", "-no-color"))
    assert "Success!" in report
    assert not re.search(r"\b0 passed", report)


@pytest.mark.parametrize("root", ROOTS)
def test_a_root_module_is_locked_to_a_provider_that_fits_it(terraform, root):
    """Initialization takes the lock file as it is, and fails when it does not fit."""
    assert (TERRAFORM / root / ".terraform.lock.hcl").exists()
    succeeds(terraform.run_initialized(root, "version"))
