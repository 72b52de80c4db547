"""`python -m physhmr_kit.reconstruct VIDEO --camera C.json`: a filmed person, in simulation.

A detector finds keypoints, keypoints become rays and features, a policy that sees only those drives the humanoid, and what
the physics made of it is written down. Without --camera its tilt and height are estimated from the person. There is no
ground truth here: the figures compare the body with what the camera saw.
"""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from data_prep.video import keypoints_of, read_video_info
from physhmr_kit import cli
from physhmr_kit.evaluate import STAGES, find_policy
from physhmr_kit.simulation.registry import SIMULATORS, choose_simulator
from physhmr_kit.utils.errors import KitError

if TYPE_CHECKING:  # what speaks torch is imported where there is work for it, so that --help answers at once
    from physhmr_kit.reconstruction import Reconstruction
    from physhmr_kit.vision.camera import Camera
    from physhmr_kit.vision.encoder import VisionEncoder
    from physhmr_kit.vision.keypoints import KeypointTrack
    from physhmr_kit.vision.track import VisualTrack

METHODS = ("physics", "kinematic")


def find_video(keypoints: Path) -> Path | None:
    """The video of a keypoint file, if it lies beside it: walk_keypoints.npz or walk.npz -> walk.mp4."""
    found = keypoints.with_name(keypoints.stem.removesuffix("_keypoints") + ".mp4")
    return found if found.is_file() else None


def check_video(track: KeypointTrack, video: Path) -> None:
    """Raise a KitError unless the keypoints can have been detected on this video: frames, size and rate agree."""
    info = read_video_info(video)
    if info.image_size != track.image_size:
        (a, b), (c, d) = track.image_size, info.image_size
        raise KitError(f"{track.name}: keypoints are of a {a}x{b} image, {video} is {c}x{d}; detect on the same video")
    if not info.constant:  # the detector's rows were put on a constant rate: only how long they last can be compared
        lasts = len(track) / track.fps, info.frames / info.fps
        if abs(lasts[0] - lasts[1]) > 0.02 * lasts[1] + 2 / track.fps:
            raise KitError(
                f"{track.name}: {lasts[0]:.2f} s of keypoints, {video} lasts {lasts[1]:.2f} s; detect on the same video"
            )
        return
    track.check_video(info.frames, video)
    if info.fps and abs(info.fps - track.fps) > 0.02 * info.fps:
        raise KitError(
            f"{track.name}: keypoints are at {track.fps:g} fps, {video} at {info.fps:g}; detect on the same video"
        )


# The steps


@contextmanager
def step(name: str):
    """Say on stderr how long a step took."""
    started = time.monotonic()
    yield
    print(f"{name}: {time.monotonic() - started:.1f} s", file=sys.stderr, flush=True)


def keypoints_and_video(args) -> tuple[KeypointTrack, Path | None]:
    """The keypoints of a file, or those a detector finds in the video; and the video they are of."""
    from physhmr_kit.metrics.seen import BELIEVED
    from physhmr_kit.vision.keypoints import RAY_COCO, KeypointTrack

    if args.keypoints:
        track, video = KeypointTrack.load(args.keypoints), args.video or find_video(args.keypoints)
        if video:
            check_video(track, video)
    else:
        video = args.video
        track = keypoints_of(video, args.detector, args.person, weights=args.detector_weights)
    if not (track.confidence[:, RAY_COCO] >= BELIEVED).any():
        raise KitError(f"{track.name}: no limb keypoint reaches a confidence of {BELIEVED}; there is nobody to follow")
    if int((len(track) - 1) / track.fps * 30 + 1e-6) < 1:
        raise KitError(f"{track.name}: 1 frame at 30 fps; a motion needs at least two")
    return track, video


def load_camera(path: Path | None, keypoints: KeypointTrack) -> Camera | None:
    """A camera file, if there is one; of the same image, or a KitError."""
    from physhmr_kit.vision.camera import Camera

    if path is None:
        return None
    camera = Camera.load(path)
    keypoints.resample(30.0).check_camera(camera)
    return camera


def find_camera(args, known: Camera | None, keypoints: KeypointTrack, encoder: VisionEncoder) -> Camera:
    """The calibrated camera, or the one that the person's uprightness and feet suggest (`vision.uncalibrated`)."""
    from physhmr_kit.vision.uncalibrated import estimate_camera

    if args.camera:
        return known
    found = estimate_camera(keypoints, encoder, args.focal, known)
    print(found)
    for note in found.notes:
        print(f"  {note}")
    return found.camera


