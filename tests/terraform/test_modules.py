"""Formatting, validity and the modules' own tests, by Terraform itself, in a copy: the checkout stays clean."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from toolkit.infrastructure import provider_variables

TERRAFORM = Path(__file__).resolve().parents[2] / "terraform"
ROOTS = sorted({file.parent.relative_to(TERRAFORM).as_posix() for file in TERRAFORM.rglob("versions.tf")})
ENVIRONMENTS = sorted(
    file.parent.relative_to(TERRAFORM).as_posix() for file in TERRAFORM.glob("environments/*/main.tf")
)
TESTED = sorted({file.parents[1].relative_to(TERRAFORM).as_posix() for file in TERRAFORM.rglob("*.tftest.hcl")})
LIMIT_SECONDS = 300


@pytest.fixture(scope="module")
def terraform(tmp_path_factory):
    """Runs Terraform in a folder of a copy of `terraform/`, without credentials and with the provider at hand."""
    scratch = tmp_path_factory.mktemp("terraform")
    copy = shutil.copytree(
        TERRAFORM,
        scratch / "terraform",
        ignore=shutil.ignore_patterns(".terraform", "*.auto.tfvars.json", "*.tfstate*"),
    )
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "TF_"))}
    if configuration := os.environ.get("TF_CLI_CONFIG_FILE"):
        variables["TF_CLI_CONFIG_FILE"] = configuration
    variables |= provider_variables(SimpleNamespace(cloud=SimpleNamespace(directory=scratch)))
    if not variables.get("TF_CLI_CONFIG_FILE"):  # no mirror: fetch the provider once, not once for each module
        (scratch / "plugins").mkdir()
        variables["TF_PLUGIN_CACHE_DIR"] = str(scratch / "plugins")

    def run(folder: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["terraform", *arguments],
            cwd=copy / folder,
            env=variables,
            capture_output=True,
            text=True,
            timeout=LIMIT_SECONDS,
            check=False,
        )

    return run


@pytest.fixture(scope="module")
def initialized(terraform):
    """Initializes a folder, once however many tests ask for it. A lock file is taken as it is."""
    done: set[str] = set()

    def initialize(folder: str) -> None:
        if folder not in done:
            locked = ["-lockfile=readonly"] if (TERRAFORM / folder / ".terraform.lock.hcl").exists() else []
            succeeds(terraform(folder, "init", "-backend=false", "-input=false", "-no-color", *locked))
            done.add(folder)

    return initialize


def succeeds(completed: subprocess.CompletedProcess[str]) -> str:
    assert completed.returncode == 0, completed.stdout + completed.stderr
    return completed.stdout


def test_every_file_is_formatted(terraform):
    assert succeeds(terraform(".", "fmt", "-check", "-recursive")) == ""


@pytest.mark.parametrize("folder", sorted({*ROOTS, *ENVIRONMENTS}))
def test_is_valid(terraform, initialized, folder):
    initialized(folder)
    assert "Success!" in succeeds(terraform(folder, "validate", "-no-color"))


@pytest.mark.parametrize("folder", TESTED)
def test_passes_its_own_tests(terraform, initialized, folder):
    initialized(folder)
    report = succeeds(terraform(folder, "test", "-no-color"))
    assert "Success!" in report
    assert "0 passed" not in report


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_an_environment_is_locked_to_a_provider_that_fits_it(initialized, environment):
    assert (TERRAFORM / environment / ".terraform.lock.hcl").exists()
    initialized(environment)
