"""Tests of the built book: a package, for its conftest is not the one above."""
