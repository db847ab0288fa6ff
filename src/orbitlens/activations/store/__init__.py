"""Orbits of activations on disk: how they are written, checked and read."""
