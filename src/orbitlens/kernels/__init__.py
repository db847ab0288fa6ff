"""How a step is fast. Nothing here knows an SAE or a training."""
