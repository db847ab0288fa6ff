"""Theorems of finite groups: averages and canonical frames are equivariant for every element."""

import copy
import warnings
from pathlib import Path

import pytest
import torch
from jaxtyping import Float
from torch import Tensor, nn

from orbitlens import actions
from orbitlens.actions import Action
from orbitlens.errors import OrbitLensError, OrbitLensWarning
from orbitlens.reps import regular
from orbitlens.symmetry.symmetrize import EnergyHead, _methods, symmetrize


def draw(*shape: int, seed: int = 0) -> Float[Tensor, "..."]:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double()


def backwards() -> Action:
    """An action of one's own, on vectors."""
    return actions.own("C2", lambda x, g: x.flip(-1) if g else x.clone(), example=draw(2, 6))


ACTIONS = {
    "images C4": (actions.images("C4"), draw(3, 2, 6, 6)),
    "images D4": (actions.images("D4"), draw(3, 2, 6, 6)),
    "images D2": (actions.images("D2"), draw(3, 1, 4, 7)),
    "volumes O": (actions.volumes("O"), draw(2, 1, 3, 3, 3)),
    "plane p4": (actions.plane("p4", 3), draw(2, 2, 3, 3)),
    "plane p4m": (actions.plane("p4m", 3), draw(2, 2, 3, 3)),
    "points D3": (actions.points("D3"), draw(3, 5, 4)),
    "points O centred": (actions.points("O", centred=True), draw(3, 5, 4)),
    "graphs S4": (actions.graphs("S4"), draw(3, 4, 6)),
    "own C2": (backwards(), draw(3, 6)),
}
every_action = pytest.mark.parametrize("name", ACTIONS)
MANY = 24  # elements, of which averages try all
every_way = pytest.mark.parametrize("how", ["average", "canonical"])


def tried(action: Action, how: str) -> range:
    """All elements, or some where an average over many would take long."""
    few = how == "canonical" or action.group.order <= MANY
    return range(0, action.group.order, 1 if few else action.group.order // 4 - 1)


class Keeps(nn.Module):
    """A network without any symmetry whose outputs have the shape of its inputs."""

    def __init__(self, inputs: Float[Tensor, "n *axes"]) -> None:
        super().__init__()
        self.shape, size = inputs.shape[1:], inputs[0].numel()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(size, size), nn.Tanh())

    def forward(self, x: Float[Tensor, "n *axes"]) -> Float[Tensor, "n *axes"]:
        return self.layers(x).unflatten(1, self.shape)


def vectors(inputs: Float[Tensor, "n *axes"], width: int) -> nn.Module:
    size = inputs[0].numel()
    layers = (nn.Flatten(), nn.Linear(size, 8), nn.Tanh(), nn.Linear(8, width))
    return nn.Sequential(*layers).double()


@every_way
@every_action
def test_invariant_for_every_element(name: str, how: str) -> None:
    action, x = ACTIONS[name]
    phi = symmetrize(vectors(x, 3), action, how, example=x).eval()
    assert float(phi(x).detach().std()) > 1e-4
    for g in tried(action, how):
        torch.testing.assert_close(phi(action(x, g)), phi(x), atol=1e-12, rtol=0)


@every_way
@every_action
def test_outputs_move_as_the_inputs_for_every_element(name: str, how: str) -> None:
    action, x = ACTIONS[name]
    phi = symmetrize(Keeps(x).double(), action, how, action, example=x).eval()
    y = phi(x)
    for g in tried(action, how):
        torch.testing.assert_close(phi(action(x, g)), action(y, g), atol=1e-12, rtol=0)


@every_way
@pytest.mark.parametrize("name", ["images D4", "graphs S4", "points D3"])
def test_outputs_move_by_a_representation(name: str, how: str) -> None:
    action, x = ACTIONS[name]
    rho = regular(action.group)
    phi = symmetrize(vectors(x, rho.dim), action, how, rho, example=x).eval()
    y = phi(x)
    for g in range(action.group.order):
        expected = y @ rho.matrices[g].T
        torch.testing.assert_close(phi(action(x, g)), expected, atol=1e-12, rtol=0)


@every_way
def test_training_keeps_the_symmetry(how: str) -> None:
    action, x = ACTIONS["images D4"]
    phi = symmetrize(vectors(x, 1), action, how, example=x)
    optimiser = torch.optim.Adam(phi.parameters(), lr=0.01)
    for _ in range(8):
        optimiser.zero_grad()
        (phi(x)[:, 0] - torch.arange(3)).square().mean().backward()
        optimiser.step()
    phi.eval()
    for g in range(action.group.order):
        torch.testing.assert_close(phi(action(x, g)), phi(x), atol=1e-12, rtol=0)


