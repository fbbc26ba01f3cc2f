"""What trains many networks of one shape together."""
