"""Downloads: what arrives is whole and right, or it is not there at all."""

import hashlib
import http.client
import io
import threading
from pathlib import Path
from types import TracebackType

import pytest

from orbitlens.data import _download as download
from orbitlens.data._download import fetch
from orbitlens.errors import OrbitLensError
from orbitlens.files import cache_folder, one_at_a_time

CONTENT = bytes(range(256)) * 20_000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
MD5 = hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()


@pytest.fixture
def url(tmp_path: Path) -> str:
    published = tmp_path / "published.bin"
    published.write_bytes(CONTENT)
    return published.as_uri()


class Broken(io.BytesIO):
    """A connection that ends with an error after some bytes."""

    def read(self, size: int | None = -1) -> bytes:
        if self.tell():
            raise http.client.IncompleteRead(b"", 7)
        return super().read(size)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


@pytest.mark.parametrize(
    "checksum", [{"sha256": SHA256}, {"md5": MD5}, {"sha256": SHA256.upper()}], ids=str
)
def test_a_file_with_the_right_sum_arrives_whole(url: str, checksum: dict, tmp_path: Path) -> None:
    path = fetch(url, tmp_path / "new" / "deep" / "mine.bin", **checksum)
    assert path.read_bytes() == CONTENT
    assert [entry.name for entry in path.parent.iterdir()] == ["mine.bin"]


def test_a_checksum_may_be_in_capitals(url: str, tmp_path: Path) -> None:
    assert fetch(url, tmp_path / "mine.bin", md5=MD5.upper()).read_bytes() == CONTENT


def test_a_file_that_is_there_is_not_downloaded_again(url: str, tmp_path: Path) -> None:
    path = fetch(url, tmp_path / "mine.bin", sha256=SHA256)
    assert fetch("https://nowhere.invalid/a.bin", path, sha256=SHA256) == path


def test_a_wrong_sum_names_both_and_leaves_nothing(url: str, tmp_path: Path) -> None:
    wanted = "0" * 64
    with pytest.raises(OrbitLensError, match=rf"{url}.*sha256 sum {wanted}.*{SHA256} of 5,120,000"):
        fetch(url, tmp_path / "new" / "mine.bin", sha256=wanted)
    assert list((tmp_path / "new").iterdir()) == []


def test_a_file_of_the_users_with_a_wrong_sum_is_left_as_it_is(url: str, tmp_path: Path) -> None:
    mine = tmp_path / "mine.bin"
    mine.write_text("my own")
    sums = rf"sum {MD5}, received {hashlib.md5(b'my own', usedforsecurity=False).hexdigest()}"
    with pytest.raises(OrbitLensError, match=rf"there already: .*{sums}; it was left"):
        fetch(url, mine, md5=MD5)
    assert mine.read_text() == "my own"


def test_a_folder_in_the_place_of_the_file_is_one_line(url: str, tmp_path: Path) -> None:
    with pytest.raises(OrbitLensError, match="expected a file that can be read"):
        fetch(url, tmp_path, md5=MD5)


@pytest.mark.parametrize(
    ("size", "said"), [(None, ", received"), (98_304_000, r" \(98\.3 MB\), received")]
)
def test_what_cannot_be_reached_is_said_with_where_to_put_it(
    size: int | None, said: str, tmp_path: Path
) -> None:
    lost = (tmp_path / "lost.bin").as_uri()
    with pytest.raises(OrbitLensError, match=rf"mine\.bin: .*{lost}{said}.*put it") as caught:
        fetch(lost, tmp_path / "new" / "mine.bin", md5=MD5, size=size)
    assert "\n" not in str(caught.value)
    assert list((tmp_path / "new").iterdir()) == []


def test_a_connection_that_breaks_leaves_nothing(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr(download, "urlopen", lambda *_, **__: Broken(CONTENT))
    with pytest.raises(OrbitLensError, match="IncompleteRead"):
        fetch("https://example.org/a.bin", tmp_path / "new" / "mine.bin", md5=MD5)
    assert list((tmp_path / "new").iterdir()) == []


def test_a_place_that_cannot_be_written_is_one_line(url: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OrbitLensError, match="expected a place that can be written"):
        fetch(url, tmp_path / "file" / "mine.bin", md5=MD5)


@pytest.mark.parametrize(
    ("checksum", "received"), [({}, "neither"), ({"md5": MD5, "sha256": SHA256}, "both")], ids=str
)
def test_exactly_one_sum_is_given(url: str, checksum: dict, received: str, tmp_path: Path) -> None:
    with pytest.raises(OrbitLensError, match=f"`sha256` and `md5`, received {received}"):
        fetch(url, tmp_path / "mine.bin", **checksum)


@pytest.mark.parametrize("other", ["ftp://example.org/a", "/a/path", ""])
def test_an_address_of_another_kind_is_rejected(other: str, tmp_path: Path) -> None:
    with pytest.raises(OrbitLensError, match="`url`: expected one that begins with https, http"):
        fetch(other, tmp_path / "mine.bin", md5=MD5)


def test_the_cache_folder_follows_the_environment(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ORBITLENS_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.setenv("HOME", str(tmp_path))
    for unset in ("", None):
        if unset is None:
            monkeypatch.delenv("ORBITLENS_CACHE")
        else:
            monkeypatch.setenv("ORBITLENS_CACHE", unset)
        assert cache_folder() == tmp_path / ".cache" / "orbitlens"


def test_who_comes_second_waits_for_the_first(tmp_path: Path) -> None:
    order = []

    def second() -> None:
        with one_at_a_time(tmp_path):
            order.append("second")

    thread = threading.Thread(target=second)
    with one_at_a_time(tmp_path):
        thread.start()
        thread.join(0.2)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]
