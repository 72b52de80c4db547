"""`doctor` reports a good installation as such, and runs on a broken one."""

import subprocess
import sys
from pathlib import Path

import pytest
from backends import standin_python

from physhmr_kit import doctor

ROOT = Path(__file__).resolve().parents[2]


def test_a_good_installation_has_no_faults_in_packages_and_simulator():
    chapters = list(doctor.examine().values())
    assert [f.line() for f in chapters[0] if f.essential and not f.ok] == []
    mujoco = next(f for f in chapters[1] if f.name == "mujoco_cpu")
    assert mujoco.ok and "10 steps" in mujoco.note


def test_a_package_that_fails_on_import_is_reported(monkeypatch, capsys):
    real = doctor.importlib.import_module

    def broken(name, *args):
        if name in ("torch", "mujoco"):
            raise OSError("libcudart.so.13: cannot open\nshared object file")
        return real(name, *args)

    monkeypatch.setattr(doctor.importlib, "import_module", broken)
    assert doctor.main([]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert any("FAULT torch" in line and "libcudart.so.13: cannot open shared object file" in line for line in lines)
    assert any(doctor.INSTALL in line for line in lines)
    assert lines[-1].startswith("not working: ") and "torch" in lines[-1] and "mujoco_cpu" in lines[-1]


def test_the_doctor_needs_nothing_but_the_standard_library():
    # -I -S: no site-packages, so every third-party import fails
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from physhmr_kit.doctor import main; sys.exit(main([]))"
    run = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True)
    assert run.returncode == 1, run.stderr
    assert run.stderr == ""
    assert "FAULT numpy" in run.stdout and "ModuleNotFoundError" in run.stdout


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "is missing"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git-lfs pointer"),
        (b"not weights at all", "SafetensorError"),
    ],
)
def test_missing_and_damaged_weights_are_told_apart(tmp_path, monkeypatch, content, words):
    monkeypatch.setattr(doctor, "WEIGHTS", tmp_path)
    if content is not None:
        (tmp_path / "expert.safetensors").write_bytes(content)
    finding = doctor.find("weights expert", lambda: doctor.check_weights("expert"), "fix it", True)
    assert not finding.ok and finding.essential and words in finding.note and finding.remedy


def test_readable_weights_are_counted(tmp_path, monkeypatch):
    import torch
    from safetensors.torch import save_file

    monkeypatch.setattr(doctor, "WEIGHTS", tmp_path)
    save_file({"a": torch.zeros(3, 4), "b": torch.zeros(5)}, tmp_path / "expert.safetensors")
    assert doctor.check_weights("expert") == "17 parameters"


def test_an_smpl_model_is_found_where_the_variable_points(tmp_path, monkeypatch):
    monkeypatch.setenv("PHYSHMR_SMPL", str(tmp_path))
    assert not doctor.find("SMPL", doctor.check_smpl).ok
    (tmp_path / "SMPL_NEUTRAL.pkl").write_bytes(b"")
    assert doctor.check_smpl() == str(tmp_path / "SMPL_NEUTRAL.pkl")


def test_an_interpreter_without_isaac_gym_is_reported(monkeypatch):
    monkeypatch.delenv("PHYSHMR_ISAACGYM_PYTHON", raising=False)
    assert "PHYSHMR_ISAACGYM_PYTHON" in doctor.find("isaac_gym", doctor.check_isaac_gym).remedy
    monkeypatch.setenv("PHYSHMR_ISAACGYM_PYTHON", sys.executable)
    finding = doctor.find("isaac_gym", doctor.check_isaac_gym)
    assert not finding.ok and "isaacgym" in finding.note


def test_an_isaac_gym_interpreter_is_named_with_its_torch(monkeypatch, tmp_path):
    python = standin_python(tmp_path)
    monkeypatch.setenv("PHYSHMR_ISAACGYM_PYTHON", str(python))
    note = doctor.check_isaac_gym()
    assert str(python) in note and note.endswith("on CPU")


def test_a_missing_libpython_is_fixed_by_the_library_path(monkeypatch, tmp_path):
    program = tmp_path / "python3.8"
    program.write_text(
        "#!/bin/sh\necho 'ImportError: libpython3.8.so.1.0: cannot open shared object file' >&2\nexit 1\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PHYSHMR_ISAACGYM_PYTHON", str(program))
    finding = doctor.find("isaac_gym", doctor.check_isaac_gym)
    assert not finding.ok and finding.remedy.startswith("export LD_LIBRARY_PATH=")


def test_a_track_is_examined_and_drawn(tmp_path, capsys):
    import torch
    from material import filmed, rest_encoder

    from physhmr_kit.vision.build_track import track_from_keypoints
    from physhmr_kit.vision.camera import Camera
    from physhmr_kit.vision.keypoints import KeypointTrack

    given = filmed(tmp_path)
    camera = Camera.load(given["camera"])
    track = track_from_keypoints(KeypointTrack.load(given["keypoints"]), camera, rest_encoder())
    path = track.save(tmp_path / "track.npz")
    assert doctor.main(["--track", str(path), "--video", str(given["video"])]) == 0
    said = capsys.readouterr().out
    assert "1.00 m above the floor, looking 1 degrees down" in said and "no warning(s)" in said
    assert (tmp_path / "track.png").stat().st_size > 5000
    below = camera.in_world(torch.eye(3), (0.0, 0.0, -3.0))
    wrong = track_from_keypoints(KeypointTrack.load(given["keypoints"]), below, rest_encoder())
    words = ["--track", wrong.save(tmp_path / "wrong.npz"), "--picture", tmp_path / "w.png"]
    assert doctor.main(list(map(str, words))) == 1
    assert "WARNING" in capsys.readouterr().out and (tmp_path / "w.png").is_file()


def test_a_file_that_is_not_a_track_is_refused_and_its_code_does_not_run(tmp_path, capsys):
    import pickle

    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    (tmp_path / "trap.npz").write_bytes(pickle.dumps(Trap()))
    assert doctor.main(["--track", str(tmp_path / "trap.npz")]) == 2
    assert doctor.main(["--track", str(tmp_path / "none.npz")]) == 2
    assert "no such visual track" in capsys.readouterr().err and not (tmp_path / "ran").exists()
    for words in (["--track"], ["--video", "v.mp4"], ["--colour"]):
        with pytest.raises(SystemExit) as stop:
            doctor.main(words)
        assert stop.value.code == 2
