"""Kronecker factors: rows of every layer, exact cases, and what is refused."""

import re
from collections.abc import Callable

import jaxtyping
import pytest
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils import prune

from orbitlens.errors import OrbitLensError
from orbitlens.models import GroupConv2d, LiftingConv2d
from orbitlens.symmetry.relax._block_linear import BlockLinear
from orbitlens.symmetry.relax._rows import input_rows, linear_layers, output_rows
from orbitlens.symmetry.relax.factored import FactoredLinear
from orbitlens.symmetry.relax.kfac import Curvature, KroneckerFactors, kronecker_curvature
from orbitlens.symmetry.relax.mixed import MixedBlock, layerwise_network
from orbitlens.symmetry.relax.sparse import SparseConv2d

LAYERS: dict[str, tuple[Callable[[], nn.Module], list[int]]] = {
    "dense": (lambda: nn.Linear(5, 3), [5]),
    "dense on places": (lambda: nn.Linear(5, 3), [4, 5]),
    "convolution": (lambda: nn.Conv2d(2, 3, 3, stride=2, padding=1), [2, 6, 6]),
    "factored": (lambda: BlockLinear(4, 3, 5, 1.0), [4, 3]),
    "sparse convolution": (lambda: SparseConv2d(2, 3), [2, 4, 4]),
    "lifting": (lambda: LiftingConv2d("C4", 2, 3, padding="circular"), [2, 4, 4]),
    "group": (lambda: GroupConv2d("C4", 2, 3, padding="circular"), [8, 4, 4]),
    "group of flips": (lambda: GroupConv2d("D4", 1, 2, padding="circular"), [8, 4, 4]),
}


@pytest.mark.parametrize("name", LAYERS)
def test_the_gradient_of_the_weights_is_the_sum_over_rows(name: str) -> None:
    build, shape = LAYERS[name]
    layer = build().double()
    x = torch.randn(6, *shape, dtype=torch.float64)
    y = layer(x)
    g = torch.randn_like(y)
    (found,) = linear_layers(layer).values()
    weight = layer.get_parameter("tied" if hasattr(layer, "tied") else "weight")
    bias = layer.get_parameter("bias")
    expected, of_bias = torch.autograd.grad(y, (weight, bias), g)
    a, rows = input_rows(layer, x), output_rows(layer, g)
    pattern = "nro,nri->ori" if found.has_blocks else "nro,nri->oi"
    assert torch.allclose(torch.einsum(pattern, rows, a).reshape(weight.shape), expected)
    assert torch.allclose(rows.sum((0, 1)), of_bias)


def dense_curvature(
    network: nn.Module, x: Tensor, name: str, likelihood: str = "softmax"
) -> Float[Tensor, "p p"]:
    """J^T Lambda J by the whole Jacobian, for one parameter tensor."""
    own = dict(network.named_parameters())[name]
    total = torch.zeros(own.numel(), own.numel(), dtype=x.dtype)
    for each in x:
        answer = network(each[None])[0]
        rows = [torch.autograd.grad(c, own, retain_graph=True)[0].flatten() for c in answer]
        jacobian, p = torch.stack(rows), answer.detach().softmax(0)
        middle = p.diag() - torch.outer(p, p) if likelihood == "softmax" else torch.eye(len(p))
        total += jacobian.T @ middle.to(x.dtype) @ jacobian
    return total


@pytest.mark.parametrize("likelihood", ["softmax", "gaussian"])
def test_factors_of_a_linear_model_are_exact_for_one_sample(likelihood: str) -> None:
    layer, x = nn.Linear(4, 3).double(), torch.randn(1, 4, dtype=torch.float64)
    (found,) = kronecker_curvature(layer, x, likelihood).layers.values()  # type: ignore[arg-type]
    whole = dense_curvature(layer, x, "weight", likelihood)
    assert torch.allclose(torch.kron(found.outputs, found.inputs[0]), whole)


def test_factors_with_gaussian_noise_are_exact_for_many_samples() -> None:
    layer, x = nn.Linear(4, 3).double(), torch.randn(7, 4, dtype=torch.float64)
    curvature = kronecker_curvature(layer, x, "gaussian", batch_size=3)
    found = curvature.layers[""]
    assert torch.allclose(
        torch.kron(found.outputs, found.inputs[0]), dense_curvature(layer, x, "weight", "gaussian")
    )
    assert torch.allclose(found.bias, 7 * torch.eye(3, dtype=torch.float64))


