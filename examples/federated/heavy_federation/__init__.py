"""Handwritten digits, learned by many clients with common heavy-tailed kicks."""
