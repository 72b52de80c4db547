"""Every measure of every protocol against a second implementation in NumPy and SciPy from the published definitions."""

import math

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from physhmr_kit.metrics.protocols import PHC, PHYSHMR, WHAM, ClipFigures, Points, enters, pool

FRAMES, FEET = 130, [0, 2]
TOLERANCE = 1e-4


def arrays(frames=FRAMES, joints=24, seed=0):
    """Two walking bodies that change shape, their feet (some at rest) and camera rotations."""
    rng = np.random.default_rng(seed)
    t = np.arange(frames)[:, None, None] / 30
    path = np.concatenate([1.2 * t, 0.3 * np.sin(2 * t), 0.9 + 0 * t], axis=-1)
    target = (
        0.3 * rng.standard_normal((1, joints, 3)) + path + 0.1 * rng.standard_normal((1, joints, 3)) * np.sin(3 * t)
    )
    turn = Rotation.from_euler("z", 20, degrees=True).as_matrix()
    pred = 1.07 * target @ turn.T + 0.02 * rng.standard_normal((frames, joints, 3)) + [0.4, -0.2, 0.05]
    feet = rng.standard_normal((frames, 4, 3)) * [0.006, 0.006, 0.004]
    feet[:, 2:] += np.cumsum(rng.random((frames, 2, 3)) * 0.05, axis=0)
    other = feet + 0.003 * rng.standard_normal(feet.shape)
    camera = Rotation.from_rotvec(np.cumsum(0.02 * rng.standard_normal((frames, 3)), axis=0)).as_matrix()
    return pred, target, other, feet, camera


def umeyama(x, y):
    """Umeyama (1991), eqs. 40 to 43, point by point: scale, rotation, translation of x onto y."""
    mx, my = sum(x) / len(x), sum(y) / len(y)
    covariance, spread = np.zeros((3, 3)), 0.0
    for p, q in zip(x, y, strict=True):
        covariance += np.outer(q - my, p - mx) / len(x)
        spread += (p - mx) @ (p - mx) / len(x)
    u, d, vt = np.linalg.svd(covariance)
    s = np.array([1.0, 1.0, np.sign(np.linalg.det(u) * np.linalg.det(vt))])
    rotation = (u * s) @ vt
    scale = (d * s).sum() / spread
    return scale, rotation, my - scale * rotation @ mx


def moved(x, fit):
    scale, rotation, shift = fit
    return np.stack([scale * rotation @ p + shift for p in x])


def kabsch(x, y):
    """Rigid alignment by SciPy (Wahba's problem)."""
    rotation = Rotation.align_vectors(y - y.mean(0), x - x.mean(0))[0].as_matrix()
    return 1.0, rotation, y.mean(0) - rotation @ x.mean(0)


def l2(x, y):
    return np.mean([math.dist(p, q) for p, q in zip(x, y, strict=True)])


def chunked(pred, target, first):
    errors = []
    for start in range(0, len(pred), 100):
        x, y = pred[start : start + 100], target[start : start + 100]
        rows = slice(0, 2) if first else slice(None)
        fit = umeyama(x[rows].reshape(-1, 3), y[rows].reshape(-1, 3))
        errors += [l2(moved(a, fit), b) for a, b in zip(x, y, strict=True)]
    return 1000 * np.mean(errors)


def slides(pred, target):
    found = []
    for t in range(len(pred) - 1):
        for k in range(pred.shape[1]):
            if math.dist(target[t, k], target[t + 1, k]) < 0.01:
                found.append(1000 * math.dist(pred[t, k], pred[t + 1, k]))
    return found


def reference_wham(pred, target, feet, wanted, camera, hips):
    def centred(x, frame=None):
        x = x - (x[hips[0]] + x[hips[1]]) / 2
        return x if frame is None else x @ frame.T

    n = len(pred)
    accel = []
    for t in range(1, n - 1):
        now = [[centred(x[t + k], camera[t + k]) for k in (-1, 0, 1)] for x in (pred, target)]
        second = [a - 2 * b + c for a, b, c in now]
        accel.append(900 * l2(*second))
    path = sum(math.dist(target[t, 0], target[t + 1, 0]) for t in range(n - 1))
    root = moved(pred[:, 0], kabsch(pred[:, 0], target[:, 0]))
    third = [pred[t + 3] - 3 * pred[t + 2] + 3 * pred[t + 1] - pred[t] for t in range(n - 3)]
    jitter = [np.mean([np.linalg.norm(joint) for joint in x]) for x in third]
    return {
        "mpjpe": 1000 * np.mean([l2(centred(pred[t]), centred(target[t])) for t in range(n)]),
        "pa_mpjpe": 1000 * np.mean([l2(moved(pred[t], umeyama(pred[t], target[t])), target[t]) for t in range(n)]),
        "accel": np.mean(accel),
        "w_mpjpe": chunked(pred, target, True),
        "wa_mpjpe": chunked(pred, target, False),
        "rte": 100 * np.mean([math.dist(a, b) for a, b in zip(root, target[:, 0], strict=True)]) / path,
        "jitter": np.mean(jitter) * 27000 / 10,
        "foot_sliding": np.mean(slides(feet, wanted)),
    }  # fmt: skip


