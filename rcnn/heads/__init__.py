"""How a region becomes a vector, and the vector scores and a box."""
