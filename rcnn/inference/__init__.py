"""From pictures to detections, and detections to pictures."""
