"""The steps of training: warm-up, clipping, and batches without end."""

import time

import torch
from torch import Tensor, nn

from orbitlens.reproduce import draw_batches, train_steps


def test_the_learning_rate_rises_over_the_warmup_and_stays() -> None:
    """A step of Adam under a constant gradient is as long as the learning rate."""
    line = nn.Linear(1, 1, bias=False)
    steps = train_steps(line, lambda _: line.weight.sum(), checks=range(7), lr=0.1, warmup=4)
    places = [line.weight.item() for _ in steps]
    lengths = -torch.tensor(places).diff()
    torch.testing.assert_close(lengths, torch.tensor([0.025, 0.05, 0.075, 0.1, 0.1, 0.1]))


def test_the_gradient_is_clipped_as_a_whole() -> None:
    layer = nn.Linear(3, 4)

    def loss(step: int) -> Tensor:
        return 100 * (layer.weight.sum() + layer.bias.sum())

    for _ in train_steps(layer, loss, checks=[1], lr=0.1, clip=0.5):
        gradients = torch.cat([each.grad.flatten() for each in layer.parameters()])
        torch.testing.assert_close(gradients.norm(), torch.tensor(0.5))


def test_a_network_that_was_looked_at_goes_on_in_training_mode() -> None:
    layer, modes = nn.Linear(1, 1), []

    def loss(step: int) -> Tensor:
        modes.append((step, layer.training))
        return layer.weight.sum()

    for done, _ in train_steps(layer, loss, checks=[0, 1, 3], lr=0.1):
        assert done == len(modes)
        layer.eval()
    assert modes == [(0, True), (1, True), (2, True)]


def test_the_time_of_the_caller_is_not_counted() -> None:
    layer, start = nn.Linear(1, 1), time.perf_counter()
    for _, seconds in train_steps(layer, lambda _: layer.weight.sum(), checks=[1, 2], lr=0.1):
        time.sleep(0.05)
        assert 0 < seconds < time.perf_counter() - start - 0.05


def test_an_epoch_has_every_sample_once_and_the_next_another_order() -> None:
    drawn = draw_batches(12, 4, torch.Generator().manual_seed(0))
    first, second = (torch.cat([next(drawn) for _ in range(3)]) for _ in range(2))
    assert sorted(first.tolist()) == sorted(second.tolist()) == list(range(12))
    assert first.tolist() != second.tolist()


def test_fewer_samples_than_a_batch_are_one() -> None:
    drawn = draw_batches(3, 8, torch.Generator().manual_seed(0))
    assert sorted(next(drawn).tolist()) == [0, 1, 2]
