"""A detector as a file for other engines: a graph from canvases to detections, and proof that it answers alike."""
