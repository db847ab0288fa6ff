"""SAEs ready to train: the paper's, and its baselines.

Erdogan & Lucic, arXiv 2511.09432, compare narrow SAEs, as wide as the equivariant one, with wide
ones of four times as many latents: the same call with 4 * d_sae. All take the paper's two-layer
encoder with `hidden`.
"""

from collections.abc import Callable

from orbitlens.checks import check_kind
from orbitlens.errors import out_of_range
from orbitlens.sae.bias_adaptation import BiasAdaptation
from orbitlens.sae.dictionaries.archetypal import ArchetypalDictionary
from orbitlens.sae.dictionaries.base import Dictionary, TransposedEncoder
from orbitlens.sae.dictionaries.crosscoder import CrosscoderDictionary
from orbitlens.sae.dictionaries.free import FreeDictionary
from orbitlens.sae.model import SAE
from orbitlens.sae.sparsity import BatchTopK, Sparsity, TopK
from orbitlens.typing import Float, Tensor


def topk_sae(d_in: int, d_sae: int, k: int, *, hidden: int | None = None, seed: int = 0) -> SAE:
    """Build an SAE with TopK sparsity and a free dictionary.

    Args:
        d_in: Width of the activations.
        d_sae: Number of latents.
        k: Latents kept per sample.
        hidden: Width of the encoder's hidden layer; None (default) for a linear encoder.
        seed: Seed of all weights, default 0.

    Returns:
        The untrained SAE. A linear encoder starts as the transpose of the dictionary.

    Raises:
        OrbitLensError: If k is below 1 or exceeds d_sae.

    Example:
        >>> sum(p.numel() for p in topk_sae(d_in=4, d_sae=8, k=2, hidden=16).parameters())
        252
    """
    return compose(TopK(k), FreeDictionary(d_sae, d_in, seed=seed), hidden=hidden, seed=seed)


def batch_topk_sae(
    d_in: int, d_sae: int, k: int, *, hidden: int | None = None, seed: int = 0
) -> SAE:
    """Build an SAE with BatchTopK sparsity and a free dictionary; arguments as in `topk_sae`.

    Example:
        >>> float(batch_topk_sae(d_in=4, d_sae=8, k=2).sparsity.threshold)  # learned by `fit`
        0.0
    """
    return compose(BatchTopK(k), FreeDictionary(d_sae, d_in, seed=seed), hidden=hidden, seed=seed)


def bias_adaptation_sae(
    d_in: int,
    d_sae: int,
    *,
    groups: int,
    htf: float | int,
    ltf: float | int,
    jump: bool = True,
    samples: int = 2560,
    gamma_minus: float | int = 0.2,
    gamma_plus: float | int = 0.2,
    centre: str = "auto",
    scale: float | int | None = None,
    features: int | None = None,
    seed: int = 0,
) -> SAE:
    """Build an SAE whose biases follow how often its latents fire; see `BiasAdaptation`.

    x_hat = b_dec + sum_m a_m phi(<w_m, x - b_dec> + b_m) w_m. One set of unit directions w serves
    both sides. Source: Chen et al., arXiv 2506.14002.

    On the paper's imbalanced toy data (128 features, d_in 42, d_sae 1536, 6 groups from 0.1 to
    0.002, `jump=False`, lr 1e-2, lr_decay 0.5, batches of 256, 942 steps) 95% of the features were
    found at a cosine of 0.9. The same steps with the paper's rates of 0.01 and lr 2e-3, and a
    trained b_dec, found 11% at 0.8.

    Args:
        d_in: Width of the activations.
        d_sae: Number of latents M; the paper's toy data need two for each feature in every group.
        groups: Groups K of M / K latents.
        htf: Target frequency of the first group, between 0 and 1.
        ltf: Target frequency of the last group.
        jump: Whether codes leave the bias out, default True.
        samples: Samples counted before each change of the biases, default 2560.
        gamma_minus: Rate of lowering, from 0 to 1, default 0.2; the paper has 0.01, with far more
            steps.
        gamma_plus: Rate of raising, from 0 to 1, default 0.2; the paper has 0.01.
        centre: Where b_dec is: "auto" (default) keeps it where `fit` puts it, at the mean
            activation or at zero, "fixed" where it is, and "trained" lets it follow the gradient;
            see `BiasAdaptation`.
        scale: Value from which every output scale starts; None (default) for 2 d_in / d_sae, at
            most 1, see `BiasAdaptation`.
        features: Features expected in the data, if known; narrower groups are warned about.
        seed: Seed of the directions, default 0.

    Returns:
        The untrained SAE.

    Raises:
        OrbitLensError: If the latents do not fill equal groups, or a target is out of range.

    Example:
        >>> sae = bias_adaptation_sae(d_in=4, d_sae=8, groups=2, htf=0.1, ltf=0.01)
        >>> bool((sae.encoder.W_enc.mT == sae.W_dec).all())
        True
    """
    dictionary = FreeDictionary(d_sae, d_in, seed=seed)
    rule = BiasAdaptation(
        d_sae,
        groups=groups,
        htf=htf,
        ltf=ltf,
        jump=jump,
        samples=samples,
        gamma_minus=gamma_minus,
        gamma_plus=gamma_plus,
        centre=centre,
        scale=BiasAdaptation.starting_scale(d_in, d_sae) if scale is None else scale,
        features=features,
    )
    return compose(rule, dictionary, seed=seed)


