"""The comparison with a published table, verdict by verdict."""

import pytest

from orbitlens.errors import OrbitLensError
from orbitlens.reproduce import compare, comparison_lines, result_lines

PAPER = {"sae": "a", "k": 4, "f1_mean": 0.5, "f1_stderr": 0.02}


def ours(mean: float | None, spread: float | None, **more: object) -> dict[str, object]:
    return {"sae": "a", "k": 4, "f1_mean": mean, "f1_stderr": spread, "n": 3, **more}


@pytest.mark.parametrize(
    ("mean", "spread", "verdict"),
    [
        (0.5, 0.0, "within the spread"),
        (0.5625, 0.0625, "within the spread"),
        (0.4375, 0.0625, "within the spread"),
        (0.6, 0.05, "better"),
        (0.4, 0.05, "worse"),
        (None, None, "not measured"),
    ],
)
def test_verdicts_by_hand(mean: float | None, spread: float | None, verdict: str) -> None:
    (compared,) = compare([ours(mean, spread)], [PAPER], where={})
    assert compared.verdict == verdict
    assert (compared.ours, compared.our_spread) == (mean, spread)
    assert (compared.paper, compared.paper_spread) == (0.5, 0.02)
    assert compared.key == {"sae": "a", "k": 4}
    assert compared.metric == "f1"


def test_the_spreads_add_up() -> None:
    # The means are 0.25 apart.
    rows = [{"f1_mean": 0.75, "f1_std": 0.125}]
    for spread, verdict in ((0.125, "within the spread"), (0.0625, "better")):
        paper = [{"f1_mean": 0.5, "f1_std": spread}]
        assert compare(rows, paper, where={})[0].verdict == verdict


@pytest.mark.parametrize(
    ("metric", "lower", "higher"),
    [
        ("mse", "better", "worse"),
        ("r2_trained", "worse", "better"),
        ("r2_identity", "different", "different"),
    ],
)
def test_which_way_is_better_depends_on_the_metric(metric: str, lower: str, higher: str) -> None:
    paper = [{f"{metric}_mean": 0.5, f"{metric}_std": 0.01}]
    for mean, verdict in ((0.3, lower), (0.7, higher)):
        (compared,) = compare([{f"{metric}_mean": mean, f"{metric}_std": 0.0}], paper, where={})
        assert compared.verdict == verdict
        assert compared.difference == pytest.approx(mean - 0.5)


def test_every_published_figure_has_a_line_even_if_we_did_not_measure_it() -> None:
    paper = [PAPER, {**PAPER, "sae": "b"}, {**PAPER, "k": 8}]
    compared = compare([ours(0.5, 0.1), {**ours(0.9, 0.0), "sae": "c"}], paper, where={})
    assert [each.key for each in compared] == [
        {"sae": "a", "k": 4}, {"sae": "b", "k": 4}, {"sae": "a", "k": 8},
    ]  # fmt: skip
    assert [each.verdict for each in compared] == [
        "within the spread", "not measured", "not measured",
    ]  # fmt: skip
    assert compared[1].difference is None


def test_published_whole_numbers_are_figures_too() -> None:
    (compared,) = compare([ours(0.5, 0.0)], [{**PAPER, "f1_mean": 1, "f1_stderr": 0}], where={})
    assert (compared.paper, compared.difference, compared.verdict) == (1.0, -0.5, "worse")


def test_rows_of_other_settings_are_left_out() -> None:
    rows = [ours(0.9, 0.0, model="mlp"), ours(0.5, 0.0, model="mean")]
    assert compare(rows, [PAPER], where={"model": "mean"})[0].ours == 0.5


def test_several_rows_for_one_published_figure_are_rejected() -> None:
    rows = [ours(0.9, 0.0, model="mlp"), ours(0.5, 0.0, model="cnn")]
    with pytest.raises(OrbitLensError, match=r"`where`.*several for \{'sae': 'a', 'k': 4\}"):
        compare(rows, [PAPER], where={})


def test_figures_of_several_metrics_follow_row_by_row() -> None:
    paper = [
        {"sae": name, "f1_mean": 0.5, "f1_stderr": 0.0, "mse_mean": 1.0, "mse_std": 0.0}
        for name in ("a", "b")
    ]
    compared = compare(paper, paper, where={})
    assert [(each.key["sae"], each.metric) for each in compared] == [
        ("a", "f1"), ("a", "mse"), ("b", "f1"), ("b", "mse"),
    ]  # fmt: skip
    assert {each.verdict for each in compared} == {"within the spread"}


def test_lines_show_both_figures_and_count_the_verdicts() -> None:
    rows = [ours(0.6, 0.01), {**ours(0.1, 0.0), "sae": "b"}]
    paper = [PAPER, {**PAPER, "sae": "b"}, {**PAPER, "sae": "c"}]
    head, first, second, third, counts = comparison_lines(compare(rows, paper, where={}))
    assert head.split() == ["ours", "paper", "difference", "verdict"]
    assert " ".join(first.split()) == "a 4 f1 0.600 +- 0.010 0.500 +- 0.020 +0.100 better"
    assert second.split()[-2:] == ["-0.400", "worse"]
    assert " ".join(third.split()) == "c 4 f1 - 0.500 +- 0.020 - not measured"
    assert counts == "1 better, 1 worse, 1 not measured"


def test_without_a_published_table_the_line_says_so() -> None:
    assert compare([ours(0.5, 0.1), ours(0.6, 0.1)], [], where={}) == []
    assert comparison_lines([]) == ["nothing published to compare with"]


def test_results_alone_are_lines_of_the_first_figures() -> None:
    rows = [
        {"arm": "average", "steps": 2, "mse_mean": 0.125, "mse_std": 0.5, "r2_mean": None, "n": 3},
        {"arm": "plain", "steps": 2, "mse_mean": 12345.0, "mse_std": None, "r2_mean": 1.0, "n": 1},
    ]
    lines = [line.split() for line in result_lines(rows)]
    assert lines == [
        ["arm", "steps", "mse", "r2"],
        ["average", "2", "0.125", "+-", "0.5", "-"],
        ["plain", "2", "1.234e+04", "1"],
    ]
    assert result_lines([]) == result_lines([{"arm": "average", "n": 3}]) == []
