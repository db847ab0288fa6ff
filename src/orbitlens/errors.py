"""One family of errors and one of warnings: what was expected, what was received, what to do."""

import copyreg
import re
import warnings
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from typing import Any

__all__ = [
    "DamageError",
    "MissingExtraError",
    "OrbitLensError",
    "OrbitLensWarning",
    "missing_extra",
    "one_line",
    "out_of_range",
    "printable",
    "unknown_name",
    "warn",
    "without_credentials",
]

# A path that was made of a URL has one slash.
_URL = re.compile(r"[a-z][a-z0-9+.-]*:/{1,2}\S+", re.IGNORECASE)
# A name and a password before the host; a port and an @ further on in a path are neither.
_USER = re.compile(r"(:/{1,2})[^\s/@:]+:(?!\d+(?:/|$))(?:[^\s/]*|[^\s@]*)@")
# A token alone before the host. Elsewhere, as in abfs://container@account, this is an address.
_TOKEN = re.compile(r"((?:https?|git|webdavs?):/{1,2})[^\s/@:]+@", re.IGNORECASE)
_FIELD = re.compile(
    r"([?&;#](?:[^=&;#\s]*[-_.])?"
    r"(?:token|sig|signature|secret|password|passwd|pwd|key|apikey|keyid|accesskeyid|credentials?"
    r"|auth|session)=)[^&;#\s'\"]*",
    re.IGNORECASE,
)


class OrbitLensError(ValueError):
    """Raised at the door, before any work is done; the command line prints it as one line.

    Args:
        subject: The argument, file or object that is wrong.
        expected: The values that are right.
        received: The value that was given.
        remedy: An action that helps the user.

    Example:
        >>> raise OrbitLensError("`k`", expected="at most d_sae = 8", received=9, remedy="lower k")
        Traceback (most recent call last):
        orbitlens.errors.OrbitLensError: `k`: expected at most d_sae = 8, received 9; lower k
    """

    def __init__(self, subject: str, *, expected: str, received: object, remedy: str) -> None:
        message = f"{subject}: expected {expected}, received {received}; {remedy}"
        super().__init__(printable(without_credentials(message)))

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        """Rebuild the error of a worker process from its message alone."""
        return copyreg.__newobj__, (type(self), str(self))  # type: ignore[attr-defined]


class OrbitLensWarning(UserWarning):
    """A result may be wrong or mean nothing; a run prints it, and shows it on its page."""


class DamageError(OrbitLensError):
    """Something that was written cannot be read back as it was."""


class MissingExtraError(OrbitLensError):
    """An optional library is needed and is not installed."""


def warn(subject: str, *, found: str, remedy: str) -> None:
    """Warn that a result is doubtful: what was found, and what to do.

    Example:
        >>> with warnings.catch_warnings(record=True) as seen:
        ...     warnings.simplefilter("always")
        ...     warn("layer '3'", found="it is constant", remedy="choose another layer")
        >>> print(seen[0].message)
        layer '3': it is constant; choose another layer
    """
    message = " ".join(without_credentials(f"{subject}: {found}; {remedy}").split())
    warnings.warn(OrbitLensWarning(printable(message)), stacklevel=3)


def missing_extra(library: str, *, extra: str) -> MissingExtraError:
    """Return the error for a missing `library`; it names the extra that installs it.

    Example:
        >>> print(missing_extra("timm", extra="timm"))
        timm: expected to be installed, received no such module; pip install 'orbitlens[timm]'
    """
    return MissingExtraError(
        library,
        expected="to be installed",
        received="no such module",
        remedy=f"pip install 'orbitlens[{extra}]'",
    )


def unknown_name(
    subject: str, name: str, known: Iterable[str], *, alike: float = 0.4
) -> OrbitLensError:
    """Return the error for a name that is not among `known`; it suggests the nearest one.

    `alike` is the likeness, up to 1, that a suggestion needs. Among names that a user chose, a low
    one finds words that nobody meant.

    Example:
        >>> print(unknown_name("`group`", "C44", ["C4", "D4"]))
        `group`: expected one of C4, D4, received 'C44'; did you mean 'C4'?
    """
    names = list(known)
    small = {each.lower(): each for each in names}
    nearest = [small[key] for key in get_close_matches(str(name).lower(), small, 1, cutoff=alike)]
    return OrbitLensError(
        subject,
        expected=f"one of {', '.join(names)}",
        received=repr(name),
        remedy=f"did you mean {nearest[0]!r}?" if nearest else "choose one of these",
    )


def out_of_range(
    name: str, expected: str, received: object, remedy: str = "give a number in range"
) -> OrbitLensError:
    """Return the error for a number outside its range.

    Example:
        >>> print(out_of_range("k", "at least 1", 0))
        `k`: expected at least 1, received 0; give a number in range
    """
    return OrbitLensError(f"`{name}`", expected=expected, received=received, remedy=remedy)


def one_line(error: BaseException) -> str:
    r"""Return the message of another library's error on one line, shortened to 160 characters.

    Example:
        >>> one_line(RuntimeError("no such\n  file"))
        'no such file'
        >>> one_line(KeyError("table"))
        "no 'table'"
    """
    message = str(error)
    if isinstance(error, KeyError) and error.args:
        key = error.args[0]
        message = key if isinstance(key, str) and " " in key else f"no {key!r}"
    text = " ".join(without_credentials(message).split()) or type(error).__name__
    text = printable(text)
    return text if len(text) <= 160 else f"{text[:157]}..."


def printable(text: str) -> str:
    r"""Return a line in which every character that could steer a terminal is written as an escape.

    These are control characters, line breaks, marks that reverse the direction of writing, and
    halves of characters that no terminal can show. Names of files, layers and classes may come from
    strangers.

    Example:
        >>> print(printable("layer\x1b[2J of \u202egnp.exe"))
        layer\x1b[2J of \u202egnp.exe
    """
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )


def without_credentials(text: str) -> str:
    """Return a text with the passwords, tokens and keys of its URLs written as three stars.

    Example:
        >>> without_credentials("s3://AKIA12:wJalr/XUt@bucket/acts.zarr")
        's3://***@bucket/acts.zarr'
        >>> without_credentials("https://host/acts.zarr?part=1&X-Amz-Signature=f00")
        'https://host/acts.zarr?part=1&X-Amz-Signature=***'
    """
    if ":/" not in text:
        return text
    return _URL.sub(lambda url: _masked(url[0]), text)


def _masked(url: str) -> str:
    url = _TOKEN.sub(r"\1***@", _USER.sub(r"\1***@", url))
    return _FIELD.sub(r"\1***", url)
