"""Making a network that is built already run faster: compiled parts, CUDA graphs. No method knows of it."""
