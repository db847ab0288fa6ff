"""The names that settings accept.

The rooms that own them load torch, which takes seconds. Here a wrong name is told at once.
"""

SAES = (
    *("vanilla", "equivariant_canonical", "equivariant_latent", "equivariant_output"),
    "orbit",
)
ACTIONS = (
    *("images", "volumes", "points", "graphs", "set_permutation", "reverse_complement"),
    "cyclic_shift",
)
KNOWN_NAMES = {
    "action": ACTIONS,
    "axis": ("x", "y", "z"),
    "crop": ("centre", "none", "pad"),
    "device": ("auto", "cpu", "cuda"),
    "dtype": ("float32", "float16", "bfloat16"),
    "interpolation": ("bilinear",),
    "positions": ("auto", "cls", "mean", "all"),
    "precision": ("auto", "float32", "bfloat16"),
    "saes": SAES,
    "sparsity": ("topk", "batchtopk", "bias-adaptation"),
    "transport": (
        *("identity", "gradient", "least_squares", "exact", "spatial", "low_rank"),
        "lie",
    ),
    "unreadable": ("stop", "skip"),
}
