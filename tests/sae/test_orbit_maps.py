"""Orbit SAEs at every position: codes turn in place and move with the input."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import orbitlens as ol
from orbitlens.activations import ActivationStore, store_from_array
from orbitlens.errors import OrbitLensError
from orbitlens.groups import Group, cyclic, dihedral
from orbitlens.sae import (
    SAE,
    BatchTopK,
    decode_maps,
    encode_maps,
    move_codes,
    orbit_sae,
    topk_sae,
)
from orbitlens.transport import Transport, fit_transport
from orbitlens.typing import Tensor

SIZE = 6


def harvested(group: Group) -> tuple[ActivationStore, Tensor]:
    """Feature maps of a network that is equivariant by construction, and those of its inputs."""
    generator = torch.Generator().manual_seed(0)
    pictures = torch.rand(60, 1, SIZE, SIZE, generator=generator)
    model, action = ol.models.GroupCNN(group, features=2), ol.actions.images(group)
    store = ol.harvest(model, layer="conv1", inputs=pictures, action=action, positions="all")
    return store, torch.from_numpy(np.asarray(store.array[:]))


def embedded(group: Group) -> tuple[ActivationStore, Tensor]:
    """The same maps, to which every position adds something of its own that does not turn."""
    store, stored = harvested(group)
    positions = torch.randn(SIZE**2, store.dim, generator=torch.Generator().manual_seed(1))
    stored = stored + positions
    return replace(store_from_array(stored, group=group), moves=store.moves), stored


def trained(store: ActivationStore, rho: Transport, **settings: object) -> SAE:
    sae = orbit_sae(store.dim, 6, 3, rho, **settings)  # type: ignore[arg-type]
    assert ol.fit(sae, store.about(rho.motion.mean), epochs=2, batch_size=64).status == "completed"
    return sae


def beyond_threshold(sae: SAE, codes: Tensor) -> Tensor:
    """What a stored threshold, itself the pre-activation of some sample, decides without a jump."""
    rule = sae.sparsity
    return (codes - rule.threshold).relu() if isinstance(rule, BatchTopK) else codes


@pytest.mark.parametrize("group", [cyclic(4), dihedral(4)], ids=lambda group: group.name)
@pytest.mark.parametrize("settings", [{}, {"hidden": 12}, {"sparsity": "batchtopk"}], ids=str)
def test_codes_of_the_turned_image_are_the_codes_at_the_moved_place_and_turned_orientation(
    group: Group, settings: dict[str, object]
) -> None:
    store, stored = harvested(group)
    rho = fit_transport(store, "spatial")
    sae = trained(store, rho, **settings)
    assert store.moves is not None
    codes = encode_maps(sae, stored[:, 0], mean=rho.motion.mean)
    assert codes.shape == (60, SIZE**2, group.order, 6)
    assert (codes > 0).any(0).sum() > 6 * group.order
    for g in range(group.order):
        turned = encode_maps(sae, stored[:, g], mean=rho.motion.mean)
        moved = move_codes(sae, codes, g, store.moves)
        torch.testing.assert_close(
            beyond_threshold(sae, turned), beyond_threshold(sae, moved), atol=1e-4, rtol=0
        )


def test_an_embedding_of_positions_is_no_matter_about_the_mean_map() -> None:
    group = cyclic(4)
    store, stored = embedded(group)
    rho = fit_transport(store, "spatial")
    assert rho.r2 > 0.9999
    sae = trained(store, rho)
    assert store.moves is not None
    means = {"about the mean map": rho.motion.mean, "as they are": None}
    codes = {name: encode_maps(sae, stored[:, 0], mean=mean) for name, mean in means.items()}
    turned = {name: encode_maps(sae, stored[:, 1], mean=mean) for name, mean in means.items()}
    changes = {
        name: (turned[name] - move_codes(sae, codes[name], 1, store.moves)).abs().max()
        for name in means
    }
    assert changes["about the mean map"] < 1e-3
    assert changes["as they are"] > 0.1


def test_reconstructions_of_moved_codes_are_the_moved_reconstructions() -> None:
    store, stored = embedded(dihedral(4))
    rho = fit_transport(store, "spatial")
    sae, mean = trained(store, rho), rho.motion.mean
    assert store.moves is not None
    codes = encode_maps(sae, stored[:, 0], mean=mean)
    maps = decode_maps(sae, codes, mean=mean)
    assert maps.shape == stored[:, 0].shape
    for g in range(8):
        moved = decode_maps(sae, move_codes(sae, codes, g, store.moves), mean=mean)
        expected = rho(maps, torch.full((60,), g))
        torch.testing.assert_close(moved, expected, atol=1e-3, rtol=0)


def test_maps_and_tokens_are_read_and_written_alike() -> None:
    store, stored = harvested(cyclic(4))
    sae = orbit_sae(store.dim, 6, 3, fit_transport(store, "spatial"))
    tokens, mean = stored[:5, 0], torch.randn(SIZE**2, store.dim)
    maps = tokens.mT.unflatten(2, (SIZE, SIZE))
    codes = encode_maps(sae, tokens, mean=mean)
    assert torch.equal(encode_maps(sae, maps, mean=mean), codes)
    back = decode_maps(sae, codes, mean=mean)
    assert torch.equal(decode_maps(sae, codes, mean=mean, size=(SIZE, SIZE)).flatten(2).mT, back)
    rows = (tokens - mean).flatten(0, 1)
    torch.testing.assert_close(back, sae(rows).x_hat.view_as(back) + mean, atol=1e-5, rtol=1e-4)
    assert torch.equal(codes.flatten(-2).flatten(0, 1), sae.encode(rows))


def test_rows_of_the_view_are_what_the_maps_hold() -> None:
    store, stored = embedded(cyclic(4))
    rho = fit_transport(store, "spatial")
    sae = orbit_sae(store.dim, 6, 3, rho)
    assert store.moves is not None
    rows = store.about(rho.motion.mean).orbits()[:, 2].unflatten(0, (60, -1))
    codes = encode_maps(sae, stored[:, 2], mean=rho.motion.mean)
    at_moved = sae.dictionary.by_element(sae.encode(rows.flatten(0, 1))).view_as(codes)
    assert torch.equal(codes[:, torch.from_numpy(store.moves[2])], at_moved)


def test_what_does_not_fit_is_refused_in_one_line() -> None:
    store, stored = harvested(cyclic(4))
    sae = orbit_sae(store.dim, 6, 3, fit_transport(store, "spatial"))
    tokens, codes = stored[:2, 0], torch.zeros(2, SIZE**2, 4, 6)
    moves = store.moves
    assert moves is not None
    wrong = {
        "received an SAE with a FreeDictionary": lambda: encode_maps(topk_sae(8, 9, 2), tokens),
        r"shape \[n, 8, height, width\]": lambda: encode_maps(sae, tokens[..., :5]),
        r"`mean`: expected shape \[36, 8\]": lambda: encode_maps(sae, tokens, mean=codes[0, 0]),
        r"`codes`: expected shape \[n, positions, 4, 6\]": lambda: decode_maps(sae, codes.mT),
        r"height times width = 36": lambda: decode_maps(sae, codes, size=(6, 5)),
        r"an element of C4.*received 4 and": lambda: move_codes(sae, codes, 4, moves),
        r"shape \[4, 36\], received 1 and \[2, 36\]": lambda: move_codes(sae, codes, 1, moves[:2]),
    }
    for message, call in wrong.items():
        with pytest.raises(OrbitLensError, match=message) as error:
            call()
        assert "\n" not in str(error.value)