def test_the_average_of_an_invariant_network_is_that_network() -> None:
    action, x = ACTIONS["images D4"]
    network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    torch.testing.assert_close(symmetrize(network, action)(x), network(x))


def test_an_average_by_hand() -> None:
    """f reads the first entry; its average over the four turns of 2 x 2 pixels is their mean."""
    first = nn.Sequential(nn.Flatten(), nn.Linear(4, 1, bias=False))
    with torch.no_grad():
        first[1].weight.copy_(torch.tensor([[1.0, 0, 0, 0]]))
    x = torch.tensor([[[[1.0, 2.0], [3.0, 6.0]]]])
    assert symmetrize(first, actions.images("C4"))(x).item() == 3.0


@pytest.mark.parametrize("name", ["images D4", "volumes O", "graphs S4"])
def test_the_loss_trains_the_head(name: str) -> None:
    action, x = ACTIONS[name]
    for output, network in ((None, vectors(x, 2)), (action, Keeps(x).double())):
        phi = symmetrize(network, action, "canonical", output, example=x)
        phi(x).square().sum().backward()
        for parameter in phi.method.head.parameters():
            assert parameter.grad is not None
        assert any(bool(each.grad.any()) for each in phi.method.head.parameters())


def test_gradients_do_not_change_the_frame() -> None:
    action, x = ACTIONS["images D4"]
    phi = symmetrize(Keeps(x).double(), action, "canonical", action, example=x).eval()
    with torch.no_grad():
        without = phi(x)
    assert torch.equal(phi(x), without)


def test_a_learned_frame_can_be_the_upright_one() -> None:
    """Images with one bright corner: the head learns to bring it where the network looks."""
    generator = torch.Generator().manual_seed(0)
    x = 0.1 * torch.rand(16, 1, 4, 4, generator=generator)
    x[:, 0, 0, 0] += 1
    turn = actions.images("C4")
    x = torch.cat([turn(part, g) for g, part in enumerate(x.chunk(4))])
    read = nn.Sequential(nn.Flatten(), nn.Linear(16, 1, bias=False)).requires_grad_(False)
    read[1].weight.zero_()
    read[1].weight[0, 3] = 1.0
    phi = symmetrize(read, turn, "canonical", example=x, seed=1)
    before = float(phi(x).detach().mean())
    optimiser = torch.optim.Adam(phi.parameters(), lr=0.02)
    for _ in range(40):
        optimiser.zero_grad()
        (-phi(x).mean()).backward()
        optimiser.step()
    assert before < 0.5 < 0.95 < float(phi.eval()(x).detach().mean())


@pytest.mark.parametrize("how", ["average", "canonical"])
def test_nothing_is_drawn_so_the_variance_is_zero(how: str) -> None:
    action, x = ACTIONS["images C4"]
    mean, penalty, variance = symmetrize(vectors(x, 2), action, how, example=x).predict(x)
    assert torch.equal(variance, torch.zeros_like(mean))
    assert torch.equal(penalty, torch.zeros(3).double())
    phi = symmetrize(vectors(x, 2), action, how, example=x)
    phi.n_samples = phi.samples_for(x, 1e-9)
    assert phi.n_samples == 1
    assert torch.equal(phi.predict(x, phi.n_samples).mean, phi(x))


def test_symmetric_inputs_are_tied_and_warned_of_in_evaluation() -> None:
    action, x = ACTIONS["images C4"]
    phi = symmetrize(vectors(x, 2), action, "canonical", example=x)
    symmetric = x.clone()
    symmetric[1] = action.orbit(x)[1].mean(0)
    phi(symmetric)  # a training step says nothing
    with pytest.warns(OrbitLensWarning, match="some are tied by their own symmetry"):
        phi.eval()(symmetric)
    assert phi.train().tied(symmetric).tolist() == [False, True, False]
    assert phi.training
    phi.eval()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        phi(x)


def test_ties_of_many_batches_are_said_once_where_python_says_the_same_words_once() -> None:
    action, x = ACTIONS["images C4"]
    phi = symmetrize(vectors(x, 2), action, "canonical", example=x).eval()
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("default")
        for n in (1, 2, 3):
            phi(torch.ones(n, 2, 6, 6).double())
    assert len(heard) == 1
    assert not symmetrize(vectors(x, 2), action).tied(torch.ones_like(x)).any()


@pytest.mark.parametrize("output", [None, actions.images("D4")])
def test_an_average_is_exported_before_its_first_call(output: Action | None) -> None:
    x = ACTIONS["images D4"][1]
    network = vectors(x, 2) if output is None else Keeps(x).double()
    phi = symmetrize(network.eval(), actions.images("D4"), output=output)
    exported = torch.export.export(phi, (x,)).module()
    assert torch.equal(exported(x + 1), phi(x + 1))


