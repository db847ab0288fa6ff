"""The check of a network that is to be trained."""

from torch import nn

from orbitlens.checks import check_learns
from orbitlens.errors import OrbitLensError


def check_trains(subject: str, network: nn.Module) -> None:
    """Refuse a network that has nothing to learn, or whose numbers are not those of the states."""
    check_learns(subject, network)
    kinds = {str(each.dtype).removeprefix("torch.") for each in network.parameters()}
    if kinds != {"float32"}:
        raise OrbitLensError(
            subject,
            expected="parameters in float32",
            received=", ".join(sorted(kinds)),
            remedy="change them with .float(), and back after the training",
        )
