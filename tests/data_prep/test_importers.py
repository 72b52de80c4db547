"""GVHMR, TRAM, WHAM and camera tracks: files in the documented layouts, written from a known scene, are read back.

The scene is converted to the tools' conventions here, without the code under test.
"""

import math
import pickle
import zlib
from dataclasses import replace

import numpy as np
import pytest
import roma
import torch

from data_prep import camera_track, gvhmr, tram, wham
from data_prep.worlds import PROJECTED_CONFIDENCE, SeenBody, distance_from_rays, make_track, to_simulation
from physhmr_kit.body.skeleton import PELVIS_AT_REST, mean_offsets
from physhmr_kit.cli import run
from physhmr_kit.motion.demo import demo_clip
from physhmr_kit.motion.kinematics import forward_kinematics
from physhmr_kit.utils.errors import KitError
from physhmr_kit.vision.camera import Camera
from physhmr_kit.vision.keypoints import KeypointTrack, coco_from_bodies
from physhmr_kit.vision.track import VisualTrack

FRAMES, SIZE = 40, (320, 192)
FOCAL = math.hypot(*SIZE)
Z_TO_Y = torch.tensor([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])  # (x, y, z) of a z-up world in a y-up one
SMPLX_PELVIS = torch.tensor([0.003, -0.351, 0.012])
SMPL_PELVIS = torch.tensor(PELVIS_AT_REST)


@pytest.fixture(scope="module")
def scene():
    """A demo motion in which the pelvis moves and tilts, and a camera that circles it, in the kit's world."""
    clip = demo_clip("bow").resample(30.0)
    root, rot = clip.root_pos[20 : 20 + FRAMES], clip.joint_rot[20 : 20 + FRAMES].clone()
    rot[:, 22:] = torch.tensor([0.0, 0.0, 0.0, 1.0])  # SMPL-X has no such hands
    angle = 0.01 * torch.arange(FRAMES)
    centre = torch.stack([4 * angle.cos(), 4 * angle.sin(), 1.5 + 0 * angle], dim=-1)
    camera = Camera.look_at(centre, torch.tensor([0.0, 0.0, 0.9]).expand(FRAMES, 3), focal=FOCAL, image_size=SIZE)
    pos, turn = forward_kinematics(root, rot, mean_offsets())
    keypoints = torch.cat([camera.project(coco_from_bodies(pos, turn)), torch.full((FRAMES, 17, 1), 0.9)], dim=-1)
    return root, rot, camera, keypoints


def in_world(scene, pelvis):
    """Root rotation vector (T, 3) and transl (T, 3) in a y-up world."""
    root, rot, _, _ = scene
    turn = roma.rotmat_to_unitquat(Z_TO_Y)
    return roma.unitquat_to_rotvec(roma.quat_product(turn.expand(FRAMES, 4), rot[:, 0])), root @ Z_TO_Y.mT - pelvis


def in_camera(scene, pelvis):
    """The same in the camera frame."""
    root, rot, camera, _ = scene
    turn = roma.rotmat_to_unitquat(camera.R)
    there = (camera.R @ root.unsqueeze(-1)).squeeze(-1) + camera.t
    return roma.unitquat_to_rotvec(roma.quat_product(turn, rot[:, 0])), there - pelvis


def write_gvhmr(folder, scene, **changed):
    _, rot, camera, keypoints = scene
    body = roma.unitquat_to_rotvec(rot[:, 1:22]).flatten(1)
    data = {"K_fullimg": camera.K, "net_outputs": {"model_output": {"pred_context": torch.ones(1, FRAMES, 512)}}}
    for side, told in (("global", in_world(scene, SMPLX_PELVIS)), ("incam", in_camera(scene, SMPLX_PELVIS))):
        data[f"smpl_params_{side}"] = {
            "global_orient": told[0], "transl": told[1], "body_pose": body, "betas": torch.zeros(FRAMES, 10),
        }  # fmt: skip
    data |= changed
    (folder / "preprocess").mkdir(parents=True)
    torch.save(data, folder / "hmr4d_results.pt")
    torch.save(keypoints, folder / "preprocess" / "vitpose.pt")
    return folder


