"""The encoder: invariances, long tracks, image features, files."""

import math

import pytest
import roma
import torch

from physhmr_kit.body.skeleton import MIRROR, STANDING, mean_offsets, standing_height
from physhmr_kit.motion.kinematics import forward_kinematics, yaw_quaternion
from physhmr_kit.utils.errors import KitError
from physhmr_kit.vision.camera import Camera
from physhmr_kit.vision.encoder import FEATURE_DIM, WINDOW, VisionEncoder, averaged, mirrored_estimate
from physhmr_kit.vision.filming import joint_positions
from physhmr_kit.vision.keypoints import COCO_MIRROR, coco_from_bodies
from physhmr_kit.vision.person_view import NUM_INPUTS, mirrored_tokens, person_view
from physhmr_kit.vision.pretrained import load_encoder, save_encoder
from physhmr_kit.vision.synthetic import KeypointNoise, detect


def small_encoder() -> VisionEncoder:
    torch.manual_seed(0)
    encoder = VisionEncoder(width=32, layers=2, heads=2).eval()
    with torch.no_grad():
        encoder.heads.weight.normal_(std=0.1)  # make the outputs depend on the input
    return encoder


def a_swaying_body(frames=40):
    t = torch.arange(frames) / 30
    rot = torch.tensor([0.0, 0.0, 0.0, 1.0]).repeat(frames, 24, 1)
    rot[:, 0] = torch.tensor(STANDING)
    for joint in (16, 18, 4):
        rot[:, joint] = roma.rotvec_to_unitquat(
            torch.stack([0.5 * (3 * t + joint).sin(), 0 * t, 0.3 * t.cos()], dim=-1)
        )
    root = torch.stack([0.3 * t, 0 * t, 0 * t + standing_height()], dim=-1)
    return forward_kinematics(root, rot, mean_offsets())


def seen_by(camera, body):
    return detect(coco_from_bodies(*body), camera, KeypointNoise.none(), torch.Generator())


def turned(body, yaw, shift=(0.0, 0.0, 0.0)):
    pos, rot = body
    turn = yaw_quaternion(torch.tensor(yaw)).expand(*rot.shape)
    return roma.quat_action(turn[..., :4], pos) + torch.tensor(shift), roma.quat_product(turn, rot)


def test_the_network_is_small():
    assert sum(p.numel() for p in VisionEncoder().parameters()) < 3_000_000


def test_an_encoding_has_the_documented_shapes_and_unit_rotations():
    camera = Camera.look_at((4.0, 0.0, 1.2), (0.0, 0.0, 1.0))
    out = small_encoder().encode(seen_by(camera, a_swaying_body()), camera)
    assert out.feature.shape == (40, FEATURE_DIM) and out.joint_rot.shape == (40, 24, 4)
    assert out.contact.shape == (40, 4) and out.uncertainty.shape == (40, 24) and (out.uncertainty > 0).all()
    torch.testing.assert_close(out.joint_rot.norm(dim=-1), torch.ones(40, 24))


def test_an_untrained_encoder_predicts_the_upright_rest_pose():
    torch.manual_seed(0)
    encoder = VisionEncoder()
    with torch.no_grad():
        encoder.heads.weight.zero_()
    rotmat = encoder.decode(torch.zeros(1, FEATURE_DIM))["rotmat"]
    torch.testing.assert_close(rotmat[0, 0], roma.unitquat_to_rotmat(torch.tensor(STANDING)))
    torch.testing.assert_close(rotmat[0, 1:], torch.eye(3).expand(23, 3, 3))


def test_encoding_is_equivariant_to_moving_the_scene():
    encoder, body = small_encoder(), a_swaying_body()
    camera = Camera.look_at((4.0, 0.5, 1.6), (0.2, 0.0, 1.0))
    yaw, shift = 1.3, torch.tensor([2.0, -1.0, 0.0])
    turn = yaw_quaternion(torch.tensor(yaw))
    there = Camera.look_at(
        roma.quat_action(turn, camera.centre) + shift, roma.quat_action(turn, torch.tensor([0.2, 0, 1.0])) + shift
    )
    here = encoder.encode(seen_by(camera, body), camera)
    moved = encoder.encode(seen_by(there, turned(body, yaw, shift.tolist())), there)
    torch.testing.assert_close(moved.feature, here.feature, atol=2e-3, rtol=0)
    expected = roma.quat_product(turn.expand(40, 4), here.joint_rot[:, 0])
    assert roma.unitquat_geodesic_distance(moved.joint_rot[:, 0], expected).abs().max() < 5e-3


