"""What the system says of a place is one line, whose remedy is about rights, room or neither."""

import errno
import fcntl
import os
from contextlib import suppress
from pathlib import Path

import pytest

from orbitlens.errors import OrbitLensError
from orbitlens.files import (
    TO_READ,
    cache_folder,
    digest_of,
    new_file,
    new_folder,
    one_at_a_time,
    one_line_errors,
    parse_json,
    place_error,
    read_json,
    to_json,
    write_json,
)

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


def test_a_folder_is_whole_or_absent(tmp_path: Path) -> None:
    with suppress(KeyError), new_folder(tmp_path / "lost") as folder:
        (folder / "file").write_text("text")
        raise KeyError
    with new_folder(tmp_path / "deep" / "new") as folder:
        (folder / "file").write_text("text")
        assert not (tmp_path / "deep" / "new").exists()
    assert (tmp_path / "deep" / "new" / "file").read_text() == "text"
    assert [path.name for path in tmp_path.iterdir()] == ["deep"]


def test_a_folder_that_exists_is_not_replaced(tmp_path: Path) -> None:
    with pytest.raises(OrbitLensError, match="expected a new folder"), new_folder(tmp_path):
        pytest.fail("the block runs")


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("before")
    with suppress(KeyError), new_file(path) as file:
        file.write_text("half")
        raise KeyError
    assert path.read_text() == "before"
    with new_file(path) as file:
        file.write_text("after")
    assert path.read_text() == "after"
    assert list(tmp_path.iterdir()) == [path]


def test_one_block_at_a_time_works_in_a_folder(tmp_path: Path) -> None:
    with one_at_a_time(tmp_path / "new"):
        descriptor = os.open(tmp_path / "new", os.O_RDONLY)
        with pytest.raises(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(descriptor)


def test_the_error_of_a_place_is_one_line() -> None:
    error = PermissionError(errno.EACCES, "Permission denied")
    line = f"runs/a: expected {TO_READ}, received Permission denied; {RIGHTS}"
    assert str(place_error("runs/a", error, TO_READ)) == line


def test_json_is_indented_and_has_null_for_numbers_that_are_not_finite() -> None:
    assert to_json({"loss": float("nan"), "k": [1]}) == (
        '{\n  "loss": null,\n  "k": [\n    1\n  ]\n}'
    )


def test_only_an_object_is_a_record() -> None:
    assert parse_json(b'{"source": "shapes"}', "config.json") == {"source": "shapes"}
    with pytest.raises(OrbitLensError, match="config.json: expected a JSON object, received list"):
        parse_json("[]", "config.json")
    with pytest.raises(OrbitLensError, match="expected a JSON file, received JSONDecodeError"):
        parse_json("{", "config.json")
    with pytest.raises(OrbitLensError, match="config.json"):
        parse_json('{"k": 1, "k": 2}', "config.json")


def test_a_record_that_was_changed_is_refused(tmp_path: Path) -> None:
    """Whatever is changed, even by hand; a file of an earlier version has no checksum."""
    path = tmp_path / "config.json"
    write_json({"seed": 1, "lr": 0.5}, path)
    whole = path.read_text()
    for damaged in (whole.replace("0.5", "0.6"), whole.replace("seed", "seee")):
        path.write_text(damaged)
        with pytest.raises(OrbitLensError, match="config.json: expected what was written"):
            read_json(path)
    path.write_text('{"lr": 0.6}')
    assert read_json(path) == {"lr": 0.6}
    path.write_text('{"lr": 0.6, "checksum": 7}')
    with pytest.raises(OrbitLensError, match="with checksum 7"):
        read_json(path)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 800 + "1" + "}" * 800])
def test_records_that_are_nested_too_deep_are_refused(text: str) -> None:
    with pytest.raises(OrbitLensError, match="config.json: expected a JSON file"):
        parse_json(text, "config.json")


def test_a_pipe_in_the_place_of_a_record_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "config.json")
    with pytest.raises(OrbitLensError, match="expected a regular file"):
        read_json(tmp_path / "config.json")


def test_a_digest_is_of_the_record_as_it_is_read_back() -> None:
    first, again = {"a": {10: 0, 9: (1, float("nan"))}}, {"a": {"9": [1, None], "10": 0}}
    assert digest_of(first) == digest_of(again)
    assert digest_of({"a": 1}) != digest_of({"a": 1.5}) != digest_of({"b": 1.5})


def test_the_cache_is_where_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORBITLENS_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("ORBITLENS_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "orbitlens"
