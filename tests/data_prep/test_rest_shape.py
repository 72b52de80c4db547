"""Size and pelvis of a person are read from a body model; files of another model are refused."""

import pickle

import numpy as np
import pytest
import torch

from data_prep.retargeting.rest_shape import mean_shape, read_rest_shape
from physhmr_kit.utils.errors import KitError


def body_model(path, joints=24, **changed):
    """A made-up model: one vertex for each joint; the first shape direction makes everything larger about the origin."""
    generator = np.random.default_rng(0)
    template = generator.normal(size=(joints, 3))
    directions = np.zeros((joints, 3, 10))
    directions[..., 0] = 0.1 * template
    data = {"v_template": template, "shapedirs": directions, "J_regressor": np.eye(joints)} | changed
    data = {k: v for k, v in data.items() if v is not None}
    if path.suffix == ".npz":
        np.savez(path, **data)
    else:
        path.write_bytes(pickle.dumps(data, protocol=2))
    return path, template


@pytest.mark.parametrize("suffix", [".npz", ".pkl"])
@pytest.mark.parametrize(("joints", "kind", "kept"), [(24, "SMPL", 24), (55, "SMPL-X", 22)])
def test_a_taller_person_has_a_larger_scale(tmp_path, suffix, joints, kind, kept):
    path, template = body_model(tmp_path / f"model{suffix}", joints)
    shape = read_rest_shape(path, torch.tensor([2.0] + [0.0] * 9), kind)
    assert shape.scale == pytest.approx(1.2, abs=1e-6) and shape.known
    torch.testing.assert_close(shape.joints, torch.from_numpy(1.2 * template[:kept]).float(), atol=1e-6, rtol=0)
    torch.testing.assert_close(shape.pelvis, shape.joints[0])
    assert read_rest_shape(path, torch.zeros(10), kind).scale == 1.0


def test_without_a_model_the_mean_shape_is_used():
    smpl, smplx = mean_shape("SMPL"), mean_shape("SMPL-X")
    assert smpl.scale == smplx.scale == 1.0 and not smpl.known
    assert (smpl.pelvis - smplx.pelvis).norm() > 0.1  # the two models put their origin elsewhere


def test_other_models_and_damaged_files_are_refused(tmp_path):
    betas = torch.zeros(10)
    path, _ = body_model(tmp_path / "smpl.npz")
    with pytest.raises(KitError, match="a SMPL model, but these betas are of SMPL-X"):
        read_rest_shape(path, betas, "SMPL-X")
    with pytest.raises(KitError, match="no 'shapedirs' in the file"):
        read_rest_shape(body_model(tmp_path / "half.npz", shapedirs=None)[0], betas, "SMPL")
    with pytest.raises(KitError, match="do not fit together"):
        read_rest_shape(body_model(tmp_path / "odd.npz", J_regressor=np.eye(3))[0], betas, "SMPL")
    with pytest.raises(KitError, match="no such body model"):
        read_rest_shape(tmp_path / "none.pkl", betas, "SMPL")
