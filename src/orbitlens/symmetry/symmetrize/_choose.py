"""Which method serves a way, an action and an output; what does not go together is refused."""

from jaxtyping import Float
from torch import Tensor, nn

from orbitlens.actions import Action, SampledAction, check_action
from orbitlens.checks import as_floats
from orbitlens.errors import OrbitLensError, unknown_name
from orbitlens.groups import PlaneGroup
from orbitlens.reps import Representation, check_multiplies
from orbitlens.symmetry.symmetrize._canonical import FiniteCanonical
from orbitlens.symmetry.symmetrize._drawn import Drawn
from orbitlens.symmetry.symmetrize._exact_average import ExactAverage
from orbitlens.symmetry.symmetrize._given_head import check_frame_head, check_score_head
from orbitlens.symmetry.symmetrize._methods import Method, Output
from orbitlens.symmetry.symmetrize.canonical_heads import EnergyHead, ImageHead, PlaneHead
from orbitlens.symmetry.symmetrize.frames import FrameHead
from orbitlens.symmetry.symmetrize.haar_head import HaarHead
from orbitlens.symmetry.symmetrize.permutation_head import PermutationHead
from orbitlens.symmetry.symmetrize.rotation_head import RotationHead

_WAYS = ("average", "canonical", "probabilistic")
_DRAWN_INSTEAD = {
    "graphs": "actions.relabelling(nodes), whose elements are drawn",
    "set_permutation": "actions.relabelling(nodes, pairs=False), whose elements are drawn",
    "points": 'actions.rotations("SO3"), whose elements are drawn',
}


def choose(
    action: Action | SampledAction,
    how: str,
    output: Output,
    head: nn.Module | None,
    example: Float[Tensor, "n *axes"] | None,
    seed: int,
) -> Method:
    """Return the method, with its head.

    Raises:
        OrbitLensError: If the arguments do not go together; the message names what does.
    """
    if not isinstance(how, str):
        raise OrbitLensError(
            "`how`",
            expected=f"one of {', '.join(_WAYS)}",
            received=type(how).__name__,
            remedy="choose one of these",
        )
    if how not in _WAYS:
        raise unknown_name("`how`", how, _WAYS)
    if how == "average" and head is not None:
        raise OrbitLensError(
            "`head`",
            expected='None for how="average", which uses the whole group',
            received=type(head).__name__,
            remedy='use how="canonical" or how="probabilistic", or leave it out',
        )
    if example is not None:
        example = as_floats("example", example)
    if isinstance(action, SampledAction):
        _check_sampled_output(output, action)
        sampled = output if isinstance(output, SampledAction) else None
        return Drawn(_frame_head(action, how, head, example, seed), action, sampled)
    action = check_action(action)
    _check_finite_output(output, action)
    finite = None if isinstance(output, SampledAction) else output
    if how == "probabilistic":
        raise OrbitLensError(
            "`how`",
            expected=f'"average", which is exact over the {action.group.order} elements of '
            f'{action.group.name}, or "canonical"',
            received=repr(how),
            remedy='use how="average"'
            + (f", or {_DRAWN_INSTEAD[action.name]}" if action.name in _DRAWN_INSTEAD else ""),
        )
    if example is not None:
        action.check(example)
    if how == "average":
        return ExactAverage(action, finite)
    return FiniteCanonical(_score_head(action, head, example, seed), action, finite)


def _score_head(
    action: Action, head: nn.Module | None, example: Float[Tensor, "n *axes"] | None, seed: int
) -> nn.Module:
    if head is not None:
        return check_score_head(head, action)
    example = _needed(example)
    if action.name == "images" and action.exact:
        built: nn.Module = ImageHead(action.group, example.shape[1], seed=seed)
    elif action.name == "plane":
        built = PlaneHead(PlaneGroup(**action.config), example.shape[1], seed=seed)
    else:
        built = EnergyHead(action, example[0].numel(), seed=seed)
    return built.to(example.device, example.dtype)


def _frame_head(
    action: SampledAction,
    how: str,
    head: nn.Module | None,
    example: Float[Tensor, "n *axes"] | None,
    seed: int,
) -> FrameHead:
    if how == "average":
        return HaarHead(action)
    if head is not None:
        return check_frame_head(head, action, how)
    example = _needed(example)
    action.check(example)
    scale = 0.0 if how == "canonical" else 1.0
    columns = example.shape[2]
    # One canonical frame must not depend on a draw, so ties go by the order of the nodes.
    ties = "order" if how == "canonical" else "noise"
    if action.vectors:
        built: FrameHead = RotationHead(
            action.vectors,
            columns - 3 * action.vectors,
            special=action.special,
            permutes=action.nodes > 0,
            noise_scale=scale,
            ties=ties,
            seed=seed,
        )
    else:
        built = PermutationHead(
            columns - action.nodes * action.pairs,
            pairs=action.pairs,
            noise_scale=scale,
            ties=ties,
            seed=seed,
        )
    return built.to(example.device, example.dtype)


def _needed(example: Float[Tensor, "n *axes"] | None) -> Float[Tensor, "n *axes"]:
    if example is None or len(example) == 0:
        raise OrbitLensError(
            "`example`",
            expected="a few inputs, which show the head their width",
            received="None" if example is None else "no input",
            remedy="give example=inputs[:1], or a `head`",
        )
    return example


def _check_finite_output(output: Output, action: Action) -> None:
    name = action.group.name
    if isinstance(output, SampledAction):
        raise _other_output(
            f"None, or a Representation or an Action of {name}",
            repr(output),
            "draw both: take actions.relabelling or actions.rotations for the inputs too",
        )
    if output is None:
        return
    if not isinstance(output, Representation | Action):
        raise _other_output(
            f"None, or a Representation or an Action of {name}",
            type(output).__name__,
            "see orbitlens.reps and orbitlens.actions",
        )
    if output.group != action.group:
        raise _other_output(
            f"a representation or an action of {name}, which moves the inputs",
            f"one of {output.group.name}",
            "give both the same group",
        )
    if isinstance(output, Representation):
        check_multiplies(output, "`output`")


def _check_sampled_output(output: Output, action: SampledAction) -> None:
    wanted = f"None, or actions.{action.name} of {action.group}"
    if output is None:
        return
    if not isinstance(output, SampledAction):
        raise _other_output(
            f"{wanted}, as its elements are drawn",
            type(output).__name__,
            f"give output=actions.{action.name}(...)",
        )
    if output.group != action.group:
        raise _other_output(wanted, repr(output), "give both the same group")
    if output.centred and not action.centred:
        raise _other_output(
            "an action on outputs that is not centred, as that on inputs is not",
            "a centred one",
            "centre both, so that the outputs are put back at the centroid of the inputs",
        )


def _other_output(expected: str, received: str, remedy: str) -> OrbitLensError:
    return OrbitLensError("`output`", expected=expected, received=received, remedy=remedy)
