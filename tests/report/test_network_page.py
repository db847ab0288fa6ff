"""The page of a network: complete, self-contained, escaped, and not broken by what is missing."""

import copy
import re
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orbitlens.errors import MissingExtraError
from orbitlens.report import write_network_page
from orbitlens.report._notation import PALETTE

SECTIONS = ["network", "layers", "skipped", "settings"]
SOURCES = {
    f"https://arxiv.org/abs/{number}" for number in ("2511.09432", "2210.02984", "2602.04054")
}
Written = Callable[[Any], Any]


@pytest.fixture
def written(tmp_path: Path, parse: Callable[[str], Any]) -> Written:
    def write(record: Any) -> Any:
        return parse(write_network_page(tmp_path / "page.html", record).read_text(encoding="utf-8"))

    return write


@pytest.fixture
def page(written: Written, network: dict[str, Any]) -> Any:
    return written(network)


def test_every_section_is_there_and_every_link_inside_the_page_leads_somewhere(page: Any) -> None:
    page.assert_well_formed(SECTIONS)
    inside = {target[1:] for target in page.attributes("href") if target.startswith("#")}
    assert inside == set(SECTIONS)


def test_the_page_loads_nothing_and_runs_nothing(tmp_path: Path, network: Any, page: Any) -> None:
    html = write_network_page(tmp_path / "a.html", network).read_text(encoding="utf-8")
    loads = [*page.attributes("src"), *page.attributes("href")]
    assert {load for load in loads if not load.startswith(("#", "data:"))} == SOURCES
    assert "@import" not in html
    assert "url(" not in html
    assert "script" not in {tag for tag, _ in page.tags}
    assert any("default-src 'none'" in policy for policy in page.attributes("content"))


def test_head_names_the_network_and_its_numbers(page: Any) -> None:
    assert "How digits-cnn moves under C4" in page.text
    assert "Of 4 layers under C4, 4 are nearly equivariant." in page.text
    assert "grows from 3.0% at encoder.0 to 93.0% at head" in page.text


def test_the_picture_has_a_row_per_layer_and_a_legend_of_irreps(page: Any) -> None:
    picture = page.sections["network"]
    for name in ("encoder.0", "encoder.1", "pool", "head"):
        assert name in picture
    for label in ("unchanged", "changes sign under r", "turns by 90° under r", "rotation"):
        assert label in picture
    # The names and five panels; the rest are marks in the legends.
    assert sum(attrs.get("role") == "img" for _, attrs in page.tags) == 6


def test_the_picture_is_drawn_in_the_colours_of_the_page(page: Any) -> None:
    colours = {*page.attributes("fill"), *page.attributes("stroke")}
    assert {colour for colour in colours if not colour.startswith("var(--")} == {"none"}
    slots = {int(slot) for colour in colours for slot in re.findall(r"series-(\d)", colour)}
    assert slots <= set(range(len(PALETTE)))


def test_the_table_has_every_figure_and_explains_every_column(page: Any) -> None:
    table = page.sections["layers"]
    figures = ("0.970 to 0.985", "0.981", "−0.470", "−0.900", "0.0200", "12.0", "93.0%")
    sizes = ("16 of 256", "32", "100%", "0.0300", "0.110", "0.990", "0.350", "equivariant", "maps")
    for figure in (*figures, *sizes):
        assert figure in table
    headers = [attrs for tag, attrs in page.tags if tag == "th"]
    assert {attrs.get("scope") for attrs in headers} == {"col", "colgroup", "row"}
    assert all(attrs.get("title") for attrs in headers if attrs.get("class") == "first")


def test_skipped_layers_are_listed_with_their_reasons(page: Any, written: Written) -> None:
    assert "it only reshapes" in page.sections["skipped"]
    assert "No layer was skipped" in written({}).sections["skipped"]


def test_settings_and_times_are_shown(page: Any) -> None:
    settings = page.sections["settings"]
    assert "positions" in settings
    assert "42.0 s" in settings
    assert "image_size" in settings
    assert "irreps" not in settings


