"""The settings of SAEs that must fit together, checked before anything is loaded."""

from collections.abc import Mapping, Sequence
from typing import Any

from orbitlens.errors import OrbitLensError, out_of_range

BIAS_ADAPTATION = "bias-adaptation"


def check_names_of_saes(saes: Sequence[str] | None) -> None:
    """Check that there is an SAE, and each is named once; None stands for all."""
    if saes is not None and len(set(saes)) < len(saes):
        raise OrbitLensError(
            "`saes`",
            expected="each once",
            received=", ".join(saes),
            remedy="name it once; for other settings, begin another run",
        )
    if saes == ():
        raise OrbitLensError(
            "`saes`", expected="at least one", received="none", remedy="name one, such as orbit"
        )


def check_sparsity(settings: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    """Check k, targets, that latents and atoms fill equal groups, and that nothing is unused."""
    k, d_sae, n_atoms = (settings[name] for name in ("k", "d_sae", "n_atoms"))
    if k > d_sae:
        raise OrbitLensError(
            "`k`",
            expected=f"at most d_sae = {d_sae}",
            received=k,
            remedy="lower k or raise d_sae",
        )
    groups, htf, ltf = (settings[name] for name in ("bias_groups", "htf", "ltf"))
    for name in ("htf", "ltf"):
        if not 0 < settings[name] < 1:
            raise out_of_range(name, "a frequency between 0 and 1", settings[name])
    _refuse_unused(settings, defaults)
    if settings["sparsity"] != BIAS_ADAPTATION:
        return
    if htf < ltf or (htf == ltf) != (groups == 1):
        raise OrbitLensError(
            "`htf`",
            expected="above `ltf`; of a single group equal to it",
            received=f"htf {htf}, ltf {ltf} of {groups} groups",
            remedy="give the highest target first",
        )
    for name, count in (("d_sae", d_sae), ("n_atoms", d_sae if n_atoms is None else n_atoms)):
        if count % groups:
            raise OrbitLensError(
                "`bias_groups`",
                expected=f"a number that divides {name} = {count}",
                received=groups,
                remedy="take equal groups, or another number of latents",
            )


def _refuse_unused(settings: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    """Refuse settings that the sparsity rule has no use for, unless they are the defaults."""
    rule = settings["sparsity"]
    unused: tuple[str, ...] = ("bias_groups", "htf", "ltf")
    why = "which has a k"
    remedy = f"leave it out, or take {BIAS_ADAPTATION}"
    if rule == BIAS_ADAPTATION:
        unused, why = ("k", "hidden"), "which has targets, and the dictionary as its encoder"
        remedy = "leave it out, or take topk or batchtopk"
    for name in unused:
        if settings[name] not in (0, defaults[name]):
            raise OrbitLensError(
                f"`{name}`",
                expected=f"none with the sparsity rule {rule}, {why}",
                received=settings[name],
                remedy=remedy,
            )
