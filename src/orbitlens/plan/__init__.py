"""What a run would need: time, disk and memory, before anything runs."""