def torched(*given):
    return [torch.from_numpy(np.asarray(x, np.float64)) for x in given]


@pytest.mark.parametrize(("joints", "hips"), [(24, (1, 2)), (14, (2, 3))])
def test_wham_agrees_with_a_second_implementation(joints, hips):
    pred, target, feet, wanted, camera = arrays(joints=joints)
    p, t, f, w, c = torched(pred, target, feet, wanted, camera)
    values = WHAM.values(Points(p, f, hips=hips), Points(t, w, hips=hips), c)
    found = {name: float(v.mean()) for name, v in values.items()}
    expected = reference_wham(pred, target, feet, wanted, camera, hips)
    assert set(found) == set(expected)
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=TOLERANCE, abs=TOLERANCE), name


def test_vertex_error_is_relative_to_the_hip_joints():
    pred, target, *_ = arrays(20)
    rng = np.random.default_rng(5)
    mesh, other = target[:, :1] + rng.standard_normal((20, 50, 3)), pred[:, :1] + rng.standard_normal((20, 50, 3))
    p, t, m, o = torched(pred, target, mesh, other)
    found = WHAM.values(Points(p, surface=o), Points(t, surface=m))["pve"].mean()
    expected = np.mean([l2(other[i] - pred[i, 1:3].mean(0), mesh[i] - target[i, 1:3].mean(0)) for i in range(20)])
    assert float(found) == pytest.approx(1000 * expected, rel=TOLERANCE)


@pytest.mark.parametrize("with_mesh", [True, False])
def test_physhmr_agrees_with_a_second_implementation(with_mesh):
    pred, target, feet, wanted, _ = arrays(100, seed=2)
    rng = np.random.default_rng(3)
    mesh = target[:, :1] + 0.3 * rng.standard_normal((100, 40, 3))
    other = pred[:, :1] + 1.05 * (mesh - target[:, :1])
    p, t, f, w, m, o = torched(pred, target, feet, wanted, mesh, other)
    given = (Points(p, f, o), Points(t, w, m)) if with_mesh else (Points(p, f), Points(t, w))
    found = {name: float(v.mean()) for name, v in PHYSHMR.values(*given).items()}

    cloud = (other, mesh) if with_mesh else tuple(np.concatenate(x, 1) for x in ((pred, feet), (target, wanted)))
    fit = kabsch(*(x.reshape(-1, 3) for x in cloud))
    x = np.stack([moved(frame, fit) for frame in pred])
    root, wish = x[:, 0], target[:, 0]
    lowest = np.sort((other if with_mesh else feet)[..., 2].min(1))[:25]
    expected = {
        "pa_mpjpe": 1000 * np.mean([l2(moved(a, umeyama(a, b)), b) for a, b in zip(x, target, strict=True)]),
        "wa": 1000 * np.mean([l2(a - root[0] + wish[0], b) for a, b in zip(x, target, strict=True)]),
        "mpjpe": 1000 * np.mean([l2(a - a[0], b - b[0]) for a, b in zip(x, target, strict=True)]),
        "foot_sliding": np.mean(slides(feet, wanted)),
        "height_variance": 1e6 * np.mean((lowest - lowest.mean()) ** 2),
        "acc": 1000 * np.mean([math.dist(root[i] - 2 * root[i + 1] + root[i + 2], wish[i] - 2 * wish[i + 1] + wish[i + 2]) for i in range(98)]),
        "vel": 1000 * np.mean([math.dist(root[i + 1] - root[i], wish[i + 1] - wish[i]) for i in range(99)]),
    }  # fmt: skip
    assert set(found) == set(expected) == set(PHYSHMR.columns)
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=TOLERANCE, abs=TOLERANCE), name