@pytest.mark.parametrize("build", [lambda: nn.Conv2d(1, 2, 3), lambda: FactoredLinear(1, 2, 4, 2)])
def test_the_blocks_of_biases_are_exact(build: Callable[[], nn.Module]) -> None:
    network = nn.Sequential(build(), nn.Tanh(), nn.Flatten(), nn.LazyLinear(3)).double()
    x = torch.randn(5, 1, 4, 4, dtype=torch.float64)
    network(x)
    curvature = kronecker_curvature(network, x, batch_size=2)
    for name, factors in curvature.layers.items():
        whole = dense_curvature(network, x, f"{name}.bias")
        assert torch.allclose(factors.bias, whole)


def test_the_trace_of_a_factored_layer_is_that_of_a_dense_layer_on_block_sparse_rows() -> None:
    block = BlockLinear(3, 2, 4, 1.0).double()
    x = torch.randn(6, 3, 2, dtype=torch.float64)
    dense = nn.Linear(6, 4).double()
    with torch.no_grad():
        dense.weight.copy_(block.weight.flatten(1))
        dense.bias.zero_()
    rows = torch.einsum("nri,rs->nrsi", x, torch.eye(3, dtype=torch.float64)).flatten(2)
    assert torch.allclose(block(x), dense(rows))
    network, other = nn.Sequential(block, nn.Flatten()), nn.Sequential(dense, nn.Flatten())
    found = kronecker_curvature(network, x).spectra()["0.weight"]
    expected = kronecker_curvature(other, rows).spectra()["0.weight"]
    assert torch.allclose(found.sort().values, expected.sort().values)


def test_the_log_determinant_by_eigenvalues_is_that_of_the_dense_matrix() -> None:
    network = nn.Sequential(FactoredLinear(2, 3, 4, 2), nn.Tanh(), nn.Flatten(), nn.Linear(12, 3))
    x = torch.randn(9, 2, 4, 4, dtype=torch.float64)
    curvature = kronecker_curvature(network.double(), x)
    spectra = curvature.spectra()
    for name, factors in curvature.layers.items():
        whole = torch.kron(factors.outputs, torch.block_diag(*factors.inputs))
        for delta in (1e-3, 1.0):
            shifted = whole + delta * torch.eye(len(whole), dtype=torch.float64)
            found = torch.log(spectra[f"{name}.weight"] + delta).sum()
            assert found.item() == pytest.approx(torch.logdet(shifted).item(), rel=1e-9)


def test_batches_do_not_matter() -> None:
    network = MixedBlock(1, 4, 4, ("fc", "f-fc", "s-fc", "conv", "s-conv", "p4")).double()
    flat = nn.Sequential(network, nn.Flatten(), nn.Linear(64, 3)).double()
    x = torch.randn(10, 1, 4, 4, dtype=torch.float64)
    whole, parts = (kronecker_curvature(flat, x, batch_size=n).spectra() for n in (10, 3))
    assert set(whole) == {name for name, _ in flat.named_parameters()}
    assert all(torch.allclose(whole[name], parts[name]) for name in whole)


def test_sampled_labels_estimate_the_exact_curvature() -> None:
    layer, x = nn.Linear(3, 2).double(), torch.randn(4000, 3, dtype=torch.float64)
    how = {"sampled": True, "generator": torch.Generator().manual_seed(0)}
    found = kronecker_curvature(layer, x, **how).layers[""].outputs  # type: ignore[arg-type]
    assert torch.allclose(found, kronecker_curvature(layer, x).layers[""].outputs, rtol=0.1)


def test_layers_that_write_in_place_and_dead_layers_are_no_trouble() -> None:
    network = nn.Sequential(nn.Linear(3, 4), nn.ReLU(inplace=True), nn.Linear(4, 2))
    with torch.no_grad():
        network[0].bias.fill_(-100)  # type: ignore[operator]
    spectra = kronecker_curvature(network, torch.randn(5, 3)).spectra()
    assert not spectra["0.weight"].any()
    assert spectra["2.bias"].any()


def test_frozen_layers_and_learned_kernels_have_no_prior() -> None:
    network = nn.Sequential(SparseConv2d(1, 2, learn_omega=True), nn.Flatten(), nn.Linear(32, 2))
    network[2].requires_grad_(False)
    found = kronecker_curvature(network, torch.randn(5, 1, 4, 4)).spectra()
    assert set(found) == {"0.weight", "0.bias"}


def test_the_network_is_left_without_hooks() -> None:
    network = nn.Linear(3, 2)
    kronecker_curvature(network, torch.randn(5, 3))
    assert not network._forward_hooks


