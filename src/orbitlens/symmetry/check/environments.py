"""The reflections of four environments, and a wrapper that breaks them by a known amount."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int

from orbitlens.checks import as_number
from orbitlens.errors import OrbitLensError, out_of_range, unknown_name
from orbitlens.symmetry.check._broken import breaker
from orbitlens.symmetry.check._built_in import BUILT_IN, BuiltIn, built_in
from orbitlens.symmetry.check._spaces import made, name_of, read_spaces
from orbitlens.typing import Tensor


def reflection(
    env: Any,
) -> tuple[Float[Tensor, "group d d"], Float[Tensor, "group m m"] | Int[Tensor, "group actions"]]:
    """Return the reflection of a known environment, as maps of observations and of actions.

        CartPole            (x, v, th, w) -> (-x, -v, -th, -w)                 0 <-> 1
        Pendulum            (cos, sin, w) -> (cos, -sin, -w)                   a -> -a
        Acrobot             (cos, sin, cos, sin, w, w) -> (cos, -sin, cos, -sin, -w, -w)   0 <-> 2
        InvertedPendulum    (x, th, v, w) -> (-x, -th, -v, -w)                 a -> -a

    The pole of InvertedPendulum-v5 leans by 1 mm on 60 cm in its model file, so that its reflection
    is not exact.

    Args:
        env: "CartPole-v1", "Pendulum-v1", "Acrobot-v1" or "InvertedPendulum-v5", or the environment
            itself, wrapped or not.

    Returns:
        The matrices on observations, [2, d, d], the identity first; and those on actions,
        [2, m, m], or permutations of discrete actions, [2, n].

    Raises:
        OrbitLensError: If the environment is none of these.

    Example:
        >>> states, actions = reflection("Pendulum-v1")
        >>> states[1].diagonal().tolist(), actions.flatten().tolist()
        ([1.0, -1.0, -1.0], [1.0, -1.0])
    """
    known = _known(env)
    states = torch.diag(torch.tensor(known.signs, dtype=torch.float64))
    actions = torch.tensor(known.actions)
    if actions.ndim == 1:
        return _with_identity(states), torch.stack([torch.arange(len(actions)), actions])
    return _with_identity(states), _with_identity(actions.double())


def break_symmetry(env: Any, kappa: float) -> Any:
    """Return an environment in which actions to one side are weaker, and cost a toll.

        a -> (1 - kappa) a   and   r -> r - kappa |a| / a_max   for actions a > 0

    Source: the ways to break a symmetry by a known amount in Park et al., arXiv 2411.04225, are not
    public; these two are the gain of an actuator and an offset of the reward.

    Of discrete actions the last one is weaker: in CartPole-v1 the push to the right (`force_mag`),
    in Acrobot-v1 the positive torque (`AVAIL_TORQUE`), with a toll of kappa. With kappa = 0 nothing
    changes. How far the reflections then are from symmetries follows from the equations of motion:

        CartPole            eps_R = kappa                        eps_P in proportion to kappa
        Pendulum            eps_R = kappa - 0.004 (2 kappa - kappa^2)
                            eps_P = norm of (w, dt w)            w = 3 kappa u dt / (m l^2), u = 2
        Acrobot             eps_R = kappa where both steps end the episode, or none
        InvertedPendulum    eps_R = kappa, likewise              eps_P in proportion to kappa

    In Pendulum the toll is less what the weaker torque saves of the cost 0.001 u^2; and eps_P is an
    upper bound, since the next angle turns (cos, sin) along a chord, and speeds are clipped.

    Args:
        env: An environment with a Box of actions that has equal bounds on both sides, of any name;
            or CartPole-v1 or Acrobot-v1; or its name.
        kappa: Share of the strength that is lost, 0 <= kappa < 1.

    Returns:
        The wrapped environment, a `gymnasium.Wrapper` with an attribute `kappa`.

    Raises:
        OrbitLensError: If kappa is out of range, or the actions are of another kind.
        MissingExtraError: If Gymnasium is not installed.

    Example:
        >>> broken = break_symmetry("Pendulum-v1", kappa=0.3)
        >>> _ = broken.reset(seed=0)
        >>> import numpy as np
        >>> _ = broken.step(np.array([2.0], dtype=np.float32))
        >>> round(float(broken.unwrapped.last_u), 6)
        1.4
    """
    number = as_number("kappa", kappa)
    if not 0 <= number < 1:
        raise out_of_range("kappa", "0 <= kappa < 1", number)
    env = made(env)
    spaces, known = read_spaces(env), built_in(env)
    boxed = spaces.n_actions is None and bool(np.isfinite(spaces.high).all())
    if not (boxed and np.array_equal(spaces.low, -spaces.high)) and not (
        spaces.n_actions is not None and known is not None
    ):
        raise OrbitLensError(
            f"environment {name_of(env)}",
            expected="a Box of actions from -high to high, or CartPole-v1 or Acrobot-v1",
            received=str(env.action_space),
            remedy="break it with a wrapper of your own",
        )
    return breaker()(env, float(number))


def _known(env: Any) -> BuiltIn:
    names = {each.name: each for each in BUILT_IN}
    if isinstance(env, str):
        if env not in names:
            raise unknown_name("`env` of reflection", env, names)
        return names[env]
    known = built_in(made(env))
    if known is None:
        raise OrbitLensError(
            "`env` of reflection",
            expected=f"one of {', '.join(names)}",
            received=name_of(env),
            remedy="give its maps to check_environment yourself",
        )
    return known


def _with_identity(matrix: Float[Tensor, "d d"]) -> Float[Tensor, "group d d"]:
    return torch.stack([torch.eye(len(matrix), dtype=matrix.dtype), matrix])
