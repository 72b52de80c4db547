"""Records the runs that lesson 4 shows: three seeds of PPO, with the functions that the lesson defines.

    python benchmarks/ppo_seeds.py

Runs the cells of the lesson up to its live training, trains each seed, and writes `tutorials/data/ppo_by_hand.json`.
"""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib

from physhmr_kit.utils.files import write_text

ROOT = Path(__file__).resolve().parent.parent
LESSON, DATA = ROOT / "tutorials" / "04_ppo_by_hand.py", ROOT / "tutorials" / "data" / "ppo_by_hand.json"
LIVE = "# ## A live run and three recorded seeds"
SEEDS = (0, 1, 2)


def main() -> None:
    """Train all seeds and write the file."""
    matplotlib.use("Agg")
    lesson: dict = {"__name__": "lesson"}
    before, _ = LESSON.read_text(encoding="utf-8").split(LIVE)
    exec(compile(before, LESSON, "exec"), lesson)
    seeds = {}
    for seed in SEEDS:
        *_, history = lesson["train"](seed)
        seeds[str(seed)] = [{name: round(value, 4) for name, value in row.items()} for row in history]
        print(f"seed {seed}: episodes last {history[-1]['steps_to_end']:.0f} steps at the end")
    data = {"command": "python benchmarks/ppo_seeds.py", "seeds": seeds}
    write_text(DATA, json.dumps(data, indent=1) + "\n")
    print(f"wrote {DATA.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
