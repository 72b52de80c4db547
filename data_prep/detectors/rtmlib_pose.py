# /// script
# requires-python = ">=3.10,<3.14"
# dependencies = ["rtmlib==0.0.16", "onnxruntime>=1.17", "numpy>=1.26", "av>=14"]
# ///
"""RTMPose through rtmlib (Apache-2.0): the keypoints of everyone in a video, from local ONNX weights.

`--weights` names a folder with two unpacked files of the RTMPose model zoo (OpenMMLab): a person detector, `*yolox*.onnx`,
and a body model with COCO's 17 keypoints, `*rtmpose*.onnx` (body7; not Halpe-26). rtmlib's README lists them. Written
against the code of rtmlib 0.0.16 and tested with synthetic ONNX files of the right shapes, not with the real weights.
"""

import contextlib
from pathlib import Path

from detector_script import Fault, main


def import_detector():
    """Import the package, which is slow and may fail."""
    import onnxruntime  # noqa: F401
    import rtmlib  # noqa: F401


def find_onnx(folder, word, meaning):
    """The only file in the folder whose name contains the word."""
    found = sorted(p for p in Path(folder).rglob("*.onnx") if word in p.name.lower())
    if len(found) != 1:
        raise Fault(f"{folder}: {len(found)} files *{word}*.onnx in the folder; expected one, {meaning}")
    return str(found[0])


def input_size(file, default):
    """(height, width) of an ONNX model's input; the default if the file leaves them open."""
    import onnxruntime

    try:
        shape = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"]).get_inputs()[0].shape
    except Exception as fault:  # onnxruntime raises a dozen exception types for damaged files
        why = " ".join(str(fault).split())
        raise Fault(f"{file}: not a readable ONNX model ({why[:200]})") from fault
    size = tuple(shape[2:4])
    return size if all(isinstance(n, int) for n in size) else default


@contextlib.contextmanager
def detector(weights):
    """A function from image and seconds to bodies, with the weights loaded."""
    from rtmlib import YOLOX, RTMPose

    if weights is None:
        raise Fault("rtmlib needs --weights, a folder with *yolox*.onnx and *rtmpose*.onnx")
    boxes_file = find_onnx(weights, "yolox", "the person detector")
    pose_file = find_onnx(weights, "rtmpose", "the body model with COCO's 17 keypoints")
    boxes_of = YOLOX(boxes_file, model_input_size=input_size(boxes_file, (640, 640)))
    height, width = input_size(pose_file, (256, 192))
    pose_of = RTMPose(pose_file, model_input_size=(width, height))

    def people_in(image, seconds):
        image = image[..., ::-1].copy()  # rtmlib expects BGR, like OpenCV
        boxes = boxes_of(image)
        if len(boxes) == 0:  # RTMPose would take the whole image as a body
            return []
        points, scores = pose_of(image, bboxes=boxes)
        if points.shape[1] != 17:
            raise Fault(f"{pose_file}: {points.shape[1]} keypoints; expected a model with COCO's 17 (body7)")
        return [[(x, y, s) for (x, y), s in zip(p, q)] for p, q in zip(points, scores)]  # noqa: B905 (equally long)

    yield people_in


if __name__ == "__main__":
    main(__doc__, "rtmlib 0.0.16", import_detector, detector)
