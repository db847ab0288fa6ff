"""A network is evaluated as it is, and left as it was."""

import random
import threading
import time
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from orbitlens.models import MLPAutoencoder, check_network, evaluating, train_autoencoder


class Merging(nn.Linear):
    """Evaluation merges an update into the weights; training takes it out again."""

    merged = False

    def train(self, mode: bool = True) -> "Merging":
        super().train(mode)
        if self.merged == mode:
            with torch.no_grad():
                self.weight += -1.0 if mode else 1.0
            self.merged = not mode
        return self


def test_what_evaluation_does_beside_its_flag_is_undone() -> None:
    model = nn.Sequential(Merging(2, 2))
    before = model[0].weight.detach().clone()
    with evaluating(model):
        torch.testing.assert_close(model[0].weight, before + 1)
    torch.testing.assert_close(model[0].weight, before)
    assert model[0].training


def test_random_numbers_are_as_before_however_it_ends() -> None:
    def drawn() -> tuple[float, float, float]:
        return torch.rand(1).item(), np.random.rand(), random.random()  # noqa: NPY002, S311

    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002
    random.seed(0)
    with suppress(KeyboardInterrupt), evaluating(nn.Identity()):
        inside = drawn()
        raise KeyboardInterrupt
    assert drawn() == inside


def test_autocast_and_inference_mode_do_not_reach_the_network() -> None:
    model, x = nn.Linear(3, 2), torch.rand(2, 3)
    with torch.no_grad():
        expected = model(x)
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.inference_mode(), evaluating(model):
        found = model(x)
    assert torch.equal(found, expected)
    assert not found.is_inference()


def test_a_network_without_numbers_is_refused() -> None:
    with pytest.raises(ValueError, match="2 tensors on the device 'meta'.*load the weights"):
        check_network(nn.Linear(2, 2, device="meta"))


@pytest.mark.parametrize(
    ("other", "remedy"),
    [
        (nn.ReLU, "make an instance of the class"),
        ("hf:vit", "resolve_model"),
        ({"weight": torch.zeros(2)}, "load_state_dict"),
        (lambda x: x, "wrap what computes"),
        (type("Pipeline", (), {"model": nn.ReLU()})(), "give its `.model`"),
    ],
)
def test_what_is_no_network_is_refused_with_what_to_give(other: object, remedy: str) -> None:
    with pytest.raises(ValueError, match=remedy):
        check_network(other)


@pytest.mark.filterwarnings("ignore:.torch.jit")
def test_torchscript_is_refused_with_what_to_give() -> None:
    with pytest.raises(ValueError, match=r"TorchScript .*before torch\.jit"):
        check_network(torch.jit.script(nn.ReLU()))


def test_lazy_layers_and_exported_networks_are_refused_with_what_to_give() -> None:
    with pytest.raises(ValueError, match="2 tensors of lazy layers.*run the network once"):
        check_network(nn.LazyLinear(2))
    exported = torch.export.export(nn.Linear(2, 2), (torch.zeros(1, 2),)).module()
    with (
        pytest.raises(ValueError, match=r"evaluation mode.*before torch\.export"),
        evaluating(exported),
    ):
        pass


def test_threads_look_into_one_network_one_after_the_other() -> None:
    model, together, most = nn.Sequential(nn.Dropout(), nn.Linear(2, 2)).train(), 0, 0
    seen: list[bool] = []

    def look() -> None:
        nonlocal together, most
        with evaluating(model):
            together += 1
            most = max(most, together)
            time.sleep(0.01)
            seen.append(model.training)
            together -= 1

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
    assert seen == [False] * 4
    assert model.training


def test_a_training_that_is_interrupted_leaves_modes_and_gradients() -> None:
    model, pictures = MLPAutoencoder(size=8).eval(), torch.rand(8, 1, 8, 8)
    model.encoder.train()

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_autoencoder(model, pictures, action=None, epochs=2, progress=stop)
    assert (model.training, model.encoder.training) == (False, True)
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_training_needs_no_gradients_around_it(context: Any) -> None:
    def losses() -> tuple[float, ...]:
        model, pictures = MLPAutoencoder(size=8, dim=4), torch.linspace(0, 1, 512)
        return train_autoencoder(model, pictures.reshape(8, 1, 8, 8), action=None, epochs=2).losses

    expected = losses()
    model = MLPAutoencoder(size=8, dim=4)
    images: Tensor = torch.linspace(0, 1, 512).reshape(8, 1, 8, 8)
    with context():
        found = train_autoencoder(model, images, action=None, epochs=2).losses
    assert found == expected


def test_frozen_weights_are_refused() -> None:
    model = MLPAutoencoder(size=8).requires_grad_(False)
    with pytest.raises(ValueError, match="all of them frozen.*requires_grad_"):
        train_autoencoder(model, torch.rand(2, 1, 8, 8), action=None)
