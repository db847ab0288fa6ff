"""The policy of stable-baselines3's SAC that holds networks of ours."""

from collections.abc import Callable
from functools import cache
from typing import Any, final

from torch import Tensor, nn

from orbitlens.symmetry.relax.agents import Actor, Critic

_CRITICS = 2


@cache
def policy_class() -> Any:
    """Return the class of the policy, which needs stable-baselines3, an extra."""
    from stable_baselines3.common.policies import BaseModel, BasePolicy
    from stable_baselines3.sac.policies import SACPolicy

    @final
    class SymmetricActor(BasePolicy):
        """An `Actor` as stable-baselines3 calls it; its actions lie in -1 .. 1."""

        def __init__(self, observations: Any, actions: Any, network: Actor) -> None:
            super().__init__(observations, actions, squash_output=True)
            self.network = network

        def forward(self, obs: Tensor, deterministic: bool = False) -> Tensor:
            states = obs.float()
            return self.network.best(states) if deterministic else self.network.draw(states)[0]

        def action_log_prob(self, obs: Tensor) -> tuple[Tensor, Tensor]:
            return self.network.draw(obs.float())

        def _predict(self, observation: Any, deterministic: bool = False) -> Tensor:
            return self.forward(observation, deterministic)

    @final
    class SymmetricCritics(BaseModel):
        """Two `Critic`s as stable-baselines3 calls them."""

        def __init__(self, observations: Any, actions: Any, networks: list[Critic]) -> None:
            super().__init__(observations, actions)
            self.networks = nn.ModuleList(networks)

        def forward(self, obs: Tensor, actions: Tensor) -> tuple[Tensor, ...]:
            states = obs.float()
            return tuple(network(states, actions)[:, None] for network in self.networks)

    @final
    class SymmetricSACPolicy(SACPolicy):
        """Actor, critics and their targets."""

        def __init__(
            self,
            *spaces: Any,
            new_actor: Callable[[], Actor],
            new_critic: Callable[[], Critic],
            **settings: Any,
        ) -> None:
            self.new_actor, self.new_critic = new_actor, new_critic
            super().__init__(*spaces, **settings)

        def make_actor(self, features_extractor: Any = None) -> Any:
            del features_extractor
            own = SymmetricActor(self.observation_space, self.action_space, self.new_actor())
            return own.to(self.device)

        def make_critic(self, features_extractor: Any = None) -> Any:
            del features_extractor
            networks = [self.new_critic() for _ in range(_CRITICS)]
            own = SymmetricCritics(self.observation_space, self.action_space, networks)
            return own.to(self.device)

    return SymmetricSACPolicy