def test_eigenvalues_are_never_negative_and_float64() -> None:
    broken = torch.tensor([[1.0, 1.0 + 1e-6], [1.0 - 1e-6, 1.0]])
    factors = KroneckerFactors(broken[None], broken, broken)
    values = Curvature({"layer": factors}, {"layer": ("w", "b")}).spectra()["w"]
    assert values.dtype == torch.float64
    assert values.min() >= 0
    assert values.max().item() == pytest.approx(4, rel=1e-5)


def test_curvature_that_is_not_finite_is_refused() -> None:
    network = nn.Linear(3, 2)
    with torch.no_grad():
        network.weight.fill_(float("nan"))
    with pytest.raises(OrbitLensError, match="train with a smaller `lr`"):
        kronecker_curvature(network, torch.randn(5, 3)).spectra()


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.unused = nn.Linear(3, 3), nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(self.layer(x))


class Once(Twice):
    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


@pytest.mark.parametrize(
    ("network", "words"),
    [
        (nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)), "received '1.weight'; freeze it"),
        (nn.Sequential(nn.ReLU()), "no learned parameter"),
        (nn.Sequential(nn.Conv2d(2, 2, 1, groups=2), nn.Flatten()), "2 groups"),
        (nn.Conv2d(1, 2, 3, padding=1, padding_mode="circular"), "of mode 'circular'"),
        (LiftingConv2d("C4", 1, 1, padding="zeros"), "padding 'zeros'"),
        (Twice(), "layer 'layer' .* received several calls"),
        (Once(), "layer 'unused' .* received none"),
    ],
)
def test_networks_without_known_curvature_are_refused(network: nn.Module, words: str) -> None:
    with pytest.raises(OrbitLensError, match=words):
        kronecker_curvature(network, torch.randn(5, 3))


class Tokens(nn.Module):
    """The mean over tokens of a linear layer, whose rows are joined, or in another order."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.layer, self.how = nn.Linear(3, 2), how

    def forward(self, x: Tensor) -> Tensor:
        n = len(x)
        if self.how == "joined":
            return self.layer(x.flatten(0, 1)).unflatten(0, (n, -1)).mean(1)
        if self.how == "turned":
            return self.layer(x.transpose(0, 1)).mean(0)
        return self.layer(input=x).mean(1)


@pytest.mark.parametrize("how", ["joined", "turned"])
@pytest.mark.parametrize("n", [1, 5])
def test_rows_that_belong_to_no_sample_are_refused(how: str, n: int) -> None:
    with pytest.raises(OrbitLensError, match="layer 'layer' .*the samples on the first axis"):
        kronecker_curvature(Tokens(how), torch.randn(n, 5, 3), "gaussian")


def test_tokens_of_samples_have_the_curvature_of_their_sums() -> None:
    # All tokens of a sample are alike, so that the sum over rows is exact.
    network, x = Tokens("each").double(), torch.randn(7, 1, 3).double().expand(7, 5, 3)
    found = kronecker_curvature(network, x, "gaussian").spectra()
    assert found["layer.bias"].tolist() == pytest.approx([7.0, 7.0])
    whole = dense_curvature(network, x, "layer.weight", "gaussian")
    # Rows that act alike count as independent ones, R times less.
    assert 5 * found["layer.weight"].sum().item() == pytest.approx(whole.trace().item())


class Tied(nn.Module):
    """A layer whose weights act by something else than its call, too."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.layer, self.how = nn.Linear(3, 3), how
        if how == "parameter":
            self.other = nn.Linear(3, 3)
            self.other.weight = self.layer.weight

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layer(x)
        if self.how == "parameter":
            return self.other(y)
        if self.how == "bias":
            return y + self.layer.bias
        if self.how == "mixed":
            return y + y.roll(1, 0)
        if self.how == "cut":
            return y.detach()
        return y.tanh() @ self.layer.weight


class Tenfold(nn.Linear):
    def forward(self, input: Tensor) -> Tensor:
        return nn.functional.linear(input, 10 * self.weight, self.bias)


class Named(nn.Linear):
    """A subclass that computes what its parent does."""


def lazy() -> nn.Module:
    return nn.Sequential(nn.LazyLinear(2))


def of_inference_mode() -> nn.Module:
    with torch.inference_mode():
        return nn.Linear(3, 2)