def test_tokens_do_not_depend_on_lens_focal_length_and_roll():
    body = a_swaying_body()
    plain = Camera.look_at((4.0, 0.5, 1.6), (0.2, 0.0, 1.0), focal=1500.0)
    other = Camera.look_at((4.0, 0.5, 1.6), (0.1, 0.1, 1.1), focal=900.0, image_size=(1080, 1920), roll=0.4)
    other = Camera(other.K, other.R, other.t, torch.tensor([-0.05, 0.1, 0.0, 0.001, 0.0]), other.image_size)
    a, b = person_view(seen_by(plain, body), plain), person_view(seen_by(other, body), other)
    assert a.tokens.shape == (40, NUM_INPUTS)
    torch.testing.assert_close(a.tokens, b.tokens, atol=5e-3, rtol=0)


def test_tokens_do_not_depend_on_the_position_of_missing_keypoints():
    camera = Camera.look_at((4.0, 0.0, 1.2), (0.0, 0.0, 1.0))
    keypoints = seen_by(camera, a_swaying_body())
    keypoints[:, 9, 2] = 0.0
    wild = keypoints.clone()
    wild[:, 9, :2] += 5.0
    a, b = person_view(keypoints, camera).tokens, person_view(wild, camera).tokens
    torch.testing.assert_close(a, b, atol=2e-3, rtol=0)


def test_tokens_without_detections_are_finite():
    camera = Camera.look_at((4.0, 0.0, 1.2), (0.0, 0.0, 1.0))
    assert torch.isfinite(person_view(torch.zeros(5, 17, 3), camera).tokens).all()


@pytest.mark.parametrize("frames", [WINDOW - 1, WINDOW, WINDOW + 1, 3 * WINDOW + 7])
def test_windows_of_a_long_track_agree_with_a_single_window(frames):
    encoder = small_encoder()
    tokens = torch.randn(1, NUM_INPUTS).expand(frames, NUM_INPUTS)  # constant, so that all windows agree
    feature = encoder.context_of_track(tokens)
    torch.testing.assert_close(feature, encoder.context(tokens[None, :10])[0, :1].expand(frames, -1), atol=1e-4, rtol=0)


def test_attention_uses_time_order_and_future_frames():
    encoder = small_encoder()
    tokens = torch.randn(1, 20, NUM_INPUTS)
    together = encoder.context(tokens)
    assert not torch.allclose(together, encoder.context(tokens.flip(1)).flip(1), atol=1e-3)  # direction of time matters
    assert not torch.allclose(together[:, :10], encoder.context(tokens[:, :10]), atol=1e-3)  # and the future is used


def test_image_features_are_optional_per_frame(tmp_path):
    torch.manual_seed(0)
    encoder = load_encoder(save_encoder(small_encoder(), tmp_path / "e.safetensors"), image_dim=8)
    camera = Camera.look_at((4.0, 0.0, 1.2), (0.0, 0.0, 1.0))
    keypoints, image = seen_by(camera, a_swaying_body()), torch.randn(40, 8)
    alone = encoder.encode(keypoints, camera).feature
    assert torch.equal(encoder.encode(keypoints, camera, image).feature, alone)  # a new input starts at zero
    torch.nn.init.normal_(encoder.image.weight)
    assert not torch.allclose(encoder.encode(keypoints, camera, image).feature, alone, atol=0.1)
    missing = torch.full((40, 8), torch.nan)
    assert torch.equal(encoder.encode(keypoints, camera, missing).feature, alone)
    with pytest.raises(KitError, match=r"image features \(40, 9\): the encoder expects \(40, 8\)"):
        encoder.encode(keypoints, camera, torch.zeros(40, 9))
    again = load_encoder(save_encoder(encoder, tmp_path / "with_image.safetensors"))
    assert again.hparams["image_dim"] == 8


def test_tokens_say_whether_the_camera_tilt_is_a_guess():
    camera = Camera.look_at((4.0, 0.0, 1.2), (0.0, 0.0, 1.0))
    keypoints = seen_by(camera, a_swaying_body(6))
    known, guessed = person_view(keypoints, camera).tokens, person_view(keypoints, camera, True).tokens
    assert torch.equal(known[:, :-1], guessed[:, :-1])
    assert (known[:, -1] == 0).all() and (guessed[:, -1] == 1).all()
    several = person_view(keypoints.expand(3, 6, 17, 3), camera, torch.tensor([True, False, True])).tokens
    assert several[:, 0, -1].tolist() == [1, 0, 1]


def test_saved_weights_load_frozen_in_half_precision(tmp_path):
    encoder = small_encoder()
    path = save_encoder(encoder, tmp_path / "e.safetensors", steps="7")
    again = load_encoder(path)
    tokens = torch.randn(1, 30, NUM_INPUTS)
    torch.testing.assert_close(again.context(tokens), encoder.context(tokens), atol=0.02, rtol=0)  # half precision
    assert not any(p.requires_grad for p in again.parameters()) and not again.training
    assert [p.name for p in tmp_path.iterdir()] == ["e.safetensors"]


