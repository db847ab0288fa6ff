"""The one family of errors."""

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbitlens.errors import (
    MissingExtraError,
    OrbitLensError,
    OrbitLensWarning,
    missing_extra,
    one_line,
    printable,
    warn,
    without_credentials,
)


@pytest.mark.parametrize(
    "error",
    [
        OrbitLensError("`k`", expected="at most 8", received=9, remedy="lower k"),
        missing_extra("timm", extra="timm"),
    ],
)
def test_an_error_comes_home_from_a_worker_process_as_it_was(error: OrbitLensError) -> None:
    returned = pickle.loads(pickle.dumps(error))  # noqa: S301 - as multiprocessing does
    assert type(returned) is type(error)
    assert str(returned) == str(error)
    assert isinstance(error, MissingExtraError) == isinstance(returned, MissingExtraError)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("s3://AKIA12:wJa/lr@bucket/acts.zarr", "s3://***@bucket/acts.zarr"),
        ("s3:/AKIA12:wJa/lr@bucket/acts.zarr", "s3:/***@bucket/acts.zarr"),
        ("ftp://me:p@ss@host/x", "ftp://***@host/x"),
        ("https://ghp_token@host/x, then more", "https://***@host/x, then more"),
        ("simplecache::s3://key:secret@b/x", "simplecache::s3://***@b/x"),
        ("https://h/x?sv=1&sig=a%2Fb&part=2", "https://h/x?sv=1&sig=***&part=2"),
        ("https://h/x?X-Amz-Credential=AK%2F1", "https://h/x?X-Amz-Credential=***"),
        ("https://host:8080/a@b/c", "https://host:8080/a@b/c"),
        ("abfs://container@account/x", "abfs://container@account/x"),
        ("https://h/?monkey=3", "https://h/?monkey=3"),
        ("layer 3: 2 of 4", "layer 3: 2 of 4"),
    ],
)
def test_credentials_in_a_url_are_not_shown(text: str, shown: str) -> None:
    assert without_credentials(text) == shown
    assert without_credentials(shown) == shown
    assert shown in str(OrbitLensError(text, expected="a", received="b", remedy="c"))


@given(st.text())
def test_a_printable_line_cannot_steer_a_terminal(text: str) -> None:
    line = printable(text)
    assert line.isprintable()
    assert printable(line) == line
    assert line == text or not text.isprintable()


def test_a_warning_is_one_line_without_credentials_or_control_characters() -> None:
    with pytest.warns(OrbitLensWarning) as seen:
        warn("a\x1b[2J\nb", found="https://me:word@host/x is odd", remedy="look at it")
    assert str(seen[0].message) == "a\\x1b[2J b: https://***@host/x is odd; look at it"


def test_the_error_of_another_library_is_one_line_without_control_characters() -> None:
    assert one_line(ValueError("no \x1b[31m\nfile")) == "no \\x1b[31m file"