def follow(args, track: VisualTrack, found: tuple | None) -> Reconstruction:
    """A policy (of `find_policy`) in simulation, or the encoder's estimate alone."""
    from physhmr_kit.reconstruction import relive, without_physics

    if found is None:
        return without_physics(track)
    policy, config, settings = found
    print(choose_simulator(args.simulator), file=sys.stderr)
    substeps = int(settings.get("substeps", 4))
    with cli.progress_bar(f"{len(track)} frames", len(track)) as told:
        return relive(policy, track, config, args.simulator, substeps, args.device, told)


# The command


def _parser():
    parser = cli.make_parser("reconstruct", __doc__)
    add = parser.add_argument
    add("video", nargs="?", type=Path, metavar="VIDEO", help="any video PyAV reads, of one person or more")
    add("--keypoints", type=Path, help="COCO-17 keypoints of one person, .npz; a detector finds them when omitted")
    add("--camera", type=Path, help="the calibrated camera, .json or .npz; z-up world, floor at z = 0")
    add("--lens", type=Path, help="a camera whose K (and way, if it moves) is known, but not its tilt and height")
    add("--focal", type=float, help="focal length, pixels, of a camera without a file; its image's diagonal by default")
    add("--out", type=Path, help="folder to write into; out/VIDEO by default")
    add("--method", choices=METHODS, default="physics", help="kinematic: the encoder's estimate alone")
    add("--detector", choices=("mediapipe", "rtmlib", "vitpose"), default="mediapipe", help="finds the keypoints")
    add("--detector-weights", type=Path, help="local weights; rtmlib and vitpose need them")
    add("--person", default="largest", help="largest, centre or a number, 0 being the largest")
    add(
        "--stage",
        choices=STAGES,
        default="distill",
        help="whose policy; an expert follows the encoder's estimate instead",
    )
    add("--weights", type=Path, help="a policy's .safetensors or a run folder; the bundled one by default")
    add("--encoder", type=Path, help="an encoder's .safetensors; the bundled one by default")
    add("--scale", type=float, help="how much larger than the mean shape the person is; estimated by default")
    add("--no-overlay", action="store_true", help="do not draw the body over the video")
    add("--simulator", choices=SIMULATORS, default="auto", help="which simulator")
    add("--device", help="where it computes; its own choice by default")
    return parser


def _parse(argv: list[str] | None):
    args = _parser().parse_args(argv)
    if not (args.video or args.keypoints):
        raise KitError("give a VIDEO, or --keypoints; see python -m physhmr_kit.reconstruct --help")
    if args.out is None:
        args.out = Path("out") / (args.video or args.keypoints).stem.removesuffix("_keypoints")
    if args.out.exists() and not args.out.is_dir():
        raise KitError(f"{args.out}: is a file; --out names a folder")
    if args.scale is not None and not 0.1 <= args.scale <= 10:
        raise KitError(f"--scale {args.scale:g}: a person is between 0.1 and 10 times the mean shape")
    if args.focal is not None and not args.focal > 0:
        raise KitError(f"--focal {args.focal:g}: a focal length is a positive number of pixels")
    if sum(given is not None for given in (args.camera, args.lens, args.focal)) > 1:
        raise KitError("give one of --camera, --lens and --focal")
    return args


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    started = time.monotonic()
    args = _parse(argv)
    from physhmr_kit.vision.pretrained import load_encoder
    from physhmr_kit.vision.track import track_from_keypoints

    policy = find_policy(args.stage, args.weights) if args.method == "physics" else None
    encoder = load_encoder(args.encoder)
    with step("keypoints"):
        keypoints, video = keypoints_and_video(args)
        known = load_camera(args.camera or args.lens, keypoints)
    with step("camera, encoder and rays"):
        camera = find_camera(args, known, keypoints, encoder)
        track = track_from_keypoints(keypoints, camera, encoder, args.scale)
    from physhmr_kit.reconstruction import errors_over_time, summary
    from physhmr_kit.reconstruction.files import write

    with step("simulation" if args.method == "physics" else "placing"):
        result = follow(args, track, policy)
    with step("writing"):
        errors = errors_over_time(result)
        files = write(result, errors, args.out, video, not args.no_overlay)
    print("\n".join(summary(result, errors)))
    print(f"wrote {', '.join(f.name for f in files)} to {args.out} in {time.monotonic() - started:.1f} s")
    print(f"look at it: python -m physhmr_kit.view {args.out / 'reconstruction.rrd'}")
    return 0


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
