"""Whether a head that was given serves the action and the way."""

from torch import nn

from orbitlens.actions import Action, SampledAction
from orbitlens.errors import OrbitLensError
from orbitlens.symmetry.symmetrize.canonical_heads import EnergyHead, ImageHead, PlaneHead
from orbitlens.symmetry.symmetrize.frames import FrameHead
from orbitlens.symmetry.symmetrize.haar_head import HaarHead
from orbitlens.symmetry.symmetrize.permutation_head import PermutationHead
from orbitlens.symmetry.symmetrize.rotation_head import RotationHead


def check_frame_head(head: object, action: SampledAction, how: str) -> FrameHead:
    """Return a head that draws frames for this action, one that draws nothing if it must not."""
    if not isinstance(head, FrameHead):
        raise _other_head(
            f"a FrameHead, as the elements of {action.group} are drawn",
            type(head).__name__,
            "give PermutationHead or RotationHead, or leave it out",
        )
    wanted, found = _serving(head, action), _as_built(head)
    if wanted != found:
        raise _other_head(
            f"{wanted}, as {action} moves the inputs", found, "make it for this action, or leave it"
        )
    if how == "canonical":
        _check_draws_nothing(head)
    return head


def check_score_head(head: object, action: Action) -> nn.Module:
    """Return a module that may give scores of the elements of this action."""
    if isinstance(head, FrameHead) or not isinstance(head, nn.Module):
        raise _other_head(
            f"a module that gives scores [n, {action.group.order}], as {action.group.name} is "
            "finite",
            type(head).__name__,
            "give for example EnergyHead(action, numbers), or leave it out",
        )
    match head:
        case EnergyHead():
            right, of = _kind(head.action) == _kind(action), str(head.action)
        case ImageHead():
            right, of = head.action.group == action.group, head.action.group.name
        case PlaneHead():
            built = {"name": head.group.name, "side": head.group.side}
            right, of = action.name == "plane" and action.config == built, str(head.group)
        case _:
            return head
    if not right:
        raise _other_head(
            f"a head made for {action}, which moves the inputs",
            f"{type(head).__name__} made for {of}",
            "make it for this action, or leave it out",
        )
    return head


def _kind(action: Action) -> tuple[object, ...]:
    return action.name, action.group.name, action.group.order, action.config


def _serving(head: FrameHead, action: SampledAction) -> str:
    """Return what a head of this action is; a head of one's own may serve any."""
    if isinstance(head, HaarHead):
        return f"HaarHead of {action.group}"
    if not isinstance(head, PermutationHead | RotationHead):
        return type(head).__name__
    if not action.vectors:
        return f"PermutationHead with pairs={action.pairs}"
    return _rotation_head(action.vectors, action.special, action.nodes > 0)


def _as_built(head: FrameHead) -> str:
    match head:
        case HaarHead():
            return f"HaarHead of {head.action.group}"
        case PermutationHead():
            return f"PermutationHead with pairs={head.pairs}"
        case RotationHead():
            return _rotation_head(head.vectors, head.special, head.permutes)
    return type(head).__name__


def _rotation_head(vectors: int, special: bool, permutes: bool) -> str:
    return f"RotationHead with vectors={vectors}, special={special}, permutes={permutes}"


def _check_draws_nothing(head: FrameHead) -> None:
    """Refuse a canonical frame that another draw would change."""
    if isinstance(head, HaarHead):
        drawn = "HaarHead, which draws every frame"
    elif isinstance(head, PermutationHead | RotationHead):
        if head.noise_scale == 0 and head.ranking.ties == "order":
            return
        drawn = f"noise_scale={head.noise_scale:g} and ties={head.ranking.ties!r}"
    else:
        return
    raise _other_head(
        'noise_scale=0 and ties="order" for how="canonical", so that nothing is drawn',
        drawn,
        'make the head so, or use how="probabilistic", which averages over the draws',
    )


def _other_head(expected: str, received: str, remedy: str) -> OrbitLensError:
    return OrbitLensError("`head`", expected=expected, received=received, remedy=remedy)