def write_tram(folder, scene, frames=None, name=0):
    _, rot, camera, _ = scene
    frames = list(range(FRAMES)) if frames is None else frames
    (folder / "hps").mkdir(parents=True, exist_ok=True)
    y_up = camera.camera_to_world.mT @ Z_TO_Y.mT  # world-to-camera of the y-up world
    cam = {
        "world_cam_R": y_up.mT.numpy(), "world_cam_T": (camera.centre @ Z_TO_Y.mT).numpy(), "img_focal": FOCAL,
        "img_center": np.array([SIZE[0] / 2, SIZE[1] / 2]),
    }  # fmt: skip
    np.save(folder / "camera.npy", cam)
    root, trans = in_camera(scene, SMPL_PELVIS)
    turn = roma.unitquat_to_rotmat(rot)
    turn[:, 0] = roma.rotvec_to_rotmat(root)
    data = {
        "pred_rotmat": turn[frames], "pred_trans": trans[frames].unsqueeze(1),
        "pred_shape": torch.zeros(len(frames), 10),
        "frame": torch.tensor(frames),
    }  # fmt: skip
    np.save(folder / "hps" / f"hps_track_{name}.npy", data)
    return folder


def hips_in_world(scene):
    """WHAM's position of a body: the midpoint of the hips."""
    root, rot, _, _ = scene
    pos, _ = forward_kinematics(root, rot, mean_offsets())
    return ((pos[:, 1] + pos[:, 2]) / 2) @ Z_TO_Y.mT


def write_wham(path, scene, frames=None, compress=True):
    _, rot, _, _ = scene
    frames = list(range(FRAMES)) if frames is None else frames
    body = roma.unitquat_to_rotvec(rot[:, 1:]).flatten(1)
    (root, _), (cam_root, cam_trans) = in_world(scene, SMPL_PELVIS), in_camera(scene, SMPL_PELVIS)
    person = {
        "pose_world": torch.cat([root, body], 1), "trans_world": hips_in_world(scene),
        "pose": torch.cat([cam_root, body], 1),
        "trans": cam_trans, "betas": torch.zeros(FRAMES, 10),
    }  # fmt: skip
    person = {k: v[frames].numpy() for k, v in person.items()} | {"frame_ids": np.array(frames)}
    data = pickle.dumps({0: {k: v[:2] for k, v in person.items()}, 1: person}, protocol=2)
    path.write_bytes(zlib.compress(data) if compress else data)
    return path


def check(body: SeenBody, scene, first=0):
    """The scene is recovered: position, pose, camera, joints on their rays; on the floor after `to_simulation`."""
    root, rot, camera, _ = scene
    rows = slice(first, first + len(body))
    torch.testing.assert_close(body.root_pos, root[rows], atol=1e-4, rtol=0)
    assert roma.unitquat_geodesic_distance(body.joint_rot[:, :22], rot[rows, :22]).max() < 2e-3
    torch.testing.assert_close(body.camera.centre, camera.centre[rows], atol=1e-4, rtol=0)
    torch.testing.assert_close(body.camera.R, camera.R[rows], atol=1e-4, rtol=0)
    track = make_track(to_simulation(body), None if body.feature is not None else _Blank())
    assert distance_from_rays(to_simulation(body), track) < 5e-4
    pos, turn = to_simulation(body).bodies()
    from physhmr_kit.motion.soles import sole_height

    assert abs(float(sole_height(pos, turn)[:30].min())) < 1e-3
    return track


class _Blank:
    """An encoder whose feature is zero."""

    def encode(self, keypoints, camera):
        from types import SimpleNamespace

        return SimpleNamespace(feature=torch.zeros(len(keypoints), 512))


def test_gvhmr_recovers_the_scene(tmp_path, scene):
    body = gvhmr.read_gvhmr(write_gvhmr(tmp_path / "g", scene), own_feature=True)
    track = check(body, scene)
    assert body.camera.image_size == SIZE and (track.feature == 1).all()
    assert any("no body model" in note for note in body.notes)


def test_gvhmrs_contacts_are_reordered(tmp_path, scene):
    logits = torch.tensor([4.0, 2.0, -2.0, -4.0, 9.0, 9.0])  # left ankle, left toe, right ankle, right toe, wrists
    outputs = {
        "model_output": {"static_conf_logits": logits.expand(1, FRAMES, 6), "pred_context": torch.ones(1, FRAMES, 512)}
    }
    body = gvhmr.read_gvhmr(write_gvhmr(tmp_path / "g", scene, net_outputs=outputs), own_feature=True)
    found = make_track(to_simulation(body)).contact
    torch.testing.assert_close(found[0], torch.tensor([4.0, -2.0, 2.0, -4.0]).sigmoid())
    held = replace(to_simulation(body), root_pos=to_simulation(body).root_pos + torch.tensor([0.0, 0.0, 0.5]))
    assert (make_track(held).contact == 0).all()  # still, but in the air
    outputs["model_output"]["static_conf_logits"] = None
    assert gvhmr.read_gvhmr(write_gvhmr(tmp_path / "h", scene, net_outputs=outputs)).contact is None


