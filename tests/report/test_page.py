"""The page: complete, self-contained, escaped, and not broken by what is missing."""

import copy
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from orbitlens.errors import MissingExtraError, OrbitLensError
from orbitlens.report import FeatureCard, run_doubts, write_page

SECTIONS = ["transport", "saes", "probing", "training", "features", "settings"]
Parse = Callable[[str], Any]
Written = Callable[..., Any]
CITATION = "https://arxiv.org/abs/2511.09432"
SCRIPT = (files("orbitlens.report") / "templates" / "_script.js.j2").read_text().rstrip("\n")


DRAWN: list[str] = []


@pytest.fixture
def html(
    tmp_path: Path, metrics: dict[str, Any], histories: dict[str, Any], cards: list[FeatureCard]
) -> str:
    """The page of the plausible run, which is drawn once: the record is always the same."""
    if not DRAWN:
        path = write_page(tmp_path / "page.html", metrics, histories, cards)
        DRAWN.append(path.read_text(encoding="utf-8"))
    return DRAWN[0]


@pytest.fixture
def page(html: str, parse: Parse) -> Any:
    return parse(html)


@pytest.fixture
def written(tmp_path: Path, parse: Parse) -> Callable[..., Any]:
    def write(metrics: Any, histories: Any = None, cards: Any = ()) -> Any:
        path = write_page(tmp_path / "page.html", metrics, histories or {}, list(cards))
        return parse(path.read_text(encoding="utf-8"))

    return write


def test_every_section_is_there_and_every_link_inside_the_page_leads_somewhere(
    html: str, page: Any
) -> None:
    page.assert_well_formed(SECTIONS)
    ids = set(page.attributes("id"))
    targets = page.attributes("href") + page.attributes("xlink:href")
    assert {target[1:] for target in targets if target.startswith("#")} <= ids
    assert set(re.findall(r"url\(#([^)]+)\)", html)) <= ids


def test_the_page_loads_nothing(html: str, page: Any) -> None:
    loads = [*page.attributes("src"), *page.attributes("href"), *page.attributes("xlink:href")]
    outside = {load for load in loads if not load.startswith(("#", "data:"))}
    assert outside == {CITATION}
    assert "@import" not in html
    assert not re.search(r"url\((?!#)", html)
    assert "DOCTYPE svg" not in html


def test_the_policy_allows_the_script_and_the_style_sheet_of_the_page_alone(page: Any) -> None:
    page.assert_runs_only_its_own(SCRIPT)


def test_warnings_stand_at_the_top_each_once(written: Written, metrics: dict[str, Any]) -> None:
    metrics["data"]["held_out"] = 12
    (doubt,) = run_doubts(metrics)
    metrics["warnings"] = ["layer encoder: it is odd; look at it", doubt]
    page = written(metrics)
    assert page.text.index("it is odd; look at it") < page.text.index(
        "held-out orbits: there are 12"
    )
    assert page.text.count("held-out orbits: there are 12") == 1
    assert "held-out orbits: there are 12" in written({**metrics, "warnings": None}).text


def test_head_names_the_run_and_its_numbers(page: Any) -> None:
    text = page.text
    assert "shapes under C4" in text
    assert "3 sparse autoencoders were trained on 256-dimensional activations" in text
    assert "every figure is on 819 held-out samples" in text
    assert "0.350 without a transport" in text
    assert "Equivariant (canonical), transported; vanilla 0.123" in text


def test_features_are_readable_without_the_script(page: Any) -> None:
    galleries = [attrs for _, attrs in page.tags if attrs.get("class") == "gallery"]
    assert len(galleries) == 2
    assert all("hidden" not in attrs for attrs in galleries)


def test_features_show_element_activation_and_silence(page: Any) -> None:
    pictures = [attrs for tag, attrs in page.tags if tag == "img"]
    assert len(pictures) == 2 * 4 * 2
    assert all((attrs["src"] or "").startswith("data:image/") for attrs in pictures)
    assert pictures[0]["alt"] == "Image 1 for latent 7 under e, as it is, activation 3.25"
    assert sum(attrs.get("class") == "silent" for _, attrs in page.tags) == 2 * 3
    assert "fires mostly under e, r" in page.sections["features"]
    assert "r³" in page.sections["features"]


def test_tables_name_their_headers(page: Any) -> None:
    headers = [attrs for tag, attrs in page.tags if tag == "th"]
    assert headers
    assert {attrs.get("scope") for attrs in headers} == {"col", "colgroup", "row"}


def test_both_probing_protocols_are_shown(page: Any) -> None:
    probing = page.sections["probing"]
    assert probing.count("oracle") >= 2
    assert probing.count("inferred") >= 2
    assert "112 tasks" in probing


def test_hostile_strings_stay_text(
    hostile: str,
    written: Written,
    metrics: dict[str, Any],
    histories: dict[str, Any],
    cards: list[FeatureCard],
) -> None:
    metrics["data"].update(name=hostile, skipped=[hostile], digest=hostile)
    metrics["model"].update(name=hostile, layer=hostile)
    metrics["group"].update(name=hostile, elements=["e", hostile, "$r$", "$\\bad{"])
    metrics["transport"].update(method=hostile, order_errors={hostile: 0.1})
    metrics["config"][hostile] = hostile
    metrics["seconds"][hostile] = 1.0
    metrics["notes"] = metrics["warnings"] = [hostile]
    metrics["saes"][hostile] = {**copy.deepcopy(metrics["saes"]["vanilla"]), "status": hostile}
    metrics["saes"][hostile]["probe"]["rows"][0].update(task=hostile, orientation=hostile)
    histories[hostile] = histories["vanilla"]
    card = cards[0]
    cards.append(FeatureCard(hostile, 1, card.firing_rates, card.images, card.activations))

    page = written(metrics, histories, cards)

    page.assert_well_formed(SECTIONS)
    tags = Counter(tag for tag, _ in page.tags)
    assert tags["b"] == 0
    page.assert_runs_only_its_own(SCRIPT)
    assert page.text.count("<script>alert(1)</script>") > 10


