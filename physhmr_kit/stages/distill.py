"""Stage `distill`: the student learns the expert's skill from vision alone, on the states the student visits.

An iteration, in order: the student acts, the expert labels each visited state, and the student is regressed onto the labels
of this rollout and the last few (DAgger, Ross et al. 2011).
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from physhmr_kit.body.skeleton import NUM_DOFS
from physhmr_kit.learning.buffer import RingBuffer
from physhmr_kit.learning.collect import Collector
from physhmr_kit.learning.networks import Policy
from physhmr_kit.stages.base import LabelledStage, as_policy
from physhmr_kit.stages.settings import DistillConfig, from_plain
from physhmr_kit.stages.student import fresh_student


class DistillModule(LabelledStage):
    """On-policy distillation on the clips and views of a `FilmedMotionDataModule`.

    Args:
        config: the settings.
        teacher: the expert that labels; it observes the reference.
        policy: initial student; a new one when omitted.
    """

    name = "distill"
    config: DistillConfig

    def __init__(
        self,
        config: DistillConfig | dict | None = None,
        teacher: Policy | None = None,
        policy: Policy | dict | None = None,
    ):
        settings = from_plain(DistillConfig, config or {})
        student = as_policy(policy)
        if student is None:
            torch.manual_seed(settings.seed)
            student = fresh_student(settings.policy, teacher)
        student.std.fill_(settings.policy.std)
        super().__init__(settings, student.train())
        self.teach(teacher)

    def configure_optimizers(self):
        settings = self.config.optim
        optimizer = torch.optim.Adam(self.policy.parameters(), lr=settings.learning_rate, fused=True)
        falling = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.1, total_iters=self.config.iterations)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": falling, "interval": "epoch"}}

    @property
    def training_groups(self) -> tuple[str, ...]:
        return (*self.policy.groups, *self.teacher.groups)

    def make_collector(self) -> None:
        settings = self.config.optim
        self.collector = Collector(self.env, self.policy, None, settings.horizon, self.generator)
        shapes = {"obs": self.policy.norm.mean.shape, "label": (NUM_DOFS,)}
        self.buffer = RingBuffer(settings.buffer_rollouts * self.batch_size, shapes, self.env.device)

    @property
    def num_minibatches(self) -> int:
        return self.config.optim.updates

    def minibatches(self) -> Iterator[dict[str, torch.Tensor]]:
        """Roll out, label, and yield minibatches sampled from the buffer."""
        batch = self.collect(teacher=self.label)
        self.buffer.add(obs=batch.flat("policy_in"), label=batch.flat("label"))
        self.policy.norm.update(batch.policy_in)
        for _ in range(self.num_minibatches):
            yield self.buffer.sample(self.config.optim.minibatch_size, self.generator)

    def training_step(self, batch: dict[str, torch.Tensor], batch_idx: int) -> torch.Tensor:
        """L_BC of the paper: mean squared error of the student's mean action over the 69 DoF."""
        loss = (self.policy.mean(batch["obs"]) - batch["label"]).square().mean()
        self.log("loss/imitation", loss.detach(), on_step=False, on_epoch=True, batch_size=len(batch["label"]))
        return loss

    def configure_gradient_clipping(self, optimizer, gradient_clip_val=None, gradient_clip_algorithm=None) -> None:
        self.clip_gradients(optimizer, self.config.optim.max_grad_norm, "norm")

    def extra_state(self) -> dict:
        return super().extra_state() | {"buffer": self.buffer.state_dict()}

    def load_extra_state(self, state: dict) -> None:
        super().load_extra_state(state)
        self.buffer.load_state_dict(state["buffer"])