def test_gvhmr_frames_are_resampled_from_the_videos_rate(tmp_path, scene):
    body = to_simulation(gvhmr.read_gvhmr(write_gvhmr(tmp_path / "g", scene), fps=60.0))
    assert len(body) == FRAMES // 2 and body.fps == 30
    torch.testing.assert_close(body.root_pos[:, :2], scene[0][::2, :2], atol=1e-4, rtol=0)


def test_tram_with_detected_keypoints_recovers_the_scene(tmp_path, scene):
    track = KeypointTrack(scene[3], 30.0, SIZE, "k")
    body = tram.read_tram(write_tram(tmp_path / "t", scene), track)
    assert torch.equal(check(body, scene).keypoints, scene[3])
    assert body.camera.image_size == SIZE


def test_tram_gaps_are_interpolated_and_long_ones_have_zero_confidence(tmp_path, scene):
    frames = [*range(5, 12), *range(14, 20), *range(32, 38)]  # 2 frames missing, then 12
    body = tram.read_tram(write_tram(tmp_path / "t", scene, frames))
    assert len(body) == 33
    there = [f - 5 for f in frames]
    torch.testing.assert_close(body.root_pos[there], scene[0][5:38][there], atol=1e-4, rtol=0)
    torch.testing.assert_close(body.camera.centre, scene[2].centre[5:38], atol=1e-4, rtol=0)
    assert (body.keypoints[there, :, 2] == PROJECTED_CONFIDENCE).all() and (body.keypoints[15:27, :, 2] == 0).all()
    assert (body.keypoints[7:9, :, 2] == PROJECTED_CONFIDENCE).all()
    assert any("only repeat the tool's pose" in n for n in body.notes)


def test_tram_camera_without_gravity_needs_up(tmp_path, scene):
    folder = write_tram(tmp_path / "t", scene)
    first = scene[2][0]  # the axes of the first camera are the world of such a file
    data = {
        "pred_cam_R": (first.R @ scene[2].camera_to_world).numpy(),
        "pred_cam_T": first.to_camera(scene[2].centre).numpy(),
        "img_focal": np.float64(FOCAL), "img_center": np.array([SIZE[0] / 2, SIZE[1] / 2]),
    }  # fmt: skip
    np.save(folder / "camera.npy", data)
    with pytest.raises(KitError, match="up is unknown; give --up"):
        tram.read_tram(folder)
    body = tram.read_tram(folder, up=tuple(first.R[:, 2].tolist()))
    torch.testing.assert_close(body.camera.camera_to_world[:, 2], scene[2].camera_to_world[:, 2], atol=1e-4, rtol=0)
    apart = [body.camera.centre - body.root_pos, scene[2].centre - scene[0]]
    torch.testing.assert_close(apart[0][:, 2], apart[1][:, 2], atol=1e-4, rtol=0)
    torch.testing.assert_close(apart[0].norm(dim=-1), apart[1].norm(dim=-1), atol=1e-4, rtol=0)


def test_projected_joints_have_the_size_of_the_person(tmp_path, scene):
    """In the scaled world a body larger than the mean shape lies on the rays of its own joints."""
    tall = tram.read_tram(write_tram(tmp_path / "t", scene), scale=1.2)
    settled = to_simulation(tall)
    assert settled.scale == 1.2 and distance_from_rays(settled, make_track(settled, _Blank())) < 5e-4


def test_longest_track_is_read_by_default(tmp_path, scene):
    folder = write_tram(tmp_path / "t", scene, list(range(6)), name=0)
    write_tram(folder, scene, name=1)
    assert len(tram.read_tram(folder)) == FRAMES and len(tram.read_tram(folder, person=0)) == 6
    with pytest.raises(KitError, match="no track 7; available: 0, 1"):
        tram.read_tram(folder, person=7)
    path = write_wham(tmp_path / "w.pkl", scene)
    assert len(wham.read_wham(path, SIZE)) == FRAMES and len(wham.read_wham(path, SIZE, person=0)) == 2
    with pytest.raises(KitError, match="no person 7; available: 0, 1"):
        wham.read_wham(path, SIZE, person=7)