def test_phc_agrees_with_a_second_implementation():
    pred, target, *_ = arrays(40, seed=4)
    found = {name: float(v.mean()) for name, v in PHC.values(*(Points(x) for x in torched(pred, target))).items()}
    n = range(1, 40)
    error = pred - target
    expected = {
        "e_g_mpjpe": 1000 * np.mean([l2(pred[i], target[i]) for i in n]),
        "e_mpjpe": 1000 * np.mean([l2(pred[i] - pred[i, 0], target[i] - target[i, 0]) for i in n]),
        "e_pa_mpjpe": 1000 * np.mean([l2(moved(pred[i], umeyama(pred[i], target[i])), target[i]) for i in n]),
        "e_acc": 1000 * np.mean([np.linalg.norm(error[i] - 2 * error[i + 1] + error[i + 2], axis=-1).mean() for i in range(1, 38)]),
        "e_vel": 1000 * np.mean([np.linalg.norm(error[i + 1] - error[i], axis=-1).mean() for i in range(1, 39)]),
    }  # fmt: skip
    assert set(found) == set(PHC.columns)
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=TOLERANCE), name


def test_wa_of_physhmr_differs_from_that_of_wham():
    pred, target, feet, wanted, _ = arrays(100)
    p, t, f, w = torched(pred, target, feet, wanted)
    ours = PHYSHMR.values(Points(p, f), Points(t, w))["wa"].mean()
    theirs = WHAM.values(Points(p), Points(t))["wa_mpjpe"].mean()
    assert abs(float(ours / theirs) - 1) > 0.05


def test_accel_is_measured_in_camera_axes():
    pred, target, _, _, camera = arrays(40)
    p, t, c = torched(pred, target, camera)
    turning, still = WHAM.values(Points(p), Points(t), c)["accel"], WHAM.values(Points(p), Points(t))["accel"]
    assert float((turning - still).abs().max()) > 0.1


def test_a_clip_without_contact_has_zero_sliding_for_physhmr_and_none_for_wham():
    flying = torch.arange(10.0)[:, None, None].expand(10, 24, 3)
    body = Points(flying, flying[:, :4])
    assert PHYSHMR.values(body, body)["foot_sliding"].tolist() == [0]
    assert len(WHAM.values(body, body)["foot_sliding"]) == 0


def figures(clip, means, frames=100, scored=None, success=True):
    scored = frames if scored is None else scored
    values = {k: torch.full((scored,), float(v)) for k, v in means.items()}
    return ClipFigures.of(clip, frames, scored, success, values)


def test_wham_pools_frames_and_physhmr_clips():
    clips = [figures("a", {"mpjpe": 10.0, "pa_mpjpe": 1.0}, 90), figures("b", {"mpjpe": 40.0, "pa_mpjpe": 1.0}, 10)]
    assert pool(clips, WHAM).means["mpjpe"] == pytest.approx(13.0)
    assert pool(clips, PHYSHMR).means["mpjpe"] == pytest.approx(25.0)
    assert math.isnan(pool(clips, WHAM).means["pve"])


def test_physhmr_excludes_clips_above_100_mm():
    clips = [
        figures("good", {"pa_mpjpe": 40.0, "mpjpe": 50.0}),
        figures("at the limit", {"pa_mpjpe": 100.0, "mpjpe": 70.0}, success=False),
        figures("bad", {"pa_mpjpe": 101.0, "mpjpe": 900.0}, frames=200, success=False),
    ]
    assert [enters(c, PHYSHMR) for c in clips] == [True, True, False]
    found = pool(clips, PHYSHMR)
    assert (found.clips, found.kept, found.coverage) == (3, 2, 50.0)
    assert found.means["mpjpe"] == 60.0 and found.success == pytest.approx(100 / 3)
    assert pool(clips, WHAM).kept == 3


def test_coverage_counts_valid_frames():
    found = pool([figures("a", {"mpjpe": 1.0}, 100, 60), figures("hidden", {}, 100, 0, success=False)], WHAM)
    assert (found.coverage, found.kept, found.clips) == (30.0, 1, 2)


def test_headings_skip_empty_columns_and_unreliable_worlds():
    shown = WHAM.headings(world=False, found={"mpjpe", "pa_mpjpe", "wa_mpjpe", "accel"})
    assert list(shown) == ["pa_mpjpe", "mpjpe", "accel"]
    assert "wa_mpjpe" in WHAM.headings(world=True, found={"wa_mpjpe"})