def test_empty_metrics_give_a_page_that_says_so(written: Written) -> None:
    page = written({})
    page.assert_well_formed(SECTIONS)
    assert "No transport was recorded" in page.sections["transport"]
    assert "No SAE was recorded" in page.sections["saes"]
    assert "Nothing was probed" in page.sections["probing"]
    assert "No training history" in page.sections["training"]
    assert "No features to show" in page.sections["features"]
    assert "None" not in page.text


def blank(value: Any) -> Any:
    """Replace every leaf by None."""
    if isinstance(value, dict):
        return {key: blank(entry) for key, entry in value.items()}
    return None


@pytest.mark.parametrize(
    "remove", ["config", "group", "action", "data", "model", "transport", "saes", "seconds"]
)
def test_any_part_may_be_missing_or_none(
    remove: str, written: Written, metrics: dict[str, Any], cards: list[FeatureCard]
) -> None:
    without = {key: value for key, value in metrics.items() if key != remove}
    for record in (without, {**metrics, remove: None}, {**metrics, remove: blank(metrics[remove])}):
        page = written(record, cards=cards[:1])
        page.assert_well_formed(SECTIONS)
        assert " None" not in page.text


def test_without_labels_nothing_was_probed(
    written: Written, metrics: dict[str, Any], histories: dict[str, Any]
) -> None:
    for sae in metrics["saes"].values():
        sae["probe"] = None
    page = written(metrics, histories)
    assert "Nothing was probed" in page.sections["probing"]
    assert "0.0223" in page.sections["saes"]


def test_a_diverged_sae_is_shown_and_wins_nothing(
    written: Written, metrics: dict[str, Any], histories: dict[str, Any]
) -> None:
    nan = float("nan")
    metrics["saes"]["equivariant_canonical"].update(
        status="diverged", mse=nan, transported_normalised_mse=nan, code_invariance_error=0.0
    )
    histories["equivariant_canonical"] = {
        "loss": [1.0, float("inf")],
        "explained_variance": [None, nan],
        "dead_latents": [],
    }
    page = written(metrics, histories)
    page.assert_well_formed(SECTIONS)
    assert "Equivariant (canonical): training diverged" in page.text
    assert "not finite" in page.sections["saes"]
    assert "Equivariant (latent), transported; vanilla 0.123" in page.text


def test_histories_of_any_length_are_drawn(written: Written) -> None:
    histories = {"vanilla": {"loss": [3]}, "other": {"loss": [2.0, 1e-9, 5e12]}, "none": {}}
    page = written({}, histories)
    page.assert_well_formed(SECTIONS)
    assert "Loss" in page.sections["training"]
    assert "Dead latents" not in page.sections["training"]


def test_the_same_run_gives_the_same_bytes_whatever_the_user_set(
    tmp_path: Path, metrics: dict[str, Any], histories: dict[str, Any], cards: list[FeatureCard]
) -> None:
    matplotlib = pytest.importorskip("matplotlib")
    first = write_page(tmp_path / "a.html", metrics, histories, cards).read_bytes()
    with matplotlib.rc_context({"font.size": 31, "svg.fonttype": "path", "axes.grid": True}):
        before = dict(matplotlib.rcParams)
        second = write_page(tmp_path / "b.html", metrics, histories, cards).read_bytes()
        assert dict(matplotlib.rcParams) == before
    assert first == second


def test_a_page_that_cannot_be_put_in_place_leaves_the_old_one(
    tmp_path: Path, metrics: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "page.html"
    path.write_text("old")

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OrbitLensError, match="disk full"):
        write_page(path, metrics, {}, [])
    assert path.read_text() == "old"


def test_a_page_goes_into_a_new_folder_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = write_page(tmp_path / "run" / "page.html", {}, {}, [])
    assert path == tmp_path / "run" / "page.html"
    assert [entry.name for entry in path.parent.iterdir()] == ["page.html"]


def test_a_file_name_that_is_not_unicode_does_not_lose_the_page(written: Written) -> None:
    page = written({"data": {"name": "cells", "skipped": ["bad\udcff.png"]}})
    assert "1 of the files could not be read" in page.text


@pytest.mark.parametrize("library", ["jinja2", "matplotlib", "PIL"])
def test_a_missing_library_is_named_with_its_extra(
    library: str,
    tmp_path: Path,
    metrics: dict[str, Any],
    histories: dict[str, Any],
    cards: list[FeatureCard],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(MissingExtraError, match=r"pip install 'orbitlens\[report\]'"):
        write_page(tmp_path / "page.html", metrics, histories, cards)
    assert not list(tmp_path.iterdir())


def test_importing_the_room_loads_no_extra_and_writing_loads_no_pyplot(tmp_path: Path) -> None:
    code = (
        "import sys, orbitlens.report as report;"
        "print([m for m in ('jinja2', 'matplotlib', 'PIL') if m in sys.modules]);"
        f"report.write_page({str(tmp_path / 'p.html')!r}, "
        "{'saes': {'a': {}}}, {'a': {'loss': [1.0, 2.0]}}, []);"
        "print('matplotlib.pyplot' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["[]", "False"]


def test_a_run_of_nothing_but_a_name_has_a_page(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    assert write_page(path, {"saes": {"vanilla": {}}}, {}, []) == path
    assert path.read_text(encoding="utf-8").startswith("<!doctype html>")