@pytest.mark.parametrize("compress", [True, False])
def test_wham_recovers_the_scene(tmp_path, scene, compress):
    path = write_wham(tmp_path / "wham_output.pkl", scene, compress=compress)
    body = wham.read_wham(path, SIZE, keypoints=KeypointTrack(scene[3], 30.0, SIZE, "k"))
    check(body, scene)
    assert any("focal length" in note for note in body.notes)


def test_wham_gaps_are_interpolated_and_long_ones_have_zero_confidence(tmp_path, scene):
    frames = [*range(3, 12), *range(14, 20), *range(32, 38)]
    body = wham.read_wham(write_wham(tmp_path / "w.pkl", scene, frames), SIZE)
    there = [f - 3 for f in frames]
    assert (
        len(body) == 35
        and (body.keypoints[17:29, :, 2] == 0).all()
        and (body.keypoints[there, :, 2] == PROJECTED_CONFIDENCE).all()
    )
    for found, known in ((body.root_pos, scene[0]), (body.camera.centre, scene[2].centre)):
        torch.testing.assert_close(found[there], known[frames], atol=1e-4, rtol=0)


def test_joblib_files_are_read(tmp_path, scene):
    """joblib writes an array's bytes after its pickled description."""
    joblib = pytest.importorskip("joblib")
    plain = wham.read_joblib(write_wham(tmp_path / "w.pkl", scene))
    for compress in (0, 3):
        joblib.dump(plain, tmp_path / "j.pkl", compress=compress)
        again = wham.read_joblib(tmp_path / "j.pkl")
        assert np.array_equal(again[1]["trans"], plain[1]["trans"])


def test_world_is_divided_by_the_persons_scale(tmp_path, scene):
    body = gvhmr.read_gvhmr(write_gvhmr(tmp_path / "g", scene))
    tall = to_simulation(replace(body, scale=1.25))
    assert tall.scale == 1.25
    apart = [(b.camera.centre - b.root_pos).norm(dim=-1) for b in (body, tall)]
    torch.testing.assert_close(1.25 * apart[1], apart[0], atol=1e-3, rtol=0)


def test_commands_write_tracks(tmp_path, scene, capsys):
    k = KeypointTrack(scene[3], 30.0, SIZE).save(tmp_path / "k.npz")
    calls = {
        gvhmr: [write_gvhmr(tmp_path / "g", scene), "--motion", tmp_path / "m.npz"],
        tram: [write_tram(tmp_path / "t", scene), "--keypoints", k],
        wham: [write_wham(tmp_path / "wham_output.pkl", scene), "--keypoints", k],
    }
    for module, words in calls.items():
        out = tmp_path / f"{module.__name__}.npz"
        assert module.main([str(w) for w in (*words, "--out", out)]) == 0
        track = VisualTrack.load(out)
        assert len(track) == FRAMES and track.camera.batch_shape == (FRAMES,)
        assert "joints 0 mm from their rays" in capsys.readouterr().out
    assert (tmp_path / "m.npz").is_file()
    with pytest.raises(KitError, match="does not save the image size"):
        wham.main([str(calls[wham][0]), "--out", str(tmp_path / "x.npz")])


