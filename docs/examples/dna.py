"""DNA with motifs on either strand, and a network whose kernels are tied to the other strand."""

import numpy as np
import torch
from torch import Tensor, nn

LETTERS = "ACGT"
MOTIFS = ("TATAAAG", "GATTACA", "CACGTTG", "AGGAAGT")


class TiedConv(nn.Module):
    """Kernels in pairs: channel i reads one strand, channel i + pairs the other one."""

    def __init__(self, kernels: Tensor, *, paired_input: bool) -> None:
        super().__init__()
        other = kernels.flip(2)
        # The complement swaps A with T and C with G, and the two halves of paired channels.
        other = other.roll(kernels.shape[1] // 2, 1) if paired_input else other.flip(1)
        self.kernels = nn.Parameter(torch.cat([kernels, other]))
        self.padding = kernels.shape[2] // 2

    def forward(self, x: Tensor) -> Tensor:
        """Return the channels of both strands at every place."""
        return nn.functional.conv1d(x, self.kernels, padding=self.padding)


def network() -> nn.Sequential:
    """Return a network that finds the motifs, then mixtures of them in a neighbourhood."""
    generator = torch.Generator().manual_seed(0)
    motifs = torch.stack([torch.from_numpy(one_hot(motif)) for motif in MOTIFS])
    mixtures = torch.randn(8, 2 * len(MOTIFS), 3, generator=generator)
    return nn.Sequential(
        TiedConv(motifs - 0.25, paired_input=False),
        nn.ReLU(),
        TiedConv(mixtures, paired_input=True),
        nn.ReLU(),
    )


def one_hot(letters: str) -> np.ndarray:
    """Return letters as an array [4, length] in the order A, C, G, T."""
    return np.eye(4, dtype=np.float32)[[LETTERS.index(letter) for letter in letters]].T


def other_strand(letters: str) -> str:
    """Return the reverse complement."""
    return letters[::-1].translate(str.maketrans("ACGT", "TGCA"))


def write(path: str, n: int = 500, length: int = 40) -> None:
    """Write random sequences, each with one motif at a random place of a random strand."""
    random = np.random.default_rng(0)
    labels = random.integers(0, len(MOTIFS), n)
    sequences = []
    for label in labels:
        letters = "".join(random.choice(list(LETTERS), length))
        start = random.integers(0, length - len(MOTIFS[label]))
        letters = letters[:start] + MOTIFS[label] + letters[start + len(MOTIFS[label]) :]
        sequences.append(letters if random.random() < 0.5 else other_strand(letters))
    inputs = np.stack([one_hot(letters) for letters in sequences])
    np.savez(path, inputs=inputs, labels=labels, class_names=MOTIFS, names=sequences)


if __name__ == "__main__":
    write("dna.npz")
