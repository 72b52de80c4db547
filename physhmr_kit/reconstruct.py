"""`python -m physhmr_kit.reconstruct VIDEO --camera C.json`: the motion of a person in a video, in simulation.

A detector finds keypoints, these become rays and features, and a policy that observes only those drives the humanoid. The
simulated motion is written to files. Without --camera, the camera's tilt and height are estimated from the person. There is no
ground truth: the printed errors compare the body with the detected keypoints.
"""

from __future__ import annotations

import logging
import sys
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from data_prep.video import keypoints_of, read_video_info
from physhmr_kit import cli
from physhmr_kit.evaluate import METHODS, find_follower
from physhmr_kit.simulation.registry import SIMULATORS, choose_simulator
from physhmr_kit.utils.errors import KitError

if TYPE_CHECKING:  # whatever needs torch is imported where it is used, so that --help answers at once
    from data_prep.gvhmr_run import Weights
    from physhmr_kit.learning.networks import Policy
    from physhmr_kit.reconstruction import Reconstruction
    from physhmr_kit.vision.camera import Camera
    from physhmr_kit.vision.encoder import VisionEncoder
    from physhmr_kit.vision.keypoints import KeypointTrack
    from physhmr_kit.vision.track import VisualTrack


GVHMR = "gvhmr"
"""Value of --encoder that selects GVHMR (`data_prep.gvhmr_run`) instead of a file."""


def find_video(keypoints: Path) -> Path | None:
    """The video next to a keypoint file or folder, if any: walk_keypoints.npz, walk.npz or walk_json/ -> walk.mp4."""
    found = keypoints.with_name(_stem(keypoints) + ".mp4")
    return found if found.is_file() else None


def _stem(path: Path) -> str:
    return path.stem.removesuffix("_keypoints").removesuffix("_json")


