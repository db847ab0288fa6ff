"""What the system says of a place is one line, whose remedy is about rights, room or neither."""

import errno
import os
from pathlib import Path

import pytest

from orbitlens.errors import OrbitLensError
from orbitlens.files import TO_READ, one_line_errors, read_json, write_json

RIGHTS = "get the rights to it or choose another path"
ROOM = "free space there or choose another path"


def said(number: int) -> OSError:
    return OSError(number, os.strerror(number))


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (said(errno.EACCES), RIGHTS),
        (said(errno.EPERM), RIGHTS),
        (said(errno.EROFS), RIGHTS),
        (PermissionError("Access Denied"), RIGHTS),
        (said(errno.ENOSPC), ROOM),
        (said(errno.EDQUOT), ROOM),
        (OSError("I/O error: No space left on device (os error 28)"), ROOM),
        (said(errno.ENOTDIR), "choose another path"),
    ],
    ids=str,
)
def test_rights_and_room_have_remedies_of_their_own(error: OSError, remedy: str) -> None:
    received = error.strerror or str(error)
    with pytest.raises(OrbitLensError) as raised, one_line_errors("runs/a"):
        raise error
    line = f"runs/a: expected a place that can be written, received {received}; {remedy}"
    assert str(raised.value) == line
    with pytest.raises(OrbitLensError, match="can be read"), one_line_errors("runs/a", TO_READ):
        raise error


def test_a_record_that_may_not_be_read_is_not_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(path: Path) -> bytes:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(Path, "read_bytes", denied)
    with pytest.raises(OrbitLensError, match="received Permission denied; get the rights to it"):
        read_json(tmp_path / "config.json")


def test_a_record_is_written_whole_and_read_back(tmp_path: Path) -> None:
    write_json({"loss": float("inf"), "k": [1, float("nan")]}, tmp_path / "a.json")
    assert read_json(tmp_path / "a.json") == {"loss": None, "k": [1, None]}
    with pytest.raises(TypeError):
        write_json({"k": object()}, tmp_path / "a.json")
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
    assert read_json(tmp_path / "a.json")["k"] == [1, None]