@pytest.mark.parametrize(
    ("network", "words"),
    [
        (Tied("parameter"), "'other.weight' .*received the same one as 'layer.weight'"),
        (Tied("function"), "layer 'layer' .*a gradient that its call does not explain"),
        (Tied("bias"), "layer 'layer' .*a gradient that its call does not explain"),
        (Tied("mixed"), "layer 'layer' .*act on the answers of others"),
        (Tied("cut"), "received no gradient"),
        (Tenfold(3, 2), "a plain Linear, .*received Tenfold with a forward of its own"),
        (nn.utils.parametrizations.weight_norm(nn.Linear(3, 2)), "a plain Linear"),
        (nn.utils.parametrizations.orthogonal(nn.Linear(3, 2)), "a plain Linear"),
        (prune.identity(nn.Linear(3, 2), "weight"), "weight that is computed from others"),
        (nn.Sequential(nn.Linear(3, 2), nn.Dropout()), "layer '1' .*Dropout of p = 0.5"),
        (nn.Sequential(nn.Linear(3, 1), nn.Flatten(0)), r"answers of shape .*received shape \[5\]"),
        (nn.Sequential(nn.Linear(4, 2)), r"`network` on an input of shape \[3\]"),
        (lazy(), "call the network once"),
        (of_inference_mode(), "outside of torch.inference_mode"),
    ],
)
def test_networks_whose_curvature_would_be_wrong_are_refused(
    network: nn.Module, words: str
) -> None:
    with pytest.raises(OrbitLensError, match=words):
        kronecker_curvature(network, torch.randn(5, 3), "gaussian")


def test_subclasses_that_change_nothing_and_hooks_have_their_curvature() -> None:
    layer, x = Named(3, 2).double(), torch.randn(5, 3, dtype=torch.float64)
    expected = 4 * dense_curvature(layer, x, "weight", "gaussian")
    layer.register_forward_hook(lambda module, inputs, output: 2 * output)
    (found,) = kronecker_curvature(layer, x, "gaussian").layers.values()
    assert torch.allclose(torch.kron(found.outputs, found.inputs[0]), expected)


def test_the_state_of_torch_and_the_type_of_inputs_do_not_matter() -> None:
    network, x = nn.Linear(3, 2), torch.randn(5, 3)
    expected = kronecker_curvature(network, x).spectra()["weight"]
    with torch.no_grad():
        assert torch.equal(kronecker_curvature(network, x).spectra()["weight"], expected)
    with torch.inference_mode():
        found = kronecker_curvature(network, x.clone())
    assert torch.equal(found.spectra()["weight"], expected)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(kronecker_curvature(network, x).spectra()["weight"], expected)
    assert torch.equal(kronecker_curvature(network, x.double()).spectra()["weight"], expected)


@pytest.mark.parametrize("shape", [[0, 3], [3]])
def test_inputs_without_rows_are_refused(shape: list[int]) -> None:
    with pytest.raises(OrbitLensError, match=r"shape \[n, ...\] with n at least 1"):
        kronecker_curvature(nn.Linear(3, 2), torch.zeros(shape))


def test_sampled_labels_of_answers_that_are_not_finite_are_refused() -> None:
    network = nn.Linear(3, 2)
    nn.init.constant_(network.weight, float("inf"))
    with pytest.raises(OrbitLensError, match="the answers of `network`: expected finite numbers"):
        kronecker_curvature(network, torch.randn(5, 3), sampled=True)


def test_an_unknown_likelihood_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(OrbitLensError, match=re.escape("one of softmax, gaussian")):
        kronecker_curvature(nn.Linear(3, 2), torch.randn(5, 3), "poisson")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("network", "side"),
    [
        (nn.Sequential(nn.Flatten(), nn.Linear(5000, 2)), "5,000"),
        (nn.Linear(2, 5000), "5,000"),
        (nn.Conv2d(460, 1, 3), "4,140"),
        (FactoredLinear(1, 1, in_side=65, out_side=1), "4,225"),
        (SparseConv2d(1025, 1), "4,100"),
        (GroupConv2d("C4", 114, 1, padding="circular"), "4,104"),
    ],
)
def test_factors_too_large_for_a_cpu_are_refused_before_any_work(
    network: nn.Module, side: str
) -> None:
    with pytest.raises(OrbitLensError, match=f'{side} x {side}; take the factored path "f-fc"'):
        kronecker_curvature(network, torch.randn(2, 5000))


def test_the_network_of_the_paper_has_a_curvature() -> None:
    network = layerwise_network(width=1)
    found = kronecker_curvature(network, torch.randn(2, 3, 32, 32), sampled=True).spectra()
    sizes = {name: each.numel() for name, each in network.named_parameters()}
    assert {name: len(values) for name, values in found.items()} == sizes
