"""Caches of other libraries as stores."""
