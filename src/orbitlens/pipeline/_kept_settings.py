"""What the folder of a run tells before any of its parts is opened."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from orbitlens.errors import OrbitLensError, unknown_name, without_credentials
from orbitlens.files import in_place_of_a_folder, read_json
from orbitlens.pipeline._names import SAES
from orbitlens.pipeline.config import with_current_names


def settings_of(path: Path) -> dict[str, Any]:
    """Return the settings of the run in a folder, under their current names; empty without one."""
    file = path / "config.json"
    return shown(with_current_names(read_json(file))) if file.is_file() else {}


def check_finished(run: Path, saes: Sequence[str]) -> None:
    """Check that a folder is that of a finished run with SAEs of these names."""
    has_metrics = (run / "metrics.json").is_file()
    if not has_metrics or not (run / "saes").is_dir():
        received = "no SAEs there" if has_metrics else "no metrics.json there"
        raise OrbitLensError(
            str(run),
            expected="the folder of a finished run",
            received=received if run.is_dir() else in_place_of_a_folder(run),
            remedy="give the --out of `orbitlens run`, or continue it with --resume",
        )
    trained = [name for name in SAES if (run / "saes" / name).is_dir()]
    for name in saes:
        if name not in trained:
            raise unknown_name(f"SAE of {run}", name, trained)


def shown(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings as they are kept and compared: without the credentials of URLs."""
    return {
        name: without_credentials(value) if isinstance(value, str) else value
        for name, value in config.items()
    }
