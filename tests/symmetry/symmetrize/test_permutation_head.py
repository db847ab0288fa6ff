"""Orders of nodes: equivariant with the noise moved along, exact at padding, clear at the door."""

from typing import Any

import jaxtyping
import pytest
import torch
from torch import Tensor
from torch.nn.functional import pad

from orbitlens.errors import OrbitLensError
from orbitlens.symmetry.symmetrize.frames import Frames
from orbitlens.symmetry.symmetrize.permutation_head import PermutationHead


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def some_graphs(n: int, nodes: int, features: int = 2) -> Tensor:
    """Return graphs without symmetries, with weights on their edges."""
    numbers = torch.rand(n, nodes, nodes + features, generator=seeded(), dtype=torch.float64)
    adjacency = numbers[..., :nodes]
    return torch.cat([adjacency + adjacency.mT, numbers[..., nodes:]], 2)


def some_orders(n: int, nodes: int) -> Tensor:
    return torch.eye(nodes).double()[torch.rand(n, nodes, generator=seeded(1)).argsort(1)]


def relabelled(graphs: Tensor, orders: Tensor) -> Tensor:
    nodes = graphs.shape[1]
    moved = orders @ graphs
    return torch.cat([moved[..., :nodes] @ orders.mT, moved[..., nodes:]], 2)


def joined(*edges: tuple[int, int], nodes: int) -> Tensor:
    adjacency = torch.zeros(1, nodes, nodes)
    for i, j in edges:
        adjacency[0, i, j] = adjacency[0, j, i] = 1
    return adjacency


def cycle(nodes: int) -> Tensor:
    return joined(*((i, (i + 1) % nodes) for i in range(nodes)), nodes=nodes)


def star(leaves: int) -> Tensor:
    return joined(*((0, i) for i in range(1, leaves + 1)), nodes=leaves + 1)


def a_head(features: int = 2, **settings: Any) -> PermutationHead:
    """Return a head in evaluation mode whose batch norms have seen graphs."""
    head = PermutationHead(features, hidden=16, sinkhorn_steps=5, **settings).double()
    head(some_graphs(20, 6, features), 3, seeded())
    return head.eval()


@pytest.mark.parametrize("features", [0, 2])
@pytest.mark.parametrize("noise_scale", [0.0, 1.0])
@pytest.mark.parametrize("ties", ["noise", "order"])
def test_relabelled_nodes_and_noise_relabel_the_orders(
    features: int, noise_scale: float, ties: str
) -> None:
    head = a_head(features, noise_scale=noise_scale, ties=ties)
    graphs, orders = some_graphs(8, 7, features), some_orders(8, 7)
    noise = head.draw_noise(graphs, 4, seeded()).double()
    (there,), penalty, _ = head(graphs, 4, noise=noise)
    moved = head(relabelled(graphs, orders), 4, noise=orders[:, None] @ noise)
    assert torch.equal(moved.elements[0], orders[:, None] @ there)
    assert torch.allclose(moved.penalty, penalty, rtol=0, atol=1e-10)


def test_soft_orders_are_relabelled_too() -> None:
    head = a_head(hard=False)
    graphs, orders = some_graphs(8, 7), some_orders(8, 7)
    noise = head.draw_noise(graphs, 4, seeded()).double()
    (there,), *_ = head(graphs, 4, noise=noise)
    (moved,), *_ = head(relabelled(graphs, orders), 4, noise=orders[:, None] @ noise)
    assert torch.allclose(moved, orders[:, None] @ there, rtol=0, atol=1e-9)
    assert float((there - there.round()).detach().abs().max()) > 0.1


def test_sets_without_edges_are_relabelled_too() -> None:
    head = PermutationHead(3, pairs=False, hidden=16).double().eval()
    sets, orders = some_graphs(8, 7, 3)[..., 7:], some_orders(8, 7)
    noise = head.draw_noise(sets, 4, seeded()).double()
    (there,), *_ = head(sets, 4, noise=noise)
    (moved,), *_ = head(orders @ sets, 4, noise=orders[:, None] @ noise)
    assert torch.equal(moved, orders[:, None] @ there)


def test_an_invariant_mean_over_frames_does_not_change_under_relabelling() -> None:
    head, graphs, orders = a_head(), some_graphs(5, 6), some_orders(5, 6)
    network = torch.nn.Linear(6 * 8, 1).double()

    def phi(inputs: Tensor, noise: Tensor) -> Tensor:
        (there,), *_ = head(inputs, 3, noise=noise)
        frames = relabelled(inputs.repeat_interleave(3, 0), there.flatten(0, 1).mT)
        return network(frames.flatten(1)).unflatten(0, (5, 3)).mean(1)

    noise = head.draw_noise(graphs, 3, seeded()).double()
    moved = phi(relabelled(graphs, orders), orders[:, None] @ noise)
    assert torch.allclose(moved, phi(graphs, noise), rtol=0, atol=1e-12)


def test_without_noise_a_graph_has_one_frame() -> None:
    head = a_head(noise_scale=0.0, ties="order")
    frames = head(some_graphs(4, 6), 3)
    assert torch.equal(frames.elements[0][:, 0], frames.elements[0][:, 2])
    assert not bool(frames.tied.any())


