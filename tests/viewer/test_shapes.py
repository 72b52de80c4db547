"""Drawn shapes are MuJoCo's collision geoms, in colours that everyone can tell apart."""

import mujoco
import numpy as np

from physhmr_kit.body.humanoid import Humanoid
from physhmr_kit.body.skeleton import BODY_NAMES
from physhmr_kit.viewer.palette import DETECTED, REFERENCE, SIMULATED, UNDETECTED, by_confidence
from physhmr_kit.viewer.shapes import humanoid_shapes

KINDS = {
    "box": mujoco.mjtGeom.mjGEOM_BOX,
    "capsule": mujoco.mjtGeom.mjGEOM_CAPSULE,
    "sphere": mujoco.mjtGeom.mjGEOM_SPHERE,
}


def test_shapes_are_mujocos_geoms():
    model = mujoco.MjModel.from_xml_string(Humanoid.mean().mjcf())
    for name, shape in zip(BODY_NAMES, humanoid_shapes(), strict=True):
        geom = model.geom(name)
        assert geom.type[0] == KINDS[shape.kind]
        if shape.kind == "capsule":
            centre, half = (shape.centre + shape.end) / 2, np.linalg.norm(shape.end - shape.centre) / 2
            size = np.array([shape.size[0], half])
        else:
            centre, size = shape.centre, shape.size
        assert np.allclose(geom.pos, centre, atol=1e-6) and np.allclose(geom.size[: len(size)], size, atol=1e-6)


def luminance(colour) -> float:
    linear = (np.array(colour) / 255) ** 2.2
    return float(linear @ [0.2126, 0.7152, 0.0722])


def test_the_two_bodies_differ_in_brightness_too():
    bright, dark = sorted((luminance(REFERENCE), luminance(SIMULATED)), reverse=True)
    assert (bright + 0.05) / (dark + 0.05) > 2  # a grey print still tells them apart


def test_low_confidence_fades_the_colour():
    colours = by_confidence(np.array([0.0, 0.5, 1.0, np.nan]))
    assert colours.dtype == np.uint8 and colours.shape == (4, 3)
    assert colours[0].tolist() == list(UNDETECTED) and colours[2].tolist() == list(DETECTED)
    assert luminance(colours[0]) > luminance(colours[1]) > luminance(colours[2])
    assert (colours[3] == colours[0]).all()
