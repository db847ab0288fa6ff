"""Our curvature and evidence beside those of laplace-torch, run by `make test-laplace`.

It needs an environment of its own, since it brings pre-release packages for curvature.
"""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from orbitlens.symmetry.relax._likelihoods import Likelihood
from orbitlens.symmetry.relax.kfac import kronecker_curvature
from orbitlens.symmetry.relax.laplace import negative_log_evidence

laplace = pytest.importorskip("laplace", reason="of laplace-torch: make test-laplace")

NETWORKS = {
    "dense": (lambda: nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)), [4]),
    # Without a bias: laplace-torch takes the places of a convolution as independent there.
    "convolution": (
        lambda: nn.Sequential(
            nn.Conv2d(1, 2, 3, padding=1, bias=False),
            nn.Tanh(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(8, 3),
        ),
        [1, 4, 4],
    ),
}
LIKELIHOODS: dict[str, Likelihood] = {"classification": "softmax", "regression": "gaussian"}


def loss(outputs: Tensor, y: Tensor, likelihood: str) -> Tensor:
    if likelihood == "classification":
        return nn.functional.cross_entropy(outputs, y, reduction="sum")
    return (outputs - y).square().sum() / 2 + outputs.numel() * math.log(2 * math.pi) / 2


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize("name", NETWORKS)
def test_eigenvalues_and_evidence_are_those_of_laplace_torch(name: str, likelihood: str) -> None:
    build, shape = NETWORKS[name]
    network = build().double()
    x = torch.randn(12, *shape, dtype=torch.float64)
    y = torch.randint(3, (12,)) if likelihood == "classification" else torch.randn(12, 3).double()
    theirs = laplace.Laplace(network, likelihood, "all", "kron")
    theirs.fit(DataLoader(TensorDataset(x, y), batch_size=5))
    names = [name for name, _ in network.named_parameters()]
    precisions = torch.linspace(0.5, 2, len(names), dtype=torch.float64)
    spectra = kronecker_curvature(network, x, LIKELIHOODS[likelihood], batch_size=5).spectra()
    with torch.no_grad():
        squares = torch.stack([each.square().sum() for each in network.parameters()])
        total = loss(network(x), y, likelihood)
    ordered = [spectra[each] for each in names]
    found = negative_log_evidence(total, squares, ordered, precisions.log())
    assert found.item() == pytest.approx(-float(theirs.log_marginal_likelihood(precisions)))
    for own, factors in zip(ordered, theirs.H.eigenvalues, strict=True):
        product = factors[0] if len(factors) == 1 else torch.outer(*factors).flatten()
        assert torch.allclose(own.sort().values, product.double().sort().values, atol=1e-10)
