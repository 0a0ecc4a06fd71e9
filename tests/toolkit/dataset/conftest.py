"""Archives to read: small ones made here and, where the machine has them, the real ones too."""

from pathlib import Path

import pytest
from cifar_archives import REAL_CIFAR_10, REAL_CIFAR_100, cifar_10_members, cifar_100_members, write_archive


@pytest.fixture
def small_archive(tmp_path: Path) -> Path:
    """CIFAR-100's layout: 20 images each of bicycle, motorcycle and another class to train, 4 of two to test."""
    return write_archive(tmp_path / "small.tar.gz", cifar_100_members())


@pytest.fixture(params=["made here", "real"] if REAL_CIFAR_100.is_file() else ["made here"])
def bicycle_archive(request: pytest.FixtureRequest, small_archive: Path) -> Path:
    return REAL_CIFAR_100 if request.param == "real" else small_archive


@pytest.fixture(params=["made here", "real"] if REAL_CIFAR_10.is_file() else ["made here"])
def truck_archive(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return REAL_CIFAR_10 if request.param == "real" else write_archive(tmp_path / "ten.tar.gz", cifar_10_members())
