"""One thread for torch: the networks here are small, and the machines that run the tests have few cores."""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch

torch.set_num_threads(1)
