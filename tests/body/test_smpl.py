"""The SMPL body model, tested on a tiny synthetic one because SMPL may not be redistributed."""

import pickle

import numpy as np
import pytest
import torch
from scipy.sparse import csc_matrix

from physhmr_kit.body.safe_pickle import load_pickle
from physhmr_kit.body.skeleton import PARENTS, mean_offsets, rest_joints
from physhmr_kit.body.smpl import load_body_model, shaped_offsets
from physhmr_kit.utils.errors import KitError

_IDS = {"nose": 0, "reye": 1, "leye": 2, "rear": 3, "lear": 4, **{k: 5 for k in (
    "LBigToe", "LSmallToe", "LHeel", "RBigToe", "RSmallToe", "RHeel", "lthumb", "lindex", "lmiddle", "lring", "lpinky",
    "rthumb", "rindex", "rmiddle", "rring", "rpinky")}}  # fmt: skip


def tiny_model() -> dict:
    """A body of 24 vertices that are its joints; the first beta makes it taller."""
    joints = rest_joints().numpy().astype(np.float64)
    tall = np.zeros((24, 3, 10))
    tall[:, :, 0] = 0.1 * joints
    return {
        "v_template": joints, "shapedirs": tall, "posedirs": np.zeros((24, 3, 207)), "J_regressor": np.eye(24),
        "kintree_table": np.array([[2**32 - 1, *PARENTS[1:]], list(range(24))], dtype=np.int64), "weights": np.eye(24),
        "f": np.array([[0, 1, 2]]),
    }  # fmt: skip


def test_zero_betas_give_the_template_skeleton(tmp_path):
    np.savez(tmp_path / "tiny.npz", **tiny_model())
    offsets = shaped_offsets(load_body_model(tmp_path / "tiny.npz", _IDS), torch.zeros(10))
    assert torch.allclose(offsets, mean_offsets(), atol=1e-5)


def test_a_beta_scales_the_skeleton(tmp_path):
    with open(tmp_path / "tiny.pkl", "wb") as f:
        pickle.dump(tiny_model(), f)
    betas = torch.tensor([2.0] + [0.0] * 9)
    offsets = shaped_offsets(load_body_model(tmp_path / "tiny.pkl", _IDS), betas)
    assert torch.allclose(offsets, 1.2 * mean_offsets(), atol=1e-5)


def test_a_pickle_with_code_is_refused_and_not_executed(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "it_ran"), "w"))

    with open(tmp_path / "bomb.pkl", "wb") as f:
        pickle.dump({"v_template": Bomb()}, f)
    with pytest.raises(KitError, match=r"bomb\.pkl"):
        load_pickle(tmp_path / "bomb.pkl")
    assert not (tmp_path / "it_ran").exists()


def test_a_sparse_regressor_becomes_a_dense_array(tmp_path):
    with open(tmp_path / "sparse.pkl", "wb") as f:
        pickle.dump({"J_regressor": csc_matrix(np.eye(3))}, f, protocol=2)
    assert np.array_equal(np.asarray(load_pickle(tmp_path / "sparse.pkl")["J_regressor"]), np.eye(3))


@pytest.mark.parametrize("content", [b"", b"no pickle at all", b"\x80\x04."])
def test_a_damaged_model_file_is_reported(tmp_path, content):
    path = tmp_path / "broken.pkl"
    path.write_bytes(content)
    with pytest.raises(KitError, match=r"broken\.pkl"):
        load_body_model(path)


def test_a_missing_key_is_named(tmp_path):
    model = tiny_model()
    del model["weights"]
    np.savez(tmp_path / "part.npz", **model)
    with pytest.raises(KitError, match="weights"):
        load_body_model(tmp_path / "part.npz")
