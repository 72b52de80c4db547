"""2-D keypoints: files of other pose tools, their joint layouts, and which of the detected bodies to track."""