def test_hostile_strings_stay_text(hostile: str, written: Written, network: dict[str, Any]) -> None:
    network["model"]["name"] = network["inputs"]["name"] = network["group"]["name"] = hostile
    network["group"]["elements"] = [hostile]
    network["group"]["irreps"] = [
        {**irrep, "label": hostile} for irrep in network["group"]["irreps"]
    ]
    network["layers"][0].update(layer=hostile, kind=hostile, verdict=hostile, rank=3)
    network["layers"][1].update(layer=hostile[:20])
    network["skipped"] = {hostile: hostile}
    network["config"] = {hostile: hostile}
    network["seconds"] = {hostile: 1.0}
    network["warnings"] = [hostile]

    page = written(network)

    page.assert_well_formed(SECTIONS)
    tags = Counter(tag for tag, _ in page.tags)
    assert tags["img"] == 0
    page.assert_runs_only_its_own()
    assert page.text.count("<script>alert(1)</script>") > 10


@pytest.mark.parametrize(
    "value", [None, float("nan"), float("inf"), float("-inf"), -1e300, 0, 1e300]
)
def test_any_figure_may_be_missing_or_anything(
    value: float | int | None, written: Written, network: dict[str, Any]
) -> None:
    names = ("layer", "kind", "verdict", "spectrum")
    for key in network["layers"][1]:
        if key not in names:
            network["layers"][1][key] = value
    network["layers"][2] = {key: value for key in network["layers"][2] if key not in names}
    network["layers"][3]["spectrum"] = [value] * 3
    page = written(network)
    page.assert_well_formed(SECTIONS)
    assert "None" not in page.text
    assert "nan" not in page.sections["network"]
    if isinstance(value, float) and abs(value) > 1e300:
        assert "not finite" in page.sections["layers"]
    positions = [x for key in ("x", "cx", "width") for x in page.attributes(key)]
    assert {"nan", "inf", "-inf"}.isdisjoint(positions)


def blank(value: Any) -> Any:
    """Replace every leaf by None."""
    if isinstance(value, dict):
        return {key: blank(entry) for key, entry in value.items()}
    return None


@pytest.mark.parametrize(
    "remove",
    ["model", "inputs", "group", "action", "layers", "skipped", "config", "seconds"],
)
def test_any_part_may_be_missing_or_none(
    remove: str, written: Written, network: dict[str, Any]
) -> None:
    without = {key: value for key, value in network.items() if key != remove}
    for record in (without, {**network, remove: None}, {**network, remove: blank(network[remove])}):
        written(record).assert_well_formed(SECTIONS)


def test_a_layer_that_says_only_its_name_is_shown(written: Written) -> None:
    page = written({"layers": [{"layer": "conv"}]})
    page.assert_well_formed(SECTIONS)
    assert "conv" in page.sections["network"]
    assert "conv" in page.sections["layers"]


@pytest.mark.parametrize("count", [1, 120, 300])
def test_one_layer_or_hundreds_fit_on_a_page(
    count: int, written: Written, network: dict[str, Any], tmp_path: Path
) -> None:
    layer = network["layers"][0]
    network["layers"] = [
        {**copy.deepcopy(layer), "layer": f"vision_model.encoder.layers.{i}.attention.output"}
        for i in range(count)
    ]
    page = written(network)
    page.assert_well_formed(SECTIONS)
    last = f"vision_model.encoder.layers.{count - 1}.attention.output"
    assert last in page.sections["layers"]
    assert f"…{count - 1}.attention.output" in page.sections["network"]
    assert (tmp_path / "page.html").stat().st_size < 2e6


def test_the_same_record_gives_the_same_bytes(tmp_path: Path, network: dict[str, Any]) -> None:
    first = write_network_page(tmp_path / "a.html", network).read_bytes()
    second = write_network_page(tmp_path / "b.html", copy.deepcopy(network)).read_bytes()
    assert first == second


def test_a_page_goes_into_a_new_folder_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = write_network_page(tmp_path / "run" / "network.html", {})
    assert path == tmp_path / "run" / "network.html"
    assert [entry.name for entry in path.parent.iterdir()] == ["network.html"]


def test_the_page_needs_jinja2_alone(
    tmp_path: Path, network: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "PIL", None)
    write_network_page(tmp_path / "page.html", network)
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'orbitlens\[report\]'"):
        write_network_page(tmp_path / "other.html", network)
    assert [entry.name for entry in tmp_path.iterdir()] == ["page.html"]


def test_a_network_of_one_figure_has_a_page(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    record = {"group": {"name": "C4"}, "layers": [{"layer": "conv", "r2": 0.98}]}
    assert write_network_page(path, record) == path
    assert path.read_text(encoding="utf-8").startswith("<!doctype html>")
