"""The use of layers is found by its protocol, refused where broken, and loaded when needed."""

import math
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import jaxtyping
import pytest
import torch
from torch import nn

import orbitlens as ol
from orbitlens.symmetry.relax.relaxed_images import RelaxedLiftingConv2d
from orbitlens.symmetry.relax.use import SymmetryUse, symmetry_uses, unknown_uses
from orbitlens.transport import use_line


class Knowing(nn.Linear):
    """A layer that says that its use is what it was given."""

    def __init__(self, use: Any, width: int = 3) -> None:
        super().__init__(width, width)
        self.use = use

    def symmetry_use(self) -> Any:
        return self.use


USE = SymmetryUse("spread", {"bank 1": 0.0, "bank 2": 0.25})
PATHS = SymmetryUse("effective", {"conv": 0.002, "f-fc": 0.5})


def measured(*layers: nn.Module, **more: Any) -> ol.transport.NetworkEquivariance:
    torch.manual_seed(0)
    action = ol.actions.cyclic_shift(ol.groups.cyclic(3))
    inputs = torch.randn(60, 3)
    return ol.measure_network(nn.Sequential(*layers), inputs=inputs, action=action, **more)


def test_uses_come_by_name_and_what_is_not_known_is_left_out() -> None:
    network = nn.Sequential(nn.Linear(3, 3), nn.Sequential(Knowing(USE)), Knowing(None))
    assert symmetry_uses(network) == {"1.0": USE}
    assert symmetry_uses(Knowing(PATHS)) == {"": PATHS}
    assert USE.to_dict() == {"kind": "spread", "parts": {"bank 1": 0.0, "bank 2": 0.25}}


def test_a_measurement_has_the_use_and_prints_it() -> None:
    found = measured(Knowing(USE), nn.Tanh(), Knowing(PATHS), layers=["0", "1"])
    assert found.use == {"0": USE.to_dict(), "2": PATHS.to_dict()}
    title, first, second, third = str(found).splitlines()
    assert title == "2 layers under C3"
    assert first.startswith("0: ")
    assert ", R^2 " in first
    assert "; spread bank 1 0, bank 2 0.25 (R^2 allows another representation" in first
    assert second.startswith("1: ")
    assert ";" not in second
    assert third == "2: not measured; use conv 0.2%, f-fc 50.0%"


def test_the_parameters_that_the_data_determine_are_printed_beside_the_share() -> None:
    # 0.9 of 90 parameters are less than one, 1.1 of 110 are not, with the same share.
    use = SymmetryUse("effective", {"conv": 0.01, "f-fc": 0.01}, {"conv": 90, "f-fc": 110})
    assert use.dropped == ("conv",)
    found = measured(Knowing(use))
    line = "; use conv 0.9 of 90 (1.0%, dropped), f-fc 1.1 of 110 (1.0%)"
    assert str(found).endswith(line)
    assert found.use["0"]["sizes"] == {"conv": 90, "f-fc": 110}
    assert found.use["0"]["determined"] == pytest.approx({"conv": 0.9, "f-fc": 1.1})
    assert found.use["0"]["dropped"] == ["conv"]
    off = SymmetryUse("effective", {"conv": 0.5}, {"conv": 90}, switched_off=("conv",))
    assert off.dropped == ("conv",)
    assert PATHS.dropped == ()
    frozen = SymmetryUse("effective", {"conv": math.nan, "f-fc": 0.5}, {"conv": 90, "f-fc": 110})
    assert frozen.dropped == ()
    assert use_line(frozen.to_dict()) == "use conv unknown, f-fc 55.0 of 110 (50.0%)"


def test_the_reason_of_an_unknown_use_is_printed() -> None:
    class Unsure(Knowing):
        def why_use_is_unknown(self) -> str | None:
            return "no precision was learned"

    found = measured(Unsure(None), Knowing(USE))
    assert list(found.use) == ["0", "1"]
    assert "; use unknown: no precision was learned\n" in str(found)