class Trap:
    """Unpickling it would leave a file behind."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (open, (self.path, "w"))


def test_code_in_a_pickle_is_refused_and_not_run(tmp_path, scene):
    ran = tmp_path / "ran"
    folder = write_gvhmr(tmp_path / "g", scene)
    torch.save({"smpl_params_global": Trap(ran)}, folder / "hmr4d_results.pt")
    with pytest.raises(KitError, match="not run"):
        gvhmr.read_gvhmr(folder)
    folder = write_tram(tmp_path / "t", scene)
    np.save(folder / "hps" / "hps_track_0.npy", {"pred_rotmat": Trap(ran)})
    with pytest.raises(KitError, match="not run"):
        tram.read_tram(folder)
    np.save(folder / "camera.npy", Trap(ran))
    with pytest.raises(KitError, match="not run"):
        tram.read_camera(folder / "camera.npy")
    for data in (pickle.dumps({0: Trap(ran)}), zlib.compress(pickle.dumps({0: Trap(ran)}))):
        (tmp_path / "w.pkl").write_bytes(data)
        with pytest.raises(KitError, match="not run"):
            wham.read_wham(tmp_path / "w.pkl", SIZE)
    for name, write in (("a.pt", torch.save), ("a.pth", lambda x, path: path.write_bytes(pickle.dumps(x)))):
        write(Trap(ran), tmp_path / name)
        with pytest.raises(KitError, match="not run"):
            camera_track.read_poses(tmp_path / name)
    for reader, name in ((gvhmr.read_gvhmr, "vitpose.pt"), (gvhmr.read_image_features, "vit_features.pt")):
        other = write_gvhmr(tmp_path / name, scene)
        torch.save(Trap(ran), other / "preprocess" / name)
        with pytest.raises(KitError, match="not run"):
            reader(other)
    np.savez(tmp_path / "c.npz", K=np.array(Trap(ran), dtype=object))
    with pytest.raises(KitError, match="not a readable"):
        Camera.load(tmp_path / "c.npz")
    assert not ran.exists()


def test_missing_or_misshapen_data_is_an_error(tmp_path, scene):
    with pytest.raises(KitError, match=r"hmr4d_results\.pt: no such file"):
        gvhmr.read_gvhmr(tmp_path)
    cases = {
        "no 'K_fullimg' in the file": {"K_fullimg": None}, "different lengths": {"K_fullimg": scene[2].K[:10]},
        "not finite": {"K_fullimg": scene[2].K * math.nan},
        r"expected \(frames, 3, 3\)": {"K_fullimg": torch.ones(4, 9)},
        "is empty": {"K_fullimg": torch.zeros(0, 3, 3)},
    }  # fmt: skip
    for k, (words, changed) in enumerate(cases.items()):
        folder = write_gvhmr(tmp_path / str(k), scene, **changed)
        if changed["K_fullimg"] is None:
            data = torch.load(folder / "hmr4d_results.pt", weights_only=True)
            del data["K_fullimg"]
            torch.save(data, folder / "hmr4d_results.pt")
        with pytest.raises(KitError, match=words):
            gvhmr.read_gvhmr(folder)
    (tmp_path / "0" / "hmr4d_results.pt").write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(KitError, match="not a readable PyTorch file"):
        gvhmr.read_gvhmr(tmp_path / "0")
    with pytest.raises(KitError, match=r"no hps_track_\*\.npy"):
        folder = write_tram(tmp_path / "t", scene)
        (folder / "hps" / "hps_track_0.npy").unlink()
        tram.read_tram(folder)
    with pytest.raises(KitError, match="frame numbers do not increase"):
        tram.read_tram(write_tram(tmp_path / "u", scene, [3, 2, 4]))
    other = KeypointTrack(scene[3][:20], 30.0, SIZE, "k.npz")
    with pytest.raises(KitError, match=r"k\.npz: 20 frames at 30 fps, but the tool has 40"):
        tram.read_tram(write_tram(tmp_path / "v", scene), other)
    with pytest.raises(KitError, match="or empty"):
        (tmp_path / "w.pkl").write_bytes(pickle.dumps({}))
        wham.read_wham(tmp_path / "w.pkl", SIZE)


def test_hmr2_tokens_are_read_for_the_encoder(tmp_path, scene):
    folder = write_gvhmr(tmp_path / "g", scene)
    torch.save(torch.ones(FRAMES, 1024), folder / "preprocess" / "vit_features.pt")
    assert gvhmr.read_image_features(folder).shape == (FRAMES, 1024)
    assert gvhmr.read_image_features(folder, fps=60.0).shape == (FRAMES // 2, 1024)
    torch.save(torch.ones(FRAMES, 768), folder / "preprocess" / "vit_features.pt")
    with pytest.raises(KitError, match=r"expected \(frames, 1024\)"):
        gvhmr.read_image_features(folder)


# Moving cameras


def seven(camera: Camera) -> torch.Tensor:
    return torch.cat([camera.centre, roma.rotmat_to_unitquat(camera.camera_to_world)], dim=-1)


def matrices(camera: Camera) -> np.ndarray:
    """World to camera, (T, 4, 4), as GVHMR's SimpleVO."""
    out = np.tile(np.eye(4), (FRAMES, 1, 1))
    out[:, :3, :3], out[:, :3, 3] = camera.R.numpy(), camera.t.numpy()
    return out