def test_frames_are_permutation_matrices() -> None:
    frames = a_head()(some_graphs(4, 6), 5, seeded())
    (there,) = frames.elements
    assert there.shape == (4, 5, 6, 6)
    assert set(there.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(there.mT @ there, torch.eye(6).double().expand(4, 5, 6, 6))
    assert frames.penalty.shape == frames.tied.shape == (4,)
    assert float(frames.penalty.detach().min()) >= 0


def test_orders_of_a_cycle_are_uniform_in_law() -> None:
    # All nodes are alike, so each has each rank equally often: 1/4 up to 5 standard deviations.
    (there,), *_ = PermutationHead(0, hidden=8).eval()(cycle(4), 4000, seeded())
    assert float((there[0].mean(0) - 1 / 4).detach().abs().max()) < 5 * (3 / 16 / 4000) ** 0.5


def test_gradients_reach_every_weight() -> None:
    head = PermutationHead(2, hidden=8, tau=0.1).double()
    frames = head(some_graphs(6, 5), 3, seeded())
    weights = torch.rand(5, 5, generator=seeded(), dtype=torch.float64)
    ((frames.elements[0] * weights).sum() + frames.penalty.sum()).backward()
    still = {
        name
        for name, weight in head.named_parameters()
        if weight.grad is None or not bool((weight.grad != 0).any())
    }
    assert still == set()


@pytest.mark.parametrize("features", [0, 2])
@pytest.mark.parametrize("train", [False, True])
def test_padding_changes_no_frame_of_the_nodes(features: int, train: bool) -> None:
    head = a_head(features).train(train)
    graphs = some_graphs(6, 5, features)
    noise = head.draw_noise(graphs, 3, seeded())
    alone = head(graphs, 3, noise=noise)
    adjacency = pad(graphs[..., :5], (0, 2), value=torch.nan)
    padded = pad(torch.cat([adjacency, graphs[..., 5:]], 2), (0, 0, 0, 2), value=torch.nan)
    mask = torch.tensor([[True] * 5 + [False] * 2] * 6)
    wider = head(padded, 3, noise=pad(noise, (0, 0, 0, 2), value=9.0), mask=mask)
    (there,) = wider.elements
    assert torch.equal(there[..., :5, :5], alone.elements[0])
    assert torch.equal(there[..., 5:, 5:], torch.eye(2).double().expand(6, 3, 2, 2))
    assert torch.allclose(wider.penalty, alone.penalty, rtol=0, atol=1e-10)
    wider.penalty.sum().backward()
    assert all(
        weight.grad is None or bool(torch.isfinite(weight.grad).all())
        for weight in head.parameters()
    )


def test_graphs_of_different_sizes_share_a_batch() -> None:
    head, graphs = a_head(), some_graphs(2, 6)
    noise = head.draw_noise(graphs, 2, seeded())
    mask = torch.tensor([[True] * 6, [True] * 4 + [False] * 2])
    both = head(graphs, 2, noise=noise, mask=mask)
    large = head(graphs[:1], 2, noise=noise[:1])
    small = torch.cat([graphs[1:, :4, :4], graphs[1:, :4, 6:]], 2)
    less = head(small, 2, noise=noise[1:, :, :4])
    assert torch.equal(both.elements[0][:1], large.elements[0])
    assert torch.equal(both.elements[0][1:, :, :4, :4], less.elements[0])


@pytest.mark.parametrize("ties", ["noise", "order"])
@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("graph", [cycle(12), star(5)], ids=["cycle", "star"])
def test_symmetric_graphs_without_noise_are_tied(graph: Tensor, train: bool, ties: str) -> None:
    head = PermutationHead(0, hidden=16, noise_scale=0.0, ties=ties).train(train)
    assert head(graph, 2, seeded()).tied.tolist() == [True]


def random_graphs(n: int, nodes: int) -> Tensor:
    """Return graphs with equal weights on their edges, of which a third are there."""
    adjacency = (torch.rand(n, nodes, nodes, generator=seeded(3)) < 0.3).float().triu(1)
    return adjacency + adjacency.mT


@pytest.mark.parametrize("nodes", [30, 150])
def test_large_graphs_without_symmetries_are_not_tied(nodes: int) -> None:
    # Rounds of counting neighbours tell all of their nodes apart.
    graphs, orders = random_graphs(10, nodes), some_orders(10, nodes).float()
    head = PermutationHead(0, noise_scale=0.0, ties="order").eval()
    frames, moved = head(graphs, 1), head(relabelled(graphs, orders), 1)
    assert not bool(frames.tied.any())
    assert torch.equal(moved.elements[0][:, 0], orders @ frames.elements[0][:, 0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("nodes", [30, 150])
def test_two_nodes_with_the_same_neighbours_tie(nodes: int, dtype: torch.dtype) -> None:
    graphs = random_graphs(10, nodes)
    graphs[:, -1] = graphs[:, 0]
    graphs[:, :, -1] = graphs[:, :, 0]
    graphs = relabelled(graphs, some_orders(10, nodes).float()).to(dtype)
    head = PermutationHead(0, noise_scale=0.0, ties="order").to(dtype).eval()
    assert bool(head(graphs, 1).tied.all())


def test_statistics_follow_without_noise_too() -> None:
    head = PermutationHead(0, hidden=8, noise_scale=0.0)
    before = {name: each.clone() for name, each in head.named_buffers()}
    head(cycle(5), 1, seeded())
    assert all(not torch.equal(each, before[name]) for name, each in head.named_buffers())
    assert all(each.dtype != torch.float64 for each in head.buffers())


def test_noise_unties_a_cycle() -> None:
    assert PermutationHead(0, hidden=16).eval()(cycle(12), 5, seeded()).tied.tolist() == [False]


def test_ties_keep_the_order_of_the_nodes_or_fall_to_noise() -> None:
    graph = cycle(12)
    kept = PermutationHead(0, hidden=16, noise_scale=0.0, ties="order").eval()
    first, second = (kept(graph, 1, seeded(seed)).elements[0] for seed in (0, 1))
    assert torch.equal(first, second)
    drawn = PermutationHead(0, hidden=16, noise_scale=0.0, ties="noise").eval()
    first, second = (drawn(graph, 1, seeded(seed)).elements[0] for seed in (0, 1))
    assert not torch.equal(first, second)


def test_the_same_seed_gives_the_same_bits() -> None:
    def frames(seed: int) -> Frames:
        return PermutationHead(2, hidden=8, seed=3).double()(some_graphs(3, 5), 2, seeded(seed))

    assert torch.equal(frames(0).penalty, frames(0).penalty)
    assert torch.equal(frames(0).elements[0], frames(0).elements[0])
    assert not torch.equal(frames(0).penalty, frames(1).penalty)


def test_one_node_has_one_order() -> None:
    (there,), penalty, tied = PermutationHead(1, hidden=8)(torch.ones(2, 1, 2), 3, seeded())
    assert there.flatten().tolist() == [1.0] * 6
    assert penalty.tolist() == [0.0, 0.0]
    assert tied.tolist() == [False, False]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"features": -1}, "`features`: expected at least 0, received -1"),
        ({"features": 0, "pairs": False}, "`features`: expected at least 1, received 0"),
        ({"tau": 0.0}, "`tau`: expected a temperature above 0, received 0.0"),
        ({"tau": -1.0}, "`tau`: expected a temperature above 0, received -1.0"),
        ({"noise_scale": -0.5}, r"`noise_scale`: expected 0 \(no noise\) or more, received -0.5"),
        ({"sinkhorn_steps": 0}, "`sinkhorn_steps`: expected at least 1, received 0"),
        ({"hidden": 0}, "`hidden`: expected at least 1, received 0"),
        ({"layers": 0}, "`layers`: expected at least 1, received 0"),
        ({"ties": "nose"}, "`ties`: expected one of noise, order, received 'nose'; .* 'noise'"),
        ({"seed": -1}, "`seed`: expected a whole number from 0"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(OrbitLensError, match=message):
        PermutationHead(**{"features": 2, **settings})


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 4, 3), "expected a square adjacency, 4 columns for 4 nodes, received 3 columns"),
        ((1, 4, 7), "expected 4 columns of the adjacency, then 2 of features, received 7 columns"),
        ((1, 0, 2), "expected at least one point or node in each, received inputs without any"),
        ((4, 6), r"`inputs`: expected shape \[n, points, columns\], received \[4, 6\]"),
    ],
)
def test_graphs_of_another_shape_are_refused(
    shape: tuple[int, ...], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(OrbitLensError, match=message):
        PermutationHead(2)(torch.ones(shape), 1)


@pytest.mark.parametrize("n_samples", [0, -3])
def test_fewer_than_one_sample_is_refused(n_samples: int) -> None:
    with pytest.raises(OrbitLensError, match="`n_samples`: expected at least 1, received"):
        PermutationHead(2)(torch.ones(1, 4, 6), n_samples)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        ([[True, False, True]], "then False for the padding, received input 0 with .1, 0, 1."),
        ([[False, False, False]], "then False for the padding, received input 0 with .0, 0, 0."),
        (
            [[True, True, True, True]],
            r"one flag for each node, shape \[1, 3\], .* \[1, 4\]",
        ),
    ],
)
def test_masks_that_are_no_prefix_are_refused(
    mask: list[list[bool]], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(OrbitLensError, match=message):
        PermutationHead(2)(torch.ones(1, 3, 5), 1, mask=torch.tensor(mask))


def test_noise_of_another_shape_is_refused() -> None:
    with pytest.raises(OrbitLensError, match=r"`noise`: expected shape \[1, 2, 3, 3\]"):
        PermutationHead(2)(torch.ones(1, 3, 5), 2, noise=torch.ones(1, 2, 3, 2))


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_scores_that_are_not_finite_are_refused(bad: float) -> None:
    graphs = some_graphs(1, 4).float()
    graphs[0, 0, 5] = bad
    with pytest.raises(OrbitLensError, match="received .* NaN or infinite values; look for"):
        PermutationHead(2, hidden=8).eval()(graphs, 1)
