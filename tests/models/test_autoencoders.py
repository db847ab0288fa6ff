"""The paper's autoencoders: their shapes, and their training."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.nn.functional import conv2d, conv_transpose2d

from orbitlens.actions import images
from orbitlens.errors import OrbitLensError
from orbitlens.groups import cyclic, dihedral
from orbitlens.models import CNNAutoencoder, MLPAutoencoder, ViTAutoencoder, train_autoencoder

vit = partial(ViTAutoencoder, patch=4, depth=2)
ALL = pytest.mark.parametrize("build", [MLPAutoencoder, CNNAutoencoder, vit])


def parameters(part: nn.Module) -> list[tuple[int, ...]]:
    return [tuple(parameter.shape) for parameter in part.parameters() if parameter.ndim > 1]


def kinds(part: nn.Module) -> list[str]:
    names = (type(layer).__name__.removeprefix("_Whole") for layer in part.children())
    return [name for name in names if "latten" not in name]


def test_the_mlp_is_the_papers() -> None:
    model = MLPAutoencoder()
    assert kinds(model.encoder) == ["Linear", "ReLU", "Linear"]
    assert kinds(model.decoder) == ["ReLU", "Linear", "ReLU", "Linear"]
    assert parameters(model.encoder) == [(256, 4096), (256, 256)]
    assert parameters(model.decoder) == [(256, 256), (4096, 256)]


def test_the_cnn_is_the_papers() -> None:
    model = CNNAutoencoder()
    assert kinds(model.encoder) == ["Conv2d", "ReLU", "Conv2d", "ReLU", "Conv2d"]
    expected = ["ReLU", "ConvTranspose2d", "ReLU", "ConvTranspose2d", "ReLU", "ConvTranspose2d"]
    assert kinds(model.decoder) == expected
    assert parameters(model.encoder) == [(16, 1, 3, 3), (32, 16, 3, 3), (256, 32, 16, 16)]
    assert parameters(model.decoder) == [(256, 32, 16, 16), (32, 16, 3, 3), (16, 1, 3, 3)]


def test_the_products_in_the_cnn_are_its_convolutions() -> None:
    model = CNNAutoencoder(size=16, dim=8)
    whole, spread = model.encoder[4], model.decoder[2]
    maps, codes = torch.randn(2, 32, 4, 4), torch.randn(2, 8, 1, 1)
    torch.testing.assert_close(whole(maps), conv2d(maps, whole.weight, whole.bias))
    expected = conv_transpose2d(codes, spread.weight, spread.bias)
    torch.testing.assert_close(spread(codes), expected)


@ALL
@pytest.mark.parametrize(("size", "channels", "dim"), [(64, 1, 256), (28, 3, 7), (4, 1, 1)])
def test_code_is_a_vector_and_reconstruction_an_image(build, size, channels, dim) -> None:
    model, batch = build(size=size, channels=channels, dim=dim), torch.rand(2, channels, size, size)
    code = model.encoder(batch)
    assert code.shape == (2, dim)
    assert model.decoder(code).shape == batch.shape
    torch.testing.assert_close(model(batch), model.decoder(code))


@ALL
def test_the_code_is_read_before_its_relu(build) -> None:
    model = build(size=8, dim=64)
    code = model.encoder(torch.rand(3, 1, 8, 8))
    assert (code < 0).any()
    torch.testing.assert_close(model.decoder(code), model.decoder(code.relu()))


@ALL
def test_a_seed_fixes_the_initial_weights_and_leaves_the_global_generator_alone(build) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    one, same, other = (build(size=8, dim=4, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.rand(3), expected)
    pairs = list(zip(one.parameters(), same.parameters(), other.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b, _ in pairs)
    drawn = [(a, c) for a, _, c in pairs if len(a.unique()) > 1]
    assert len(drawn) >= 8
    assert not any(torch.equal(a, c) for a, c in drawn)


def test_the_blocks_of_the_vit_start_from_weights_of_their_own() -> None:
    first, second = vit(size=8).encoder.blocks
    assert not torch.equal(first.linear1.weight, second.linear1.weight)


def test_the_vit_sees_where_a_patch_is_and_how_patches_go_together() -> None:
    model = vit(size=8, dim=16).eval()
    image = torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    swapped = torch.cat([image[..., 4:], image[..., :4]], dim=-1)
    assert not torch.allclose(model.encoder(image), model.encoder(swapped), atol=1e-4)
    # Without positions, patches are a set.
    model.encoder.positions.data.zero_()
    torch.testing.assert_close(model.encoder(image), model.encoder(swapped))


def test_the_code_of_the_vit_does_not_depend_on_the_other_images_of_a_batch() -> None:
    model, batch = vit(size=8).eval(), torch.rand(5, 1, 8, 8)
    torch.testing.assert_close(model.encoder(batch)[2:3], model.encoder(batch[2:3]))


def test_the_vit_learns_to_tell_images_apart() -> None:
    model, bars = vit(size=8), pictures()
    train_autoencoder(model, bars, action=None, epochs=40, batch_size=16)
    error = (model(bars) - bars).square().mean()
    assert error < 0.2 * (bars.mean(0) - bars).square().mean()


def test_impossible_sizes_are_refused() -> None:
    with pytest.raises(OrbitLensError, match=r"patch size 16, received 40; .* 32 pixels"):
        ViTAutoencoder(size=40)
    with pytest.raises(OrbitLensError, match=r"patch size 16, received 8; .* 16 pixels"):
        ViTAutoencoder(size=8)
    with pytest.raises(
        OrbitLensError, match="`heads`: expected a divisor of 128, such as 4, received 3"
    ):
        ViTAutoencoder(heads=3)
    with pytest.raises(OrbitLensError, match="`depth`: expected at least 1, received 0"):
        ViTAutoencoder(depth=0)
    with pytest.raises(OrbitLensError, match=r"a multiple of 4, received 30; .* 28 pixels"):
        CNNAutoencoder(size=30)
    with pytest.raises(OrbitLensError, match="`channels`: expected at least 1, received 0"):
        MLPAutoencoder(channels=0)


def pictures(n: int = 96) -> torch.Tensor:
    """Bars at random heights: a turn by 90 degrees makes upright ones, which training never saw."""
    rows = torch.randint(8, (n,), generator=torch.Generator().manual_seed(0))
    return torch.zeros(n, 1, 8, 8).index_put(
        (torch.arange(n), torch.tensor(0), rows), torch.ones(8)
    )


@pytest.mark.parametrize("network", [MLPAutoencoder, CNNAutoencoder, ViTAutoencoder])
def test_weights_beyond_memory_are_refused_before_they_are_drawn(network: type[nn.Module]) -> None:
    with pytest.raises(OrbitLensError, match="choose smaller sizes"):
        network(dim=10**9)


def test_training_lowers_the_loss_and_is_deterministic() -> None:
    def run(seed: int) -> tuple[tuple[float, ...], torch.Tensor]:
        model = MLPAutoencoder(size=8, dim=16)
        action = images(dihedral(4))
        fit = train_autoencoder(
            model, pictures(), action=action, epochs=20, batch_size=16, seed=seed
        )
        return fit.losses, model(pictures(2))

    losses, output = run(0)
    again, same_output = run(0)
    assert len(losses) == 20
    assert losses[-1] < 0.8 * losses[0]
    assert losses == again
    assert torch.equal(output, same_output)
    assert run(1)[0] != losses


def test_augmentation_teaches_the_moved_images() -> None:
    action, bars = images(cyclic(4)), pictures()
    upright = action(bars, 1)
    errors = []
    for augmentation in (None, action):
        model = MLPAutoencoder(size=8, dim=32)
        train_autoencoder(model, bars, action=augmentation, epochs=60, batch_size=16, lr=3e-3)
        errors.append((model(upright) - upright).square().mean().item())
    without, with_augmentation = errors
    assert with_augmentation < 0.2 * without


def test_progress_is_called_after_every_epoch_and_the_model_left_in_evaluation_mode() -> None:
    model, seen = CNNAutoencoder(size=8, dim=4), []
    fit = train_autoencoder(
        model, pictures(8), action=None, epochs=3, progress=lambda *args: seen.append(args)
    )
    assert seen == [(epoch, 3, loss) for epoch, loss in enumerate(fit.losses, start=1)]
    assert not model.training


def test_images_and_settings_are_checked_before_training() -> None:
    model, action = MLPAutoencoder(size=8), images(cyclic(4))
    with pytest.raises(OrbitLensError, match=r"shape \[1, 1, 6, 6\].*resize the images"):
        train_autoencoder(model, torch.rand(2, 1, 6, 6), action=action)
    flat = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    with pytest.raises(OrbitLensError, match=r"a reconstruction.*received \[1, 2\]"):
        train_autoencoder(flat, pictures(2), action=None)
    with pytest.raises(OrbitLensError, match="height = width"):
        train_autoencoder(model, torch.rand(2, 1, 8, 6), action=action)
    with pytest.raises(OrbitLensError, match="`images`: expected at least one"):
        train_autoencoder(model, torch.rand(0, 1, 8, 8), action=None)
    for setting in ({"epochs": 0}, {"batch_size": -1}, {"lr": 0.0}):
        with pytest.raises(OrbitLensError, match="expected (above 0|at least 1)"):
            train_autoencoder(model, pictures(2), action=None, **setting)