def test_beside_a_spread_stands_that_the_verdict_allows_another_representation() -> None:
    torch.manual_seed(0)
    layer = RelaxedLiftingConv2d("C4", 1, 6)
    layer.weights.data.copy_(torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]]))
    inputs, action = torch.randn(300, 1, 9, 9), ol.actions.images("C4")
    found = ol.measure_network(nn.Sequential(layer), inputs=inputs, action=action, lie_inputs=0)
    assert found.layers[0].verdict == "exactly equivariant"
    assert str(found).endswith(
        "spread bank 1 1, bank 2 1 (R^2 allows another representation than the layer's own; "
        "`orbitlens check ... --output regular` measures the regular one)"
    )
    assert use_line(SymmetryUse("spread", {"bank 1": 2e-7}).to_dict()) == "spread bank 1 2e-07"


def test_of_many_parts_the_ends_are_printed() -> None:
    many = SymmetryUse("spread", {f"bank {number}": number / 8 for number in range(9)})
    found = measured(Knowing(many), Knowing(None))
    assert list(found.use) == ["0"]
    assert "; spread of 9 parts 0 to 1 (R^2" in str(found)


def test_weights_that_are_nan_have_a_use_that_is_nan() -> None:
    found = measured(Knowing(SymmetryUse("spread", {"bank 1": math.nan})))
    assert math.isnan(found.use["0"]["parts"]["bank 1"])
    assert "spread bank 1 nan" in str(found)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: SymmetryUse("spred", {}), "`kind` of a use: expected one of spread, effective"),
        (lambda: SymmetryUse("spread", {}), "`parts`: expected at least one, received 0"),
        (lambda: SymmetryUse("spread", [0.5]), "`parts`: expected an object Mapping"),
        (lambda: SymmetryUse("spread", {1: 0.5}), "received float for 1"),
        (lambda: SymmetryUse("spread", {"a": torch.ones(())}), "received Tensor for 'a'"),
        (lambda: SymmetryUse("spread", {"a": True}), "received bool for 'a'"),
        (
            lambda: SymmetryUse("effective", {"a": 0.5}, {"b": 3}),
            "`sizes` of a use: expected those of the parts ['a'], received those of ['b']",
        ),
        (lambda: SymmetryUse("effective", {"a": 0.5}, {"a": 0}), "`sizes['a']`: expected at leas"),
        (lambda: SymmetryUse("effective", {"a": 0.5}, [3]), "`sizes`: expected an object Mapping"),
        (
            lambda: SymmetryUse("effective", {"a": 0.5}, {"a": 3}, ("b",)),
            "`switched_off` of a use: expected one of a, received 'b'",
        ),
        (lambda: unknown_uses(3), "`network`: expected an object Module"),
        (lambda: symmetry_uses(3), "`network`: expected an object Module"),
        (
            lambda: symmetry_uses(nn.Sequential(Knowing({"bank 1": 0.5}))),
            "`symmetry_use() of '0'`: expected an object SymmetryUse, received dict",
        ),
        (
            lambda: measured(Knowing(0.5)),
            "`symmetry_use() of '0'`: expected an object SymmetryUse, received float",
        ),
    ],
)
def test_another_use_is_refused(
    make: Callable[[], Any], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ol.OrbitLensError) as caught:
        make()
    assert says in str(caught.value)


def test_a_network_without_such_layers_does_not_load_the_symmetry_room() -> None:
    program = """
import sys, torch, orbitlens as ol
found = ol.measure_network(
    torch.nn.Sequential(torch.nn.Linear(3, 3)),
    inputs=torch.randn(60, 3),
    action=ol.actions.cyclic_shift(ol.groups.cyclic(3)),
)
assert found.use == {}
assert not [name for name in sys.modules if name.startswith("orbitlens.symmetry")]
"""
    subprocess.run([sys.executable, "-c", program], check=True)
