"""Which files of a folder are images, which are passed over, and the classes."""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from orbitlens.errors import OrbitLensError

_ENDINGS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".bmp")
_OF_ARCHIVES = "__MACOSX"  # added to archives by macOS, with a hidden companion of every file


@dataclass(frozen=True)
class FolderFiles:
    """The content of a folder, by names relative to it, sorted.

    Args:
        images: Files that look like images.
        classes: The subfolders with images, if they are several; their names are the classes.
        others: Files of other formats.
        special: Pipes, sockets and devices.
        empty: Subfolders without images, if others have some.
    """

    images: list[str]
    classes: list[str]
    others: list[str]
    special: list[str]
    empty: list[str]


def find_files(root: Path) -> FolderFiles:
    """Look through a folder with images, flat or with a subfolder per class; open no file."""
    if not root.is_dir():
        raise OrbitLensError(
            "image folder",
            expected="a folder, not a file" if root.exists() else "an existing folder",
            received=root,
            remedy="pass the folder that holds it" if root.exists() else "check the path",
        )
    images: list[str] = []
    others: list[str] = []
    special: list[str] = []
    for name in sorted(_walk(root)):
        path = root / name
        # A link that leads nowhere is an image that cannot be read.
        if path.exists() and not stat.S_ISREG(path.stat().st_mode):
            special.append(name)
        else:
            (images if path.suffix.lower() in _ENDINGS else others).append(name)
    if not images:
        raise OrbitLensError(
            f"image folder {root}",
            expected=f"files ending in {', '.join(_ENDINGS)} (any case), here or in subfolders",
            received=f"{len(others) + len(special)} others" if others or special else "none",
            remedy="convert the images to one of these, or check the path",
        )
    loose = [name for name in images if "/" not in name]
    subfolders = sorted({name.split("/")[0] for name in images if "/" in name})
    if loose and subfolders:
        raise OrbitLensError(
            f"image folder {root}",
            expected="images either in the folder itself or in one subfolder per class",
            received=f"{len(loose)} beside the subfolders {', '.join(subfolders[:3])}, "
            f"the first being {loose[0]}",
            remedy="move these images into a subfolder",
        )
    empty = sorted({each.name for each in root.iterdir() if _is_open(each)} - {*subfolders})
    return FolderFiles(
        images=images,
        classes=subfolders if len(subfolders) > 1 else [],
        others=others,
        special=special,
        empty=empty if subfolders else [],
    )


def _is_open(folder: Path) -> bool:
    return folder.is_dir() and folder.name[0] != "." and folder.name != _OF_ARCHIVES


def _walk(root: Path) -> Iterator[str]:
    def stop(error: OSError) -> None:
        raise OrbitLensError(
            f"image folder {error.filename}",
            expected="a folder that can be listed",
            received=f"an error: {error.strerror}",
            remedy="check its permissions",
        )

    visited = set()
    for folder, subfolders, names in os.walk(root, onerror=stop, followlinks=True):
        # A link to a folder above would otherwise be followed forever.
        visited.add(os.path.realpath(folder))
        subfolders[:] = [
            name
            for name in subfolders
            if name[0] != "." and os.path.realpath(os.path.join(folder, name)) not in visited
        ]
        for name in names:
            if name[0] != ".":
                yield (Path(folder) / name).relative_to(root).as_posix()
