"""A detector as a file for other engines: one graph from canvases to detections, and the proof that it answers alike."""
