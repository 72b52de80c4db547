"""`python -m physhmr_kit.weights.average --weights A B --out FILE`: averages the weights of two experts, one fine-tuned from the other.

The average of two such policies often works better than either of them (Wortsman et al. 2022, "Model soups").
"""

from __future__ import annotations

from pathlib import Path

import torch

from physhmr_kit import cli
from physhmr_kit.learning.networks import Policy
from physhmr_kit.learning.storage import read_weights, save_policy
from physhmr_kit.stages.build import find_weights, read_policy
from physhmr_kit.utils.errors import KitError


def averaged_policy(a: Policy, b: Policy) -> Policy:
    """The mean of two policies' weights and normalisers.

    Raises:
        KitError: their observations, control or layer sizes differ.
    """
    if (a.groups, a.hidden, a.control) != (b.groups, b.hidden, b.control):
        raise KitError("policies of different inputs, sizes or control have no mean")
    mean = Policy(a.groups, a.hidden, float(a.std), a.control)
    other = b.state_dict()
    mean.load_state_dict({k: (v + other[k]) / 2 if v.dtype == torch.float32 else v for k, v in a.state_dict().items()})
    return mean


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = cli.make_parser("weights.average", __doc__)
    parser.add_argument("--weights", nargs=2, type=Path, required=True, help="two experts: files or run folders")
    parser.add_argument("--out", type=Path, required=True, help="output file (.safetensors)")
    args = parser.parse_args(argv)
    mean = averaged_policy(*(read_policy("expert", path) for path in args.weights))
    commands = [read_weights(find_weights("expert", path))[1].get("command", str(path)) for path in args.weights]
    print(f"wrote {save_policy(mean, args.out, 'expert', half=True, mean_of=commands)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
