"""The page of a network: what a group does to each of its layers."""
