"""The words for what a feature does when its inputs move."""

TURNS, MOVES = "turns with the image", "moves with the input"
INVARIANT, NEITHER = "invariant", "neither"
UNKNOWN = "too few to tell"


def moving_word(action: object) -> str:
    """Return the word for a feature that moves as predicted, by the name of the action."""
    return TURNS if action == "images" else MOVES