@pytest.mark.parametrize("kind", ["pt", "npy", "txt", "tum", "joblib", "matrices"])
def test_camera_track_is_read_from_every_format(kind, tmp_path, scene, capsys):
    camera, rows = scene[2], seven(scene[2])
    path = tmp_path / f"track.{ {'tum': 'txt', 'joblib': 'pth', 'matrices': 'pt'}.get(kind, kind) }"
    if kind in ("pt", "matrices"):
        torch.save(rows if kind == "pt" else matrices(camera), path)
    elif kind == "joblib":
        path.write_bytes(pickle.dumps(rows.numpy(), protocol=2))
    elif kind == "npy":
        np.save(path, rows.numpy())
    else:
        np.savetxt(path, rows.numpy() if kind == "txt" else np.c_[np.arange(FRAMES) / 30, rows.numpy()])
    words = [path, "--out", tmp_path / "c.npz", "--image-size", *SIZE]
    assert camera_track.main([str(w) for w in words]) == 0
    found = Camera.load(tmp_path / "c.npz")
    torch.testing.assert_close(found.R, camera.R, atol=1e-4, rtol=0)
    torch.testing.assert_close(found.centre, camera.centre, atol=1e-3, rtol=0)
    torch.testing.assert_close(found.K, camera.K, atol=1e-2, rtol=0)
    assert "40 poses at 30 fps" in capsys.readouterr().out


def test_camera_track_is_resampled_and_scaled(tmp_path, scene):
    lens = Camera.look_at((1.0, 0.0, 0.0), (0.0, 0.0, 0.0), focal=FOCAL, image_size=SIZE)
    found = camera_track.moving_camera(seven(scene[2]), lens, fps=60.0, scale=2.0)
    assert found.batch_shape == (20,)
    torch.testing.assert_close(found.centre, 2 * scene[2].centre[::2], atol=1e-3, rtol=0)
    torch.testing.assert_close(found.R, scene[2].R[::2], atol=1e-4, rtol=0)


def test_up_rotates_a_camera_track_to_z_up(tmp_path, scene, capsys):
    torch.save(seven(scene[2].in_world(Z_TO_Y)), tmp_path / "t.pt")
    words = [tmp_path / "t.pt", "--out", tmp_path / "c.npz", "--image-size", *SIZE, "--up", 0, 1, 0]
    assert camera_track.main([str(w) for w in words]) == 0
    found = Camera.load(tmp_path / "c.npz")
    torch.testing.assert_close(found.centre[:, 2], scene[2].centre[:, 2], atol=1e-4, rtol=0)
    torch.testing.assert_close(found.camera_to_world[:, 2], scene[2].camera_to_world[:, 2], atol=1e-4, rtol=0)
    assert "z-up, floor unknown" in capsys.readouterr().out


def test_tram_camera_is_a_camera_track(tmp_path, scene):
    folder = write_tram(tmp_path / "t", scene)
    assert camera_track.main([str(folder / "camera.npy"), "--out", str(tmp_path / "c.npz")]) == 0
    found = Camera.load(tmp_path / "c.npz")
    way = [c.centre.diff(dim=0).norm(dim=-1) for c in (found, scene[2])]
    torch.testing.assert_close(way[0], way[1], atol=1e-4, rtol=0)
    torch.testing.assert_close(found.centre[:, 2], scene[2].centre[:, 2], atol=1e-4, rtol=0)  # its y-up world is turned


def test_invalid_poses_are_errors(tmp_path, scene, capsys):
    rows = seven(scene[2])
    rows[3, 3:] = 0
    torch.save(rows, tmp_path / "zero.pt")
    with pytest.raises(KitError, match="row 3 has a quaternion of length 0"):
        camera_track.read_poses(tmp_path / "zero.pt")
    mirror = matrices(scene[2])
    mirror[:, 0] *= -1
    torch.save(mirror, tmp_path / "mirror.pt")
    with pytest.raises(KitError, match="does not contain a rotation"):
        camera_track.read_poses(tmp_path / "mirror.pt")
    torch.save(rows[:, :6], tmp_path / "six.pt")
    with pytest.raises(KitError, match=r"expected \(frames, 7\)"):
        camera_track.read_poses(tmp_path / "six.pt")
    (tmp_path / "words.txt").write_text("no numbers")
    with pytest.raises(KitError, match="not a readable table"):
        camera_track.read_poses(tmp_path / "words.txt")
    torch.save(seven(scene[2]), tmp_path / "good.pt")
    words = [str(tmp_path / "good.pt"), "--out", str(tmp_path / "c.npz")]
    assert run(lambda: camera_track.main(words)) == 2
    assert "--image-size W H" in capsys.readouterr().err
