"""Terraform in a copy of `terraform/`, without credentials, state or backend: the checkout stays as it is."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from toolkit.environment import LOCAL, Environment
from toolkit.errors import ToolkitError
from toolkit.infrastructure import provider_variables, require_terraform

_LEFT_BEHIND = (".terraform", "*.auto.tfvars.json", "*.tfstate*", "*.tfplan")
_LIMIT_SECONDS = 300


class TerraformTimedOutError(ToolkitError):
    """Terraform did not end in time."""


class TerraformCopy:
    """A copy in which Terraform finds its provider; a folder of it is named relative to `terraform/`.

    Args:
        terraform: the folder to copy.
        scratch: an empty folder for the copy.

    Raises:
        TerraformUnavailableError: Terraform is missing or too old.
    """

    def __init__(self, terraform: Path, scratch: Path) -> None:
        require_terraform()
        self.directory = shutil.copytree(terraform, scratch / "terraform", ignore=shutil.ignore_patterns(*_LEFT_BEHIND))
        self._initialized: set[str] = set()
        self._variables = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "TF_"))}
        self._variables |= provider_variables(Environment(LOCAL))
        if not self._variables.get("TF_CLI_CONFIG_FILE"):  # no mirror: fetch the provider once, not for each module
            plugins = scratch / "plugins"
            plugins.mkdir()
            self._variables["TF_PLUGIN_CACHE_DIR"] = str(plugins)

    def folders(self) -> list[str]:
        """Return every root module and module: the folders that say which provider they need."""
        files = [file for file in self.directory.rglob("*.tf") if "required_providers" in file.read_text()]
        return sorted({file.parent.relative_to(self.directory).as_posix() for file in files})

    def run(self, folder: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run Terraform in a folder and return what it said, whether or not it succeeded.

        Raises:
            TerraformTimedOutError: it took too long.
        """
        try:
            return subprocess.run(
                ["terraform", *arguments],
                cwd=self.directory / folder,
                env=self._variables,
                capture_output=True,
                text=True,
                timeout=_LIMIT_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise TerraformTimedOutError(
                f"`terraform {' '.join(arguments)}` did not end in {folder} within {_LIMIT_SECONDS} seconds.",
                "Is the network slow? Try again.",
            ) from error

    def run_initialized(self, folder: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run Terraform in a folder that has its provider; if that cannot be had, return what `init` said.

        A folder is initialized once. Its lock file, if it has one, is taken as it is.
        """
        if folder not in self._initialized:
            locked = ["-lockfile=readonly"] if (self.directory / folder / ".terraform.lock.hcl").exists() else []
            initialized = self.run(folder, "init", "-backend=false", "-input=false", "-no-color", *locked)
            if initialized.returncode:
                return initialized
            self._initialized.add(folder)
        return self.run(folder, *arguments)
