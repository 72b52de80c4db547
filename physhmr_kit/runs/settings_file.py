"""Settings on the command line and in `config.yaml`: short names, lists, names of older versions, provenance."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
from collections import Counter
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

import yaml

from physhmr_kit import __version__
from physhmr_kit.stages.settings import to_plain
from physhmr_kit.utils.errors import KitError

PROVENANCE = ("stage", "command", "commit", "versions")
"""Keys of config.yaml that are not settings."""

_PACKAGES = ("torch", "pytorch-lightning", "mujoco", "gymnasium", "numpy")

_RENAMED = {
    "clips": "data.clips", "held_out": "data.held_out", "fold": "data.fold", "views": "cameras.views",
    "filming": "cameras.filming", "encoder": "cameras.encoder", "num_envs": "sim.num_envs", "simulator": "sim.simulator",
    "substeps": "sim.substeps", "device": "trainer.accelerator", "evaluate_every": "validate_every",
    "hidden": "policy.hidden", "std": "policy.std", "init": "policy.init", "control": "policy.control",
    "preview": "policy.preview", "student": "policy.init", "kl": "ppo.desired_kl", "kl_end": "ppo.final_desired_kl",
    "lam": "ppo.gae_lambda", "clip": "ppo.clip_range", "bounds": "ppo.bounds_coef", "average": "ppo.ema_decay",
    "matmul": "ppo.matmul_precision", "critic_rate": "ppo.critic_learning_rate", "imitation": "ppo.imitation_coef",
    "gamma": "ppo.gamma", "horizon": "ppo.horizon or optim.horizon", "minibatch": "ppo.minibatch_size or optim.minibatch_size",
    "learning_rate": "ppo.learning_rate or optim.learning_rate", "max_grad_norm": "ppo.max_grad_norm or optim.max_grad_norm",
    "epochs": "ppo.epochs", "updates": "optim.updates", "memory": "optim.buffer_rollouts",
    "warmup": "ppo.critic_warmup or optim.warmup_iterations", "style": "prior.weight", "style_window": "prior.window",
    "style_hidden": "prior.discriminator_hidden", "style_rate": "prior.discriminator_learning_rate",
    "termination_distance": "env.termination_distance", "episode_length": "env.episode_length",
    "hard_share": "env.failure_weighted_prob", "moment_share": "env.pre_failure_prob",
    "first_share": "env.first_frame_prob", "push_force": "env.push_force", "push_every": "env.push_interval",
    "reward": "env.reward", "frames_per_step": "data.frames_per_step", "windows": "data.windows",
    "variety.withheld": "data.augmentation.miscalibrated", "variety": "data.augmentation",
    "data.variety.withheld": "data.augmentation.miscalibrated", "data.variety": "data.augmentation",
    "prior.hidden": "prior.discriminator_hidden", "prior.learning_rate": "prior.discriminator_learning_rate",
    "validation_windows": "data.validation_windows", "width": "network.width",
    "layers": "network.layers", "heads": "network.heads", "weight_decay": "optim.weight_decay",
}  # fmt: skip
"""Names of settings in older versions, most of them without groups -> current names."""

_REMOVED = {
    "curriculum": "episodes end at env.termination_distance from the first iteration on",
    "termination_start": "episodes end at env.termination_distance from the first iteration on",
    "kind": "choose clips by data.clips and data.leave_out", "kinds": "choose clips by data.clips and data.leave_out",
    "mirror": "only the encoder is trained on mirrored motion: data.augmentation.mirror", "symmetry": "",
    "persistence": "policy.std is the only setting of the action noise", "retry_share": "env.pre_failure_prob is the closest",
    "env.assist": "only the adaptation to one video has an assistive force, with a schedule of its own",
}  # fmt: skip
"""Settings that were removed -> what to use instead."""


def leaves(kind: type, prefix: str = "") -> dict[str, Any]:
    """Dotted name -> type of every setting of a dataclass, nested ones included."""
    found: dict[str, Any] = {}
    hints = get_type_hints(kind)
    for f in fields(kind):
        name, hint = prefix + f.name, hints[f.name]
        found |= leaves(hint, name + ".") if isinstance(hint, type) and is_dataclass(hint) else {name: hint}
    return found


def full_names(names: Sequence[str]) -> dict[str, str]:
    """Every accepted spelling of a setting -> its dotted name: in full, or any unique ending."""
    endings = [(".".join(name.split(".")[i:]), name) for name in names for i in range(name.count(".") + 1)]
    shared = Counter(ending for ending, _ in endings)
    return {ending: name for ending, name in endings if shared[ending] == 1 or ending == name}


def expand(argv: Sequence[str], settings: dict[str, Any], options: Sequence[str]) -> list[str]:
    """The command line as the parser expects it: full names, underscores, and each list as one word.

    `--clip-range .1 --clips demo walk.bvh` becomes `--ppo.clip_range .1 --data.clips=["demo", "walk.bvh"]`.

    Args:
        argv: what was typed.
        settings: dotted name -> type, from `leaves`.
        options: options that are not settings; they take precedence.
    """
    names, result, rest = full_names(list(settings)), [], list(argv)
    while rest:
        word = rest.pop(0)
        option, equals, value = word.partition("=")
        if not option.startswith("--"):
            result.append(word)
            continue
        typed = option[2:].replace("-", "_")
        name = typed if typed in options else names.get(typed, typed)
        hint = str(settings.get(name, ""))
        if settings.get(name) is bool and not equals and rest[:1] not in (["true"], ["false"]):
            result.append(f"--{name}=true")  # a switch
            continue
        if not hint.startswith("tuple["):
            result.append(f"--{name}{equals}{value}")
            continue
        values = [value] if equals else []
        while rest and not rest[0].startswith("--"):
            values.append(rest.pop(0))
        if values and values[0].startswith("["):
            result.append(f"--{name}={' '.join(values)}")
        elif values:
            result.append(f"--{name}={json.dumps(values) if 'str' in hint else '[' + ', '.join(values) + ']'}")
        else:
            result.append(f"--{name}")  # the parser reports the missing value
    return result


def words_of_file(path: Path, settings: dict[str, Any], options: Sequence[str]) -> list[str]:
    """The settings in a YAML file as command-line arguments.

    Raises:
        KitError: no such file, not YAML, or an unknown setting; the message names the successor of an old one.
    """
    if not path.is_file():
        raise KitError(f"{path}: no such config file")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as fault:
        raise KitError(f"{path}: not a YAML file ({fault})") from fault
    if not isinstance(content, dict):
        raise KitError(f"{path}: holds no settings")
    names = full_names(list(settings))
    words = []
    for key, value in _flat({k: v for k, v in content.items() if k not in PROVENANCE}).items():
        if key in options or key in settings:
            name = key
        elif (former := _former(key)) is not None:
            raise KitError(f"{path}: {former}")
        elif key in names:
            name = names[key]
        else:
            raise KitError(f"{path}: there is no setting '{key}'")
        words.append(_word(name, value))
    return words


def words_of(settings: Any, defaults: Any) -> list[str]:
    """The settings of a dataclass that differ from these defaults, as command-line arguments."""
    unchanged = _flat(to_plain(defaults))
    return [_word(name, value) for name, value in _flat(to_plain(settings)).items() if value != unchanged[name]]


def _word(name: str, value: Any) -> str:
    return f"--{name}={value if isinstance(value, str) else json.dumps(value)}"


def _former(key: str) -> str | None:
    """How to replace a setting of an older version, or its group; None for any other name."""
    parts = key.split(".")
    for name in (".".join(parts[:n]) for n in range(len(parts), 0, -1)):
        if name in _RENAMED:
            return f"'{name}' is now '{_RENAMED[name]}'"
        if name in _REMOVED:
            return f"'{name}' was removed; delete the line" + (f" ({_REMOVED[name]})" if _REMOVED[name] else "")
    return None


def _flat(content: dict, prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted name."""
    result: dict[str, Any] = {}
    for key, value in content.items():
        result |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return result


def provenance(stage: str, command: str) -> dict[str, Any]:
    """Origin of a run: stage, command, commit of the kit (None outside a checkout), package versions."""
    try:
        git = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
        commit = subprocess.run(git, capture_output=True, text=True, timeout=5).stdout.strip() or None
    except (OSError, subprocess.TimeoutExpired):
        commit = None
    versions = {"physhmr_kit": __version__} | {name: importlib.metadata.version(name) for name in _PACKAGES}
    return {"stage": stage, "command": command, "commit": commit, "versions": versions}