def test_invalid_weight_files_are_reported(tmp_path):
    from safetensors.torch import save_file

    with pytest.raises(KitError, match="no such weights"):
        load_encoder(tmp_path / "none.safetensors")
    (tmp_path / "text.safetensors").write_text("not weights at all")
    with pytest.raises(KitError, match=r"text\.safetensors: not a readable"):
        load_encoder(tmp_path / "text.safetensors")
    save_file({"a": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(KitError, match="not those of a vision encoder"):
        load_encoder(tmp_path / "other.safetensors")
    path = save_encoder(small_encoder(), tmp_path / "cut.safetensors")
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(KitError, match="not a readable"):
        load_encoder(path)


def test_azimuth_is_the_viewing_direction():
    camera = Camera.look_at((0.0, -4.0, 1.2), (0.0, 0.0, 1.0))
    azimuth = person_view(seen_by(camera, a_swaying_body(1)), camera).azimuth
    assert abs(float(azimuth) - math.pi / 2) < 0.05


def orbiting(sign: float) -> Camera:
    """A camera that orbits the origin towards the side of `sign`."""
    angle = sign * (0.3 + 0.02 * torch.arange(40))
    centre = torch.stack([4 * angle.cos(), 4 * angle.sin(), torch.full((40,), 1.5)], dim=-1)
    return Camera.look_at(centre, torch.tensor([0.1, 0.0, 1.0]).expand(40, 3))


def test_mirrored_tokens_are_those_of_the_mirrored_scene():
    root = torch.stack([0.3 * torch.arange(40) / 30, 0.2 * (torch.arange(40) / 9).sin(), torch.ones(40)], dim=-1)
    pos, rot = a_swaying_body()
    pos = pos + (root - pos[:, 0]).unsqueeze(1)
    points = coco_from_bodies(pos, rot)
    image = points[:, COCO_MIRROR] * torch.tensor([1.0, -1.0, 1.0])

    def tokens(points, camera):
        confidence = torch.linspace(0.3, 1.0, 17).expand(40, 17)
        confidence = confidence if points is not image else confidence[:, COCO_MIRROR]
        return person_view(torch.cat([camera.project(points), confidence.unsqueeze(-1)], dim=-1), camera).tokens

    here, there = tokens(points, orbiting(1.0)), tokens(image, orbiting(-1.0))
    assert (here - there).abs().max() > 0.1
    torch.testing.assert_close(mirrored_tokens(here), there, atol=5e-3, rtol=0)


def an_estimate(seed: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    rotmat = roma.unitquat_to_rotmat(torch.nn.functional.normalize(torch.randn(5, 24, 4, generator=generator), dim=-1))
    up = torch.nn.functional.normalize(torch.randn(5, 3, generator=generator), dim=-1)
    contact, uncertainty = torch.randn(5, 4, generator=generator), torch.rand(5, 24, generator=generator)
    return {"rotmat": rotmat, "contact": contact, "up": up, "uncertainty": uncertainty}


def test_mirroring_an_estimate_swaps_left_and_right():
    out = an_estimate(0)
    image = mirrored_estimate(out)
    there = joint_positions(image["rotmat"])
    torch.testing.assert_close(
        there, joint_positions(out["rotmat"])[:, MIRROR] * torch.tensor([1.0, -1.0, 1.0]), atol=1e-4, rtol=0
    )
    assert torch.equal(image["uncertainty"], out["uncertainty"][:, list(MIRROR)])
    assert torch.equal(image["contact"], out["contact"][:, [1, 0, 3, 2]])
    for key, value in mirrored_estimate(image).items():
        torch.testing.assert_close(value, out[key], atol=1e-4, rtol=0)


def test_averaging_estimates():
    a = an_estimate(0)
    turned = a["rotmat"] @ roma.rotvec_to_rotmat(torch.tensor([0.4, 0.0, 0.0]))
    b = a | {"rotmat": turned, "contact": a["contact"] + 2}
    mean = averaged(a, b)
    for other in (a, b):
        angle = roma.rotmat_geodesic_distance(mean["rotmat"], other["rotmat"])
        torch.testing.assert_close(angle, torch.full((5, 24), 0.2), atol=2e-3, rtol=0)
    torch.testing.assert_close(mean["contact"], a["contact"] + 1)
    torch.testing.assert_close(mean["up"], a["up"])


def test_encoding_is_equivariant_to_mirroring():
    encoder, camera = small_encoder(), Camera.look_at((4.0, 0.0, 1.2), (0.0, 0.0, 1.0))
    keypoints = seen_by(camera, a_swaying_body())
    image = keypoints[:, COCO_MIRROR].clone()
    image[..., 0] = 2 * camera.K[0, 2] - image[..., 0]
    here, there = encoder.encode(keypoints, camera), encoder.encode(image, camera)
    torch.testing.assert_close(there.contact, here.contact[:, [1, 0, 3, 2]], atol=1e-3, rtol=0)
    torch.testing.assert_close(there.uncertainty, here.uncertainty[:, list(MIRROR)], atol=1e-3, rtol=0)
