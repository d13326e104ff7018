"""A detector as a file for other engines: one graph from canvases to detections, proved to answer alike."""
