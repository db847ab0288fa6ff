"""From a network and its inputs to stores: hooks, positions, workers."""