def archetypal_sae(
    candidates: Float[Tensor, "candidates dim"],
    d_sae: int,
    k: int,
    *,
    hidden: int | None = None,
    delta: float = 1.0,
    seed: int = 0,
) -> SAE:
    """Build an archetypal SAE: TopK sparsity, mixtures of data as directions.

    Trained with `objectives.reconstruction` it is the baseline of Erdogan & Lucic, arXiv
    2511.09432; the dictionary is that of Fel et al., arXiv 2502.12892.

    Args:
        candidates: The data that directions are mixtures of, shape [candidates, d_in]; usually
            centroids of the training activations, see `kmeans_candidates`.
        d_sae: Number of latents.
        k: Latents kept per sample.
        hidden: Width of the encoder's hidden layer; None (default) for a linear encoder.
        delta: How far a direction may leave the mixtures, see `ArchetypalDictionary`; default 1.
        seed: Seed of all weights, default 0.

    Returns:
        The untrained SAE. A linear encoder starts as the transpose of the dictionary.

    Raises:
        OrbitLensError: If k is below 1 or exceeds d_sae, all candidates are the same, or delta is
            negative.

    Example:
        >>> import torch
        >>> sae = archetypal_sae(torch.randn(20, 4), d_sae=8, k=2)
        >>> sae.dictionary.weights.shape
        torch.Size([8, 20])
    """
    dictionary = ArchetypalDictionary(candidates, d_sae, delta=delta, seed=seed)
    return compose(TopK(k), dictionary, hidden=hidden, seed=seed)


def crosscoder_sae(
    d_in: int, d_sae: int, k: int, group_order: int, *, hidden: int | None = None, seed: int = 0
) -> SAE:
    """Build a group crosscoder: TopK sparsity, one block of directions per group element.

    Trained with `objectives.orbit_reconstruction` it is the baseline of Erdogan & Lucic, arXiv
    2511.09432; the dictionary is that of Gorton, arXiv 2410.24184.

    Args:
        d_in: Width of the activations.
        d_sae: Number of latents.
        k: Latents kept per sample.
        group_order: Number of group elements, |G|; element 0 is the identity.
        hidden: Width of the encoder's hidden layer; None (default) for a linear encoder.
        seed: Seed of all weights, default 0.

    Returns:
        The untrained SAE. A linear encoder starts as the transpose of the identity's block.

    Raises:
        OrbitLensError: If k is below 1 or exceeds d_sae, or the order is below 1.

    Example:
        >>> import torch
        >>> sae = crosscoder_sae(d_in=4, d_sae=8, k=2, group_order=6)
        >>> sae.dictionary.orbit(sae.encode(torch.randn(3, 4))).shape
        torch.Size([3, 6, 4])
    """
    dictionary = CrosscoderDictionary(d_sae, d_in, group_order, seed=seed)
    return compose(TopK(k), dictionary, hidden=hidden, seed=seed)


BUILDERS: dict[str, Callable[..., SAE]] = {"topk": topk_sae, "batchtopk": batch_topk_sae}


def compose(
    sparsity: Sparsity, dictionary: Dictionary, *, hidden: int | None = None, seed: int = 0
) -> SAE:
    """Put an encoder before a sparsity rule and a dictionary.

    Args:
        sparsity: Pre-activations to codes.
        dictionary: Codes to reconstructions; it builds the encoder, see `Dictionary.make_encoder`.
        hidden: Width of the encoder's hidden layer; None (default) for a linear encoder, which
            starts as the transpose of the dictionary. Bias adaptation has no other encoder than
            the transpose itself.
        seed: Seed of the encoder's weights, default 0.

    Returns:
        The untrained SAE.

    Raises:
        OrbitLensError: If k exceeds the number of latents, or bias adaptation is to have a hidden
            layer.

    Example:
        >>> compose(TopK(2), FreeDictionary(8, 4), hidden=16).encoder.hidden
        16
        >>> from orbitlens.groups import cyclic
        >>> from orbitlens.reps import isotypic_basis, regular
        >>> from orbitlens.sae import OrbitDictionary
        >>> dictionary = OrbitDictionary(3, isotypic_basis(regular(cyclic(4))))
        >>> compose(TopK(2), dictionary).encoder.d_sae
        12
    """
    check_kind("sparsity", sparsity, Sparsity, "for example TopK(k)")
    check_kind("dictionary", dictionary, Dictionary, "for example FreeDictionary(d_sae, d_in)")
    if not sparsity.ties:
        return SAE(dictionary.make_encoder(hidden=hidden, seed=seed), sparsity, dictionary)
    if hidden is not None:
        raise out_of_range(
            "hidden", f"None: the encoder of {sparsity.name} is the dictionary transposed", hidden
        )
    return SAE(TransposedEncoder(dictionary), sparsity, dictionary)
