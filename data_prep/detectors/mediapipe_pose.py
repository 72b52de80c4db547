# /// script
# requires-python = ">=3.10,<3.13"
# dependencies = ["mediapipe==0.10.21", "numpy==1.26.4", "av>=14"]
# ///
"""MediaPipe Pose (Google, Apache-2.0): one person's keypoints in a video, on the CPU, with the model inside its wheel.

0.10.21 is the last release series with `mediapipe.solutions` and the model inside the wheel; it needs numpy<2, hence the
separate environment. The full model (complexity 1) is used: the heavy one would have to be downloaded. Landmark indices are
those of MediaPipe's pose_landmarker.
"""

import contextlib
import os

from detector_script import Fault, main

# Indices of COCO's 17 keypoints among the 33 landmarks
COCO = (0, 2, 5, 7, 8, 11, 12, 13, 14, 15, 16, 23, 24, 25, 26, 27, 28)


def import_detector():
    """Import the package, which is slow and may fail."""
    os.environ.setdefault("GLOG_minloglevel", "2")
    import mediapipe  # noqa: F401


@contextlib.contextmanager
def detector(weights):
    """A function from image and seconds to bodies. `weights` must be None."""
    from mediapipe.python.solutions.pose import Pose

    if weights is not None:
        raise Fault("mediapipe comes with its model; omit --weights")
    with Pose(model_complexity=1, min_detection_confidence=0.5, min_tracking_confidence=0.5) as pose:

        def people_in(image, seconds):
            found = pose.process(image).pose_landmarks
            if found is None:
                return []
            height, width = image.shape[:2]
            marks = [found.landmark[i] for i in COCO]
            return [[(m.x * width, m.y * height, m.visibility) for m in marks]]

        yield people_in


if __name__ == "__main__":
    main(__doc__, "mediapipe 0.10.21", import_detector, detector)
