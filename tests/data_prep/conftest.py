"""A toy ASF/AMC pair on CMU's bones, and the folder of real captures where there is one."""

import os
from pathlib import Path

import numpy as np
import pytest

CMU = Path(os.environ.get("PHYSHMR_DATA", Path(__file__).resolve().parents[3] / "shared" / "data")) / "cmu"

# bone: (parent, direction, length, axis, dofs), legs splayed and arms out as in CMU's files, round numbers
_SIDED = {
    "hipjoint": ("root", (0.7, -0.7, 0.0), 2.5, (0, 0, 0), ""),
    "femur": ("hipjoint", (0.342, -0.940, 0.0), 7.5, (0, 0, 20), "rx ry rz"),
    "tibia": ("femur", (0.342, -0.940, 0.0), 7.3, (0, 0, 20), "rx"),
    "foot": ("tibia", (0.09, -0.25, 0.96), 2.2, (-90, 0, 20), "rx rz"),
    "toes": ("foot", (0.0, 0.0, 1.0), 1.1, (-90, 0, 20), "rx"),
    "clavicle": ("thorax", (0.97, 0.24, 0.0), 3.6, (0, 0, 0), "ry rz"),
    "humerus": ("clavicle", (1.0, 0.0, 0.0), 4.9, (180, -30, -90), "rx ry rz"),
    "radius": ("humerus", (1.0, 0.0, 0.0), 3.3, (180, -30, -90), "rx"),
    "wrist": ("radius", (1.0, 0.0, 0.0), 1.7, (0, 90, 90), "ry"),
    "hand": ("wrist", (1.0, 0.0, 0.0), 0.7, (0, 90, 90), "rx rz"),
    "fingers": ("hand", (1.0, 0.0, 0.0), 0.5, (0, 90, 90), "rx"),
}
_MIDDLE = {
    "lowerback": ("root", 2.0), "upperback": ("lowerback", 2.0), "thorax": ("upperback", 2.0),
    "lowerneck": ("thorax", 1.6), "upperneck": ("lowerneck", 1.6), "head": ("upperneck", 1.6),
}  # fmt: skip


def _bones():
    for name, (parent, length) in _MIDDLE.items():
        yield name, parent, (0.0, 1.0, 0.0), length, (0, 0, 0), "rx ry rz"
    for side, sign in (("l", 1), ("r", -1)):
        for name, (parent, (x, y, z), length, (a, b, c), dofs) in _SIDED.items():
            above = parent if parent in ("root", "thorax") else side + parent
            yield side + name, above, (sign * x, y, z), length, (a, sign * b, sign * c), dofs


def _asf() -> str:
    lines = [":version 1.10", ":name toy", ":units", "  mass 1.0", "  length 0.45", "  angle deg", ":root",
             "  order TX TY TZ RX RY RZ", "  axis XYZ", "  position 0 0 0", "  orientation 0 0 0", ":bonedata"]  # fmt: skip
    for name, _, direction, length, axis, dofs in _bones():
        lines += ["  begin", f"    name {name}", f"    direction {direction[0]} {direction[1]} {direction[2]}"]
        lines += [f"    length {length}", f"    axis {axis[0]} {axis[1]} {axis[2]}  XYZ"]
        # limits of zero: only the dof line says what the .amc holds
        lines += (
            [f"    dof {dofs}", "    limits (0.0 0.0)", *["           (0.0 0.0)"] * dofs.count(" ")] if dofs else []
        )
        lines += ["  end"]
    lines += [":hierarchy", "  begin"]
    lines += [f"    {parent} {name}" for name, parent, *_ in _bones()]
    return "\n".join([*lines, "  end"]) + "\n"


def toy_amc(frames: int = 40, **angles) -> str:
    """An .amc: bone=array of (frames, dofs) degrees; root=(frames, 6). Whatever is not given stays at rest."""
    lines = ["#!OML:ASF toy", ":FULLY-SPECIFIED", ":DEGREES"]
    widths = {"root": 6, **{name: len(dofs.split()) for name, *_, dofs in _bones() if dofs}}
    values = {name: np.zeros((frames, width)) for name, width in widths.items()}
    values["root"][:, 1] = 16.5
    # legs straight down: undo the splay of the rest pose about the femur's own z axis
    values["lfemur"][:, 2], values["rfemur"][:, 2] = -20.0, 20.0
    values.update({name: np.asarray(given, float) for name, given in angles.items()})
    for frame in range(frames):
        lines.append(str(frame + 1))
        lines += [name + " " + " ".join(f"{v:.6g}" for v in rows[frame]) for name, rows in values.items()]
    return "\n".join(lines) + "\n"


@pytest.fixture
def toy(tmp_path):
    """A function that writes toy.asf and toy_01.amc and returns the path of the latter; see `toy_amc`."""

    def write(frames: int = 40, text: str | None = None, **angles):
        (tmp_path / "toy.asf").write_text(_asf())
        path = tmp_path / "toy_01.amc"
        path.write_text(toy_amc(frames, **angles) if text is None else text)
        return path

    return write


@pytest.fixture(scope="session")
def cmu():
    """A function that returns the path of a shared CMU capture, e.g. 'bvh/05_10.bvh'."""

    def find(name: str) -> Path:
        if not (CMU / name).is_file():
            pytest.skip(f"{CMU / name} is absent; set PHYSHMR_DATA")
        return CMU / name

    return find
