"""A module in, a smaller module out."""
