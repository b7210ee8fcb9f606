"""What is installed: the wheel holds all that the command needs, under names that are nobody else's."""

import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

from ledger.store import migrate
from tests.support.command import REPOSITORY, process_environment


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the wheel installs."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    done = subprocess.run(build, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = folder.glob("*.whl")
    with ZipFile(wheel) as packed:
        packed.extractall(folder / "installed")
    return folder / "installed"


def test_its_top_level_names(installed: Path) -> None:
    packages = {each.name for each in installed.iterdir() if not each.name.endswith(".dist-info")}
    assert packages == {"ledger"}


def test_it_holds_whatever_the_repository_has_of_them(installed: Path) -> None:
    def files(folder: Path) -> set[Path]:
        found = {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
        return {path for path in found if path.suffix != ".pyc" and path.parts[0] not in {"migrations", "packages"}}

    assert files(installed / "ledger") == files(REPOSITORY / "ledger")
    assert files(installed / "ledger" / "packages" / "projections") == files(REPOSITORY / "projections")


def test_what_stands_within_it_is_found_whatever_others_have_installed(installed: Path) -> None:
    other = installed / "projections"
    other.mkdir()
    (other / "__init__.py").write_text("raise RuntimeError('of somebody else')\n")
    show = "import ledger.service.projector, projections; print(projections.__file__)"
    environment = process_environment() | {"PYTHONPATH": str(installed)}
    try:
        done = subprocess.run(
            [sys.executable, "-c", show], cwd=installed, env=environment, capture_output=True, text=True, check=False
        )
    finally:
        (other / "__init__.py").unlink()
        other.rmdir()
    assert done.stdout.strip() == str(installed / "ledger" / "packages" / "projections" / "__init__.py"), done.stderr


def test_its_migrations_are_those_of_the_repository(installed: Path) -> None:
    show = "from ledger.store import migrate; print([(str(each), each.sha256) for each in migrate.load()])"
    environment = process_environment() | {"PYTHONPATH": str(installed)}
    done = subprocess.run(
        [sys.executable, "-c", show], cwd=installed, env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == str([(str(each), each.sha256) for each in migrate.load()]), done.stderr
