"""A record with a value of another type is drawn as far as it can be, or refused by its name."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from orbitlens.errors import OrbitLensError
from orbitlens.report import write_network_page, write_page
from orbitlens.report._forms import NETWORK, RUN, check_form

OTHERS: list[Any] = [
    None,
    True,
    7,
    -1.5,
    10**400,
    float("nan"),
    "text",
    "",
    [],
    [3],
    {},
    {"a": [1]},
]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Give the path of every value inside a record, the first three entries of a list."""
    if path:
        yield path
    inner = value.items() if isinstance(value, dict) else ()
    if isinstance(value, list):
        inner = enumerate(value[:3])
    for key, entry in inner:
        yield from places(entry, (*path, key))


def with_value(record: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    copied = list(record) if isinstance(record, list) else dict(record)
    copied[path[0]] = with_value(record[path[0]], path[1:], value)
    return copied


def assert_drawn_or_refused(record: Any, write: Callable[[Any], object]) -> None:
    for number, path in enumerate(places(record)):
        # Each value is tried somewhere, and each place with some of them.
        for other in OTHERS[number % 6 :: 6]:
            with suppress(OrbitLensError):
                write(with_value(record, path, other))


def test_any_value_of_another_type_in_the_record_of_a_run(
    tmp_path: Path, metrics: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for sae in ("equivariant_canonical", "equivariant_latent"):
        del metrics["saes"][sae]
    metrics["transport"].update(r2_interval=[0.9, 1.0], dim=4, variable=3)
    # The chart takes most of the time; it has a test of its own.
    monkeypatch.setattr("orbitlens.report.page.transport_chart", lambda *_: "")
    assert_drawn_or_refused(
        metrics, lambda record: write_page(tmp_path / "page.html", record, {}, [])
    )


def test_any_value_of_another_type_in_the_record_of_a_network(
    tmp_path: Path, network: dict[str, Any]
) -> None:
    network["layers"] = network["layers"][:2]
    network["use"] = {"head": {"kind": "effective", "parts": {"conv": 0.5, "f-fc": None}}}
    assert_drawn_or_refused(
        network, lambda record: write_network_page(tmp_path / "page.html", record)
    )


@pytest.mark.parametrize(
    ("record", "says"),
    [
        ([], "expected a record, received one of type list"),
        ({"group": 3}, "`group`: expected a record"),
        ({"group": {"elements": "abc"}}, "`group.elements`: expected a list"),
        ({"saes": {"vanilla": {"status": 4}}}, "`saes.vanilla.status`: expected text"),
        ({"saes": {"vanilla": {"probe": {"rows": [3]}}}}, "`saes.vanilla.probe.rows`"),
        (
            {"transport": {"dim": True}},
            "`transport.dim`: expected a whole number, received one of type",
        ),
    ],
)
def test_the_error_names_the_value(record: Any, says: str) -> None:
    with pytest.raises(OrbitLensError) as caught:
        check_form(record, RUN)
    assert says in str(caught.value)


def test_what_is_missing_or_none_or_unknown_is_of_any_form() -> None:
    check_form({"saes": {"vanilla": None, "mine": {"extra": object()}}, "more": 3}, RUN)
    check_form({"layers": [None, {"spectrum": None}], "group": None}, NETWORK)
