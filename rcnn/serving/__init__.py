"""A detector behind HTTP: pictures in, detections out, with limits that hold (`docs/serving.md`)."""
