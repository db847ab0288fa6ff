"""What all tests share."""

import hypothesis
import torch

# One thread each, so that two workers do not fight over two cores.
torch.set_num_threads(1)

# A slow moment of a shared machine is no failure, and the same commit fails or passes every time.
hypothesis.settings.register_profile("orbitlens", deadline=None, derandomize=True)
hypothesis.settings.load_profile("orbitlens")
