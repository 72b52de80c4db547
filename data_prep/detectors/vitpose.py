# /// script
# requires-python = ">=3.10,<3.14"
# dependencies = ["transformers>=4.48,<6", "torch>=2.4", "pillow>=10", "scipy>=1.11", "numpy>=1.26", "av>=14"]
# ///
"""ViTPose through transformers (Apache-2.0): the keypoints of everyone in a video, from local weights.

`--weights` names a folder with two models as `save_pretrained` writes them (config.json, preprocessor_config.json,
model.safetensors): `detector/`, a person detector such as PekingU/rtdetr_r50vd_coco_o365, and `vitpose/`, such as
usyd-community/vitpose-base-simple. ViTPose++ models (vitpose-plus-*) use their COCO expert. Written against the
documentation of transformers 4.48 to 5 and tested with small untrained models under 5.24, not with the real weights. On Linux
the environment takes gigabytes: torch from the package index brings CUDA.
"""

import contextlib
import os
from pathlib import Path

from detector_script import Fault, main


def import_detector():
    """Import the package, which is slow and may fail."""
    os.environ["HF_HUB_OFFLINE"] = "1"  # weights come only from the given folder
    from transformers import VitPoseForPoseEstimation  # noqa: F401


def load(folder, kind):
    """The image processor and the model in a folder, the model in eval mode on the GPU if there is one."""
    import torch
    from transformers import AutoImageProcessor

    if not (folder / "config.json").is_file():
        raise Fault(f"{folder}: no config.json in the folder; expected one as save_pretrained writes it")
    if not list(folder.glob("*.safetensors")):
        raise Fault(f"{folder}: no .safetensors in the folder; pickled weights are not supported")
    try:
        processor = AutoImageProcessor.from_pretrained(folder, local_files_only=True)
        model = kind.from_pretrained(folder, local_files_only=True, use_safetensors=True)
    except (OSError, ValueError, RuntimeError) as fault:
        raise Fault(f"{folder}: not a readable model ({' '.join(str(fault).split())[:200]})") from fault
    return processor, model.eval().to("cuda" if torch.cuda.is_available() else "cpu")


@contextlib.contextmanager
def detector(weights):
    """A function from image and seconds to bodies, with the weights loaded."""
    import torch
    from PIL import Image
    from transformers import AutoModelForObjectDetection, VitPoseForPoseEstimation

    if weights is None:
        raise Fault("vitpose needs --weights, a folder with detector/ and vitpose/ as save_pretrained writes them")
    find, finder = load(Path(weights) / "detector", AutoModelForObjectDetection)
    read, reader = load(Path(weights) / "vitpose", VitPoseForPoseEstimation)
    # class indices differ: RT-DETR has no background class, DETR has one
    person = [i for i, label in finder.config.id2label.items() if label.lower() == "person"] or [0]
    experts = getattr(reader.config.backbone_config, "num_experts", 1) or 1

    @torch.inference_mode()
    def people_in(image, seconds):
        picture = Image.fromarray(image)
        inputs = find(images=picture, return_tensors="pt").to(finder.device)
        sizes = torch.tensor([(picture.height, picture.width)])
        seen = find.post_process_object_detection(finder(**inputs), target_sizes=sizes, threshold=0.3)[0]
        boxes = seen["boxes"][torch.isin(seen["labels"], torch.tensor(person).to(seen["labels"]))].cpu().numpy()
        if len(boxes) == 0:
            return []
        boxes[:, 2:] -= boxes[:, :2]  # xyxy to xywh, as the processor expects
        inputs = read(picture, boxes=[boxes], return_tensors="pt").to(reader.device)
        if experts > 1:
            inputs["dataset_index"] = torch.zeros(len(boxes), dtype=torch.int64, device=reader.device)  # 0 is COCO
        bodies = read.post_process_pose_estimation(reader(**inputs), boxes=[boxes])[0]
        if bodies and len(bodies[0]["keypoints"]) != 17:
            raise Fault(f"{weights}/vitpose: {len(bodies[0]['keypoints'])} keypoints; expected COCO's 17")
        return [torch.cat([b["keypoints"], b["scores"].reshape(-1, 1)], 1).cpu().numpy() for b in bodies]

    yield people_in


if __name__ == "__main__":
    main(__doc__, "vitpose 1", import_detector, detector)