def test_an_export_does_not_count_as_the_call_that_tries_the_action() -> None:
    x = draw(3, 6)
    twice = actions.own("C2", lambda x, g: 2 * x if g else x.clone())
    phi = symmetrize(vectors(x, 2).eval(), twice)
    torch.export.export(phi, (x,))
    with pytest.raises(OrbitLensError, match="left action"):
        phi(x)


def test_a_canonical_frame_is_not_exported() -> None:
    action, x = ACTIONS["images C4"]
    phi = symmetrize(vectors(x, 2), action, "canonical", example=x).eval()
    before = phi(x)
    with pytest.raises(RuntimeError, match="data-dependent"):
        torch.export.export(phi, (x,))
    assert torch.equal(phi(x), before)


@pytest.mark.parametrize("how", ["average", "canonical"])
def test_an_ordinary_module(how: str) -> None:
    action, x = ACTIONS["images D4"]
    phi = symmetrize(vectors(x, 2), action, how, example=x).eval()
    twin = symmetrize(vectors(x, 2), action, how, example=x, seed=5).eval()
    assert not torch.equal(twin(x), phi(x))
    twin.load_state_dict(phi.state_dict())
    assert torch.equal(twin(x), phi(x))
    assert torch.equal(copy.deepcopy(phi)(x), phi(x))
    torch.testing.assert_close(phi.float()(x.float()), twin(x).float(), atol=1e-5, rtol=0)


def test_a_head_of_ones_own() -> None:
    action, x = ACTIONS["graphs S4"]
    head = EnergyHead(action, x[0].numel(), hidden=4).double()
    phi = symmetrize(vectors(x, 2), action, "canonical", head=head).eval()
    assert phi.method.head is head
    torch.testing.assert_close(phi(action(x, 5)), phi(x))


def test_an_average_over_many_elements_comes_in_several_calls(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    action, x = ACTIONS["plane p4m"]
    phi, seen = symmetrize(Keeps(x).double(), action, output=action), []
    phi.network.register_forward_hook(lambda _, inputs, __: seen.append(len(inputs[0])))
    phi(x).square().sum().backward()
    whole = phi(x).detach(), [each.grad.clone() for each in phi.parameters()]
    phi.zero_grad()
    monkeypatch.setattr(_methods, "_MOST_ROWS", 2 * 50)
    phi(x).square().sum().backward()
    assert seen == [144, 144, 100, 44]
    torch.testing.assert_close((phi(x).detach(), [p.grad for p in phi.parameters()]), whole)


def test_a_symmetrized_network_begins_in_the_mode_of_the_network() -> None:
    action, x = ACTIONS["images C4"]
    for how in ("average", "canonical"):
        phi = symmetrize(vectors(x, 2).eval(), action, how, example=x)
        assert not any(module.training for module in phi.modules())
        phi = symmetrize(vectors(x, 2), action, how, example=x)
        assert all(module.training for module in phi.modules())


def test_a_network_that_is_kept_and_loaded_says_the_same(tmp_path: Path) -> None:
    action, x = ACTIONS["images C4"]
    phi = symmetrize(vectors(x, 2), action, "canonical", example=x).eval()
    torch.save(phi.state_dict(), tmp_path / "phi.pt")
    again = symmetrize(vectors(x, 2), action, "canonical", example=x, seed=7).eval()
    again.load_state_dict(torch.load(tmp_path / "phi.pt", weights_only=True))
    assert torch.equal(again(x), phi(x))


def test_the_group_of_one_element() -> None:
    action, x = actions.images("C1"), draw(2, 1, 4, 4)
    network = vectors(x, 2)
    for how in ("average", "canonical"):
        torch.testing.assert_close(symmetrize(network, action, how, example=x)(x), network(x))


def test_the_average_of_a_linear_network_reads_the_mean_of_the_orbit() -> None:
    x, linear = draw(2, 4), nn.Linear(4, 3, bias=False).double()
    phi = symmetrize(linear, actions.set_permutation("S4"))
    torch.testing.assert_close(phi(x), linear(x.mean(1, keepdim=True).expand(2, 4)))


def test_periodic_images_have_no_frame_of_their_own_on_a_torus() -> None:
    action, x = actions.plane("p1", 4), draw(2, 1, 4, 4)
    phi = symmetrize(vectors(x, 2), action, "canonical", example=x).eval()
    x[0] = x[0, :, :2].repeat(1, 2, 1)
    with pytest.warns(OrbitLensWarning, match="some are tied by their own symmetry"):
        phi(x)