def check_video(track: KeypointTrack, video: Path) -> None:
    """Raise a KitError if image size, frame rate or number of frames show that the keypoints are of another video."""
    info = read_video_info(video)
    if info.image_size != track.image_size:
        (a, b), (c, d) = track.image_size, info.image_size
        raise KitError(f"{track.name}: keypoints are of a {a}x{b} image, {video} is {c}x{d}; detect on the same video")
    if not info.constant:  # the detector resampled to a constant rate, so only durations can be compared
        found, expected = len(track) / track.fps, info.frames / info.fps
        if abs(found - expected) > 0.02 * expected + 2 / track.fps:
            raise KitError(
                f"{track.name}: {found:.2f} s of keypoints, {video} lasts {expected:.2f} s; detect on the same video"
            )
        return
    # detectors skip frames of fast videos, and look at every nth
    nth = max(1, round(info.fps / track.fps)) if info.fps else 1
    track.check_video(-(-info.frames // nth), video)
    if info.fps and abs(info.fps - nth * track.fps) > 0.02 * info.fps:
        raise KitError(
            f"{track.name}: keypoints are at {track.fps:g} fps, {video} at {info.fps:g}; detect on the same video"
        )


# Steps


@contextmanager
def step(name: str):
    """Print the duration of a step to stderr."""
    started = time.monotonic()
    yield
    print(f"{name}: {time.monotonic() - started:.1f} s", file=sys.stderr, flush=True)


def keypoints_and_video(args) -> tuple[KeypointTrack, Path | None]:
    """Keypoints, from a file or from a detector, and their video."""
    from data_prep.detect import Place
    from data_prep.keypoints.files import read_keypoints
    from physhmr_kit.metrics.reprojection import MIN_CONFIDENCE
    from physhmr_kit.vision.keypoints import RAY_COCO

    place = Place(tuple(args.box), args.at) if args.box else None
    if args.keypoints:
        video = args.video or find_video(args.keypoints)
        size = tuple(args.image_size) if args.image_size else None
        track = read_keypoints(args.keypoints, args.person, video, args.fps, size, place)
        if video:
            check_video(track, video)
    else:
        video = args.video
        track = keypoints_of(video, args.detector, args.person, weights=args.detector_weights, place=place)
    if not (track.confidence[:, RAY_COCO] >= MIN_CONFIDENCE).any():
        raise KitError(
            f"{track.name}: no limb keypoint has a confidence of {MIN_CONFIDENCE}; there is nobody to follow"
        )
    if len(track.resample(30.0)) < 2:
        raise KitError(f"{track.name}: 1 frame at 30 fps; a motion needs at least two")
    return track, video


MOVING_CAMERA = "--camera or --lens with a pose for each frame at 30 fps, from GVHMR's or another visual odometry"


def check_stillness(
    video: Path | None, keypoints: KeypointTrack, camera: Camera | None, remedy: str = MOVING_CAMERA
) -> None:
    """Warn on stderr if the camera moves but is assumed fixed. Videos with cuts are not checked."""
    from data_prep.keypoints.moving_camera import MOVES, background_path, drift

    if video is None or keypoints.cuts or (camera is not None and camera.batch_shape):
        return
    moved = drift(background_path(video, keypoints))
    if moved > MOVES:
        shift = f"the background shifts by {100 * moved:.0f} % of the image width"
        print(f"warning: the camera moves ({shift}) but is assumed to be a fixed one; give {remedy}", file=sys.stderr)


def load_camera(path: Path | None, keypoints: KeypointTrack) -> Camera | None:
    """Load the camera and check it against the keypoints; None without a file."""
    from physhmr_kit.vision.camera import Camera

    if path is None:
        return None
    camera = Camera.load(path)
    keypoints.resample(30.0).check_camera(camera)  # a moving one has a pose for each frame at that rate
    return camera


def find_tracks(args, encoder: VisionEncoder, known: Camera | None, keypoints: KeypointTrack) -> list[VisualTrack]:
    """The person's track in each span of the video that shows the person (`vision.presence`).

    The camera of each shot is the calibrated one, or is estimated from the person (`vision.uncalibrated`).
    """
    from physhmr_kit.vision.presence import spans_to_place

    tracks, shots = [], keypoints.shots()
    for seconds, shot in shots:
        first, shot = round(30 * seconds), shot.resample(30.0).filled()
        spans = spans_to_place(shot)
        if not spans:
            continue
        if len(shots) > 1:
            print(f"shot from {seconds:.2f} to {seconds + len(shot) / 30:.2f} s")
        camera = known[first : first + len(shot)] if known is not None and known.batch_shape else known
        track = replace(find_track(args, encoder, camera, shot), first=first)
        tracks += [track[a:b] for a, b in spans]
    return tracks


def gvhmr_tracks(args, encoder: VisionEncoder, weights: Weights) -> tuple[list[VisualTrack], KeypointTrack]:
    """The person's track in each span that shows them, with pose, contact and camera of GVHMR, and its keypoints.

    The depth of the body along its rays is determined by the refinement, as with the kit's own encoder.

    Args:
        encoder: of the kit; it computes the feature, which the student was trained on.
    """
    from data_prep.gvhmr_run import run_gvhmr
    from data_prep.worlds import make_track, to_simulation
    from physhmr_kit.vision.keypoints import KeypointTrack
    from physhmr_kit.vision.presence import spans_to_place

    print("gvhmr: for education, research and non-profit use only (licence of Zhejiang University)", file=sys.stderr)
    body = to_simulation(run_gvhmr(args.video, weights, args.focal, args.moving_camera, args.scale))
    keypoints = KeypointTrack(body.keypoints, body.fps, body.camera.image_size, body.name)
    if not args.moving_camera:
        check_stillness(args.video, keypoints, None, "--moving-camera")
    track = make_track(body, encoder)
    return [track[a:b] for a, b in spans_to_place(keypoints)], keypoints


def find_track(args, encoder: VisionEncoder, known: Camera | None, shot: KeypointTrack) -> VisualTrack:
    """The person's track in a shot (30 fps)."""
    from physhmr_kit.vision.build_track import track_from_keypoints, with_scale
    from physhmr_kit.vision.uncalibrated import estimate_camera

    if args.camera:
        assert known is not None  # read from that file
        return track_from_keypoints(shot, known, encoder, args.scale)
    found = estimate_camera(shot, encoder, args.focal, known)
    print(found)
    for note in found.notes:
        print(f"  {note}")
    return with_scale(found.track, args.scale)


def adapted(args, policy: Policy, track: VisualTrack, substeps: int, share: float) -> Policy:
    """Adapt the policy to a track for this share of the time limit, with a progress bar."""
    from rich.console import Console
    from rich.progress import Progress, TextColumn

    from physhmr_kit.stages.adaptation import ADAPTATION_CONFIG, adapt

    logging.getLogger("pytorch_lightning.utilities.rank_zero").setLevel(logging.WARNING)  # no tips, no device summary
    config = replace(ADAPTATION_CONFIG, sim=replace(ADAPTATION_CONFIG.sim, simulator=args.simulator, substeps=substeps))
    columns = (*Progress.get_default_columns()[:2], TextColumn("{task.fields[state]}"))
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task, minutes = bar.add_task("adapting", total=1.0, state=""), share * args.adapt

        def show(done: float, followed: float, off_mm: float) -> None:
            left, state = 60 * minutes * max(1 - done, 0), _how_well(followed, off_mm)
            bar.update(task, completed=done, state=f"{state}, at most {left:.0f} s left")

        made = adapt(policy, track, minutes, config, args.device, show)
    print(
        f"adapted in {made.minutes:.1f} min ({made.samples:,} control steps); {_how_well(made.followed, made.off_mm)}"
    )
    return made.policy


def _how_well(followed: float, off_mm: float) -> str:
    return f"follows {100 * followed:.0f} % of the video, {off_mm:.0f} mm from the rays"


def simulate(args, tracks: list[VisualTrack], found: tuple | None) -> list[Reconstruction]:
    """Reconstruct each track with the policy of `evaluate.find_follower` in simulation, or by the refined estimate alone."""
    from physhmr_kit.reconstruction import kinematic_estimate, simulate_track

    if found is None:
        return [kinematic_estimate(track) for track in tracks]
    policy, config, settings = found
    print(choose_simulator(args.simulator), file=sys.stderr)
    substeps = int(settings.get("substeps", 4))
    frames, done = sum(map(len, tracks)), []
    for track in tracks:
        follower = adapted(args, policy, track, substeps, len(track) / frames) if args.adapt else policy
        with cli.progress_bar(f"{len(track)} frames", len(track)) as progress:
            done.append(simulate_track(follower, track, config, args.simulator, substeps, args.device, progress))
    return done


# Command


def _parser():
    parser = cli.make_parser("reconstruct", __doc__)
    add = parser.add_argument
    add("video", nargs="?", type=Path, metavar="VIDEO", help="video of one or more people, in any format of PyAV")
    add(
        "--keypoints",
        type=Path,
        metavar="PATH",
        help="detected keypoints: a file of the kit (.npz), or a file or folder of OpenPose, AlphaPose, COCO, MMPose, MediaPipe, "
        "Sports2D, ViTPose or DeepLabCut; by default a detector is run",
    )
    add("--fps", type=float, help="frame rate of --keypoints, if neither the file nor a VIDEO has it")
    add("--image-size", type=int, nargs=2, metavar=("W", "H"), help="image size of --keypoints in pixels, likewise")
    add("--camera", type=Path, help="calibrated camera, .json or .npz; z-up world, floor at z = 0")
    add("--lens", type=Path, help="camera with known intrinsics (and path, if it moves), but unknown tilt and height")
    add("--focal", type=float, help="focal length in pixels, without a camera file; the image diagonal by default")
    add("--out", type=Path, help="output folder; out/VIDEO by default")
    methods = "physics: a student on the video; two_stage: an expert on the refined estimate; kinematic: that estimate"
    add("--method", choices=METHODS, default="physics", help=methods)
    adapt = "first train the policy on this video, for at most this long; Ctrl-C continues with the best so far"
    add("--adapt", type=float, metavar="MINUTES", help=adapt)
    add("--detector", choices=("mediapipe", "rtmlib", "vitpose"), default="mediapipe", help="keypoint detector")
    add("--detector-weights", type=Path, help="local weights, required by rtmlib and vitpose")
    add(
        "--person",
        default="largest",
        help="person among several: largest, centre or a number (0: the largest). The detector mediapipe finds one person at a time; "
        "select another one with --box",
    )
    add("--box", type=float, nargs=4, metavar=("X", "Y", "W", "H"), help="box around the person at time --at, pixels")
    add("--at", type=float, default=0.0, metavar="SECONDS", help="time of --box")
    add(
        "--stage",
        choices=("distill", "finetune"),
        help="stage of the student; by default that of --weights, or finetune",
    )
    add("--weights", type=Path, help="policy weights (.safetensors) or a run folder; the bundled policy by default")
    add(
        "--encoder",
        type=str,
        metavar="PATH|gvhmr",
        help="encoder weights (.safetensors), the bundled encoder by default; or gvhmr: GVHMR, in its own environment, finds person, "
        "keypoints, motion and camera (its licence: education, research and non-profit use only)",
    )
    checkpoints = "for --encoder gvhmr: the checkpoints of its authors, with SMPL-X in body_models/smplx"
    add("--encoder-weights", type=Path, metavar="FOLDER", help=checkpoints)
    add("--moving-camera", action="store_true", help="for --encoder gvhmr: estimate the rotation of a moving camera")
    add("--scale", type=float, help="size of the person relative to the mean shape; estimated by default")
    add("--no-overlay", action="store_true", help="do not draw the body over the video")
    add("--simulator", choices=SIMULATORS, default="auto", help="simulator")
    add("--device", help="device of the simulator and the policy; the simulator's choice by default")
    return parser


def _parse(argv: list[str] | None):
    args = _parser().parse_args(argv)
    if not (args.video or args.keypoints):
        raise KitError("give a VIDEO, or --keypoints; see python -m physhmr_kit.reconstruct --help")
    if args.out is None:
        args.out = Path("out") / _stem(args.video or args.keypoints)
    if args.out.exists() and not args.out.is_dir():
        raise KitError(f"{args.out}: is a file; --out names a folder")
    if args.fps is not None and not args.fps > 0:
        raise KitError(f"--fps {args.fps:g}: a frame rate is a positive number")
    if args.scale is not None and not 0.1 <= args.scale <= 10:
        raise KitError(f"--scale {args.scale:g}: a person is between 0.1 and 10 times the mean shape")
    if args.focal is not None and not args.focal > 0:
        raise KitError(f"--focal {args.focal:g}: a focal length is a positive number of pixels")
    if args.adapt is not None and not (args.adapt > 0 and args.method != "kinematic"):
        raise KitError(f"--adapt {args.adapt:g}: a positive number of minutes, for a method with a policy")
    if sum(given is not None for given in (args.camera, args.lens, args.focal)) > 1:
        raise KitError("give one of --camera, --lens and --focal")
    _check_encoder(args)
    return args


def _check_encoder(args) -> None:
    """Make --encoder a path unless it is GVHMR; raise a KitError for options that do not apply to it."""
    if args.encoder != GVHMR:
        args.encoder = args.encoder and Path(args.encoder)
        if args.encoder_weights or args.moving_camera:
            raise KitError("--encoder-weights and --moving-camera are for --encoder gvhmr")
        return
    names = ("keypoints", "fps", "image_size", "camera", "lens", "detector", "detector_weights", "person", "box")
    defaults = {"detector": "mediapipe", "person": "largest"}
    given = [f"--{name.replace('_', '-')}" for name in names if getattr(args, name) != defaults.get(name)]
    if given:
        raise KitError(
            f"--encoder gvhmr needs a VIDEO and finds person, keypoints and camera itself; leave out {', '.join(given)}"
        )


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    started = time.monotonic()
    args = _parse(argv)
    from physhmr_kit.vision.pretrained import load_encoder

    # weights first, because detection takes minutes
    policy = find_follower(args.method, args.stage, args.weights)
    if args.encoder == GVHMR:
        from data_prep.gvhmr_run import Weights

        weights, encoder, video = Weights.find(args.encoder_weights), load_encoder(), args.video
        with step("GVHMR"):
            tracks, keypoints = gvhmr_tracks(args, encoder, weights)
    else:
        encoder = load_encoder(args.encoder)
        with step("keypoints"):
            keypoints, video = keypoints_and_video(args)
            known = load_camera(args.camera or args.lens, keypoints)
            check_stillness(video, keypoints, known)
        with step("camera, encoder and rays"):
            tracks = find_tracks(args, encoder, known, keypoints)
    from physhmr_kit.reconstruction import summary, video_errors
    from physhmr_kit.reconstruction.files import write_files
    from physhmr_kit.vision.presence import SHORTEST_SPAN

    if not tracks:
        seconds = SHORTEST_SPAN / 30
        raise KitError(
            f"{keypoints.name}: the person is nowhere seen for {seconds:.2f} s in a row; nothing to reconstruct"
        )

    with step("placement" if policy is None else "simulation"):
        results = simulate(args, tracks, policy)
    with step("writing"):
        errors = video_errors(results, len(keypoints.resample(30.0)))
        files = write_files(results, errors, args.out, video, not args.no_overlay)
    print("\n".join(summary(results, errors)))
    print(f"wrote {', '.join(f.name for f in files)} to {args.out} in {time.monotonic() - started:.1f} s")
    recording = next(file for file in files if file.suffix == ".rrd")
    print(f"look at it: python -m physhmr_kit.view {recording}")
    return 0


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
