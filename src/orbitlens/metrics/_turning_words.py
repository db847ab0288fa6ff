"""The words for what a feature does when its inputs move."""

TURNS, INVARIANT, NEITHER = "turns with the image", "invariant", "neither"
UNKNOWN = "too few to tell"
WORDS = (TURNS, INVARIANT, NEITHER, UNKNOWN)
