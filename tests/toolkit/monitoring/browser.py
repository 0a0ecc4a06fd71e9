"""Finds a Chromium to look at pages with, or gets one."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import platformdirs
from playwright.sync_api import Browser, sync_playwright

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")
_PACKAGE = "@sparticuz/chromium@153.0.0"  # npm: carries the browser itself, for x86-64 Linux
_SECONDS = 300
_EXTRACT = "import('@sparticuz/chromium').then(found => found.default.executablePath())"


def find_chromium() -> str:
    """The browser that CHROMIUM names, one on the PATH, Playwright's own, or else one that is fetched and kept.

    Raises:
        RuntimeError: none of these ways works here.
    """
    with sync_playwright() as playwright:
        own = playwright.chromium.executable_path
    installed = (os.environ.get("CHROMIUM"), *map(shutil.which, _NAMES), own)
    for path in installed:
        if path and Path(path).exists():
            return path
    tried = []
    for way in (_from_npm, _from_playwright):
        try:
            return way(own)
        except (OSError, subprocess.SubprocessError, ValueError) as error:
            tried.append(f"{way.__name__.removeprefix('_')}: {error} {getattr(error, 'stderr', '') or ''}"[:400])
    raise RuntimeError(
        "There is no Chromium to test the report with, and none can be fetched: install one (Debian: `apt-get install "
        f"chromium`), or let CHROMIUM name it. Tried: {'; '.join(tried)}"
    )


@contextmanager
def chromium() -> Iterator[Browser]:
    path = find_chromium()
    with sync_playwright() as playwright:
        # As root, as in CI, Chromium has no sandbox; it shows only the page that the test has made.
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


def _from_npm(_: str) -> str:
    """Fetch and unpack it in a folder of its own, and show it to others, who may be fetching too, when it is whole."""
    cache = platformdirs.user_cache_path("scones-unlimited", ensure_exists=True)
    target = cache / f"chromium-{_PACKAGE.rpartition('@')[2]}"
    path = target / "chromium"  # where the package unpacks itself: in the folder for temporary files
    if not path.exists():
        folder = Path(tempfile.mkdtemp(dir=cache))
        try:
            _run("npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", _PACKAGE, folder=folder)
            _run("node", "-e", _EXTRACT, folder=folder)
            if not target.exists():
                folder.rename(target)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    _run(str(path), "--version", folder=target)
    return str(path)


def _run(*command: str, folder: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(folder)}
    subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True, text=True, timeout=_SECONDS)


def _from_playwright(own: str) -> str:
    command = [sys.executable, "-m", "playwright", "install", "chromium"]
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=_SECONDS)
    if not Path(own).exists():
        raise ValueError(f"it is not at {json.dumps(own)}")
    return own
