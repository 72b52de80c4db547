"""The stages learn: in an environment of one step with a known optimal action, and on hand-made batches."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
import roma
import torch
from motions import waving_clip
from pytorch_lightning.callbacks import WeightAveraging

from physhmr_kit.learning import Policy
from physhmr_kit.motion.library import MotionLibrary
from physhmr_kit.stages import base
from physhmr_kit.stages.data import EncoderDataModule, IterationDataModule
from physhmr_kit.stages.distill import DistillModule
from physhmr_kit.stages.encoder import LOSS_WEIGHTS, EncoderModule, losses
from physhmr_kit.stages.expert import ExpertModule
from physhmr_kit.stages.finetune import FinetuneModule
from physhmr_kit.stages.ppo_stage import Minibatch
from physhmr_kit.stages.settings import (
    PPO,
    Distillation,
    DistillConfig,
    EncoderConfig,
    EncoderNetwork,
    ExpertConfig,
    ExpertPolicy,
    FinetuneConfig,
    FinetunePPO,
    StudentPolicy,
)
from physhmr_kit.vision.filming import Batch, joint_positions

SEEN = ("ray_confidence",)  # 12 numbers
ENVS, STEPS, RIGHT = 64, 8, 0.3
ROLLOUT = ENVS * STEPS


class OneStep:
    """64 environments in which every episode fails after one step. The reward depends only on the first action dimension.

    Observations have mean 100 and standard deviation 10, but for the first of `ray_confidence`, the control step counted from 0,
    and most of the reference, which stays at 100.
    """

    num_envs, device, num_diverged = ENVS, torch.device("cpu"), 0
    sampler, simulator = SimpleNamespace(failure=torch.zeros(1)), SimpleNamespace(counters=dict)
    earns = staticmethod(lambda action: -10 * (action[:, 0] - RIGHT).abs())

    def __init__(self):
        self.generator, self.time, self.reward_terms = torch.Generator().manual_seed(0), 0, {}

    def _observation(self):
        draw = lambda width: 100 + 10 * torch.randn(ENVS, width, generator=self.generator)  # noqa: E731
        obs = {"ray_confidence": draw(12), "root_orientation": draw(6), "reference": draw(576)}
        obs["ray_confidence"][:, 0], obs["reference"][:, 6:] = self.time, 100
        self.shown = obs
        return obs

    def reset(self):
        return self._observation(), {}

    def step(self, actions):
        self.time += 1
        over = torch.ones(ENVS, dtype=torch.bool)
        return self._observation(), self.earns(actions), over, ~over, {}

    def label(self, actions, control):
        label = torch.zeros(ENVS, 69)
        label[:, 0] = RIGHT
        return label

    def close(self):
        pass


class Recorder(pl.Callback):
    """Records minibatches, weights after each iteration, and gradient norms of each optimiser step."""

    def __init__(self, module):
        self.minibatches, self.weights, self.norms = [], [], []
        collect = module.minibatches

        def recorded():
            self.minibatches.append([])
            for batch in collect():
                self.minibatches[-1].append(batch)
                yield batch

        module.minibatches = recorded

    def on_train_start(self, trainer, module):
        def look(*_):
            networks = [getattr(module, name) for name in ("policy", "critic", "encoder") if hasattr(module, name)]
            self.norms.append([
                float(torch.cat([p.grad.flatten() for p in n.parameters() if p.grad is not None] or [torch.zeros(1)]).norm())
                for n in networks
            ])  # fmt: skip

        trainer.optimizers[0].register_step_post_hook(look)

    def on_train_epoch_end(self, trainer, module):
        if hasattr(module, "policy"):
            self.weights.append(module.policy.net[-1].weight.detach().clone())

    def on_train_end(self, trainer, module):
        self.steps = trainer.global_step
        self.looked_at = float(module.policy.norm.count) if hasattr(module, "policy") else None

    def column(self, name: str) -> torch.Tensor:
        """A field of all minibatches of the first iteration."""
        return torch.cat([getattr(batch, name) for batch in self.minibatches[0]])


@pytest.fixture
def fit(monkeypatch, tmp_path):
    """Trains a stage in `OneStep`, or on a given batch: fit(module, iterations) -> Recorder."""
    monkeypatch.setattr(base, "make_simulator", lambda *_: None)
    monkeypatch.setattr(base, "TrackingEnv", lambda *_, **__: OneStep())
    nowhere = IterationDataModule()
    nowhere.library = nowhere.visual = nowhere.estimates = None

    def run(module, iterations: int, batch=None, data=nowhere) -> Recorder:
        if batch is not None:
            module.minibatches, module.explained_variance = (lambda: iter([batch])), 0.0
        recorder = Recorder(module)
        trainer = pl.Trainer(
            accelerator="cpu", devices=1, max_epochs=iterations, logger=False, enable_checkpointing=False,
            enable_progress_bar=False, enable_model_summary=False, callbacks=[recorder], limit_val_batches=0,
            default_root_dir=tmp_path,
        )  # fmt: skip
        trainer.fit(module, datamodule=data)
        return recorder

    return run


def small_policy(groups=SEEN, std=0.1, control="residual") -> Policy:
    torch.manual_seed(0)
    return Policy(groups, (16,), std, control)


RATES = {"learning_rate": 1e-2, "critic_learning_rate": 1e-2, "gamma": 0.0}


def expert(policy: Policy | None = None, **settings) -> ExpertModule:
    quick = dict(horizon=STEPS, epochs=3, minibatch_size=256, desired_kl=None, ema_decay=0.5, **RATES)
    config = ExpertConfig(policy=ExpertPolicy(std=0.1), ppo=PPO(**(quick | settings)))
    return ExpertModule(config, policy or small_policy(std=0.3))  # std is replaced by that of the settings


def finetune(**settings) -> FinetuneModule:
    quick = dict(
        horizon=STEPS, epochs=3, minibatch_size=256, critic_warmup=0, critic_hidden=(16,), ema_decay=0.0, **RATES
    )
    config = FinetuneConfig(
        policy=StudentPolicy(std=0.1), ppo=FinetunePPO(**(quick | {"imitation_coef": 0.0} | settings))
    )
    student = small_policy(std=0.3, control="absolute")
    student.norm.mean.fill_(100)  # the normaliser of a distilled student
    student.norm.var.fill_(100)
    return FinetuneModule(config, small_policy(("root_orientation",)), student)


def distill(iterations=3, **settings) -> DistillModule:
    quick = dict(horizon=STEPS, updates=8, minibatch_size=300, buffer_rollouts=3, learning_rate=1e-2)
    config = DistillConfig(iterations=iterations, optim=Distillation(**(quick | settings)))
    return DistillModule(
        config, small_policy(("root_orientation",), control="balanced"), small_policy(control="absolute")
    )


def mean_action(module) -> float:
    """Mean first action of the trained policy in new states."""
    obs = OneStep()._observation() | {"ray_confidence": 100 + 10 * torch.randn(500, 12)}
    with torch.no_grad():
        return float(module.policy(obs)[:, 0].mean())


# ---- one update


def hand_made(size: float = 1.0):
    """512 samples for each stage: half of the actions have a positive advantage, half a negative one."""
    draw = torch.Generator().manual_seed(1)
    obs, action = torch.randn(512, 12, generator=draw), 0.1 * torch.randn(512, 69, generator=draw)
    policy = small_policy()
    with torch.no_grad():
        mean = policy.net(obs)
        log_prob = policy.log_prob(mean, action)
    advantage = size * torch.where(torch.arange(512) % 2 == 0, 1.0, -1.0)
    returns = size * torch.randn(512, generator=draw)
    more = torch.randn(512, 576, generator=draw)
    label = torch.zeros(512, 69)
    critic_obs = {"expert": obs, "finetune": torch.cat([obs, more], 1)}
    return {
        stage: Minibatch(obs, seen, action, mean, label, log_prob, advantage, returns)
        for stage, seen in critic_obs.items()
    }


ONE_STEP = {"epochs": 1, "minibatch_size": ROLLOUT, "learning_rate": 1e-4, "critic_learning_rate": 1e-4}


@pytest.mark.parametrize("stage, make", [("expert", expert), ("finetune", finetune)])
def test_an_update_makes_good_actions_more_likely_and_bad_ones_less_likely(stage, make, fit):
    module, batch = make(**ONE_STEP), hand_made()[stage]
    fit(module, 1, batch)
    with torch.no_grad():
        gain = module.policy.log_prob(module.policy.net(batch.obs), batch.action) - batch.log_prob
    assert gain[batch.advantage > 0].mean() > 0 > gain[batch.advantage < 0].mean()


@pytest.mark.parametrize("stage, make", [("expert", expert), ("finetune", finetune)])
def test_an_update_brings_the_critic_closer_to_the_returns(stage, make, fit):
    module, batch = make(**ONE_STEP), hand_made()[stage]
    far = lambda: float((module.critic.net(batch.critic_obs).squeeze(-1) - batch.returns).detach().square().mean())  # noqa: E731
    before = far()
    fit(module, 1, batch)
    assert far() < before


@pytest.mark.parametrize("stage, make", [("expert", expert), ("finetune", finetune)])
def test_the_probability_ratio_is_clipped(stage, make, fit):
    """With all old log probabilities lower by one, every good action is beyond the clip, and there is no gradient."""
    module, batch = make(**ONE_STEP), hand_made()[stage]
    good = batch._replace(log_prob=batch.log_prob - 1, advantage=torch.ones(512))
    assert fit(module, 1, good).norms[0][0] < 1e-6
    bad = batch._replace(log_prob=batch.log_prob - 1, advantage=-torch.ones(512))
    assert fit(make(**ONE_STEP), 1, bad).norms[0][0] > 1e-3


@pytest.mark.parametrize("stage, make", [("expert", expert), ("finetune", finetune)])
def test_gradients_of_actor_and_critic_are_each_clipped(stage, make, fit):
    large, small = hand_made(1e4)[stage], hand_made(1e-3)[stage]
    (norms,) = fit(make(max_grad_norm=0.5, **ONE_STEP), 1, large).norms
    assert norms == pytest.approx([0.5, 0.5], rel=1e-3)
    (norms,) = fit(make(max_grad_norm=1e3, **ONE_STEP), 1, small).norms
    assert 0 < norms[0] < 1, "smaller ones are left as they are"


def test_a_student_s_gradients_are_clipped(fit):
    batch = {"obs": torch.randn(256, 12), "label": torch.full((256, 69), 1e4)}
    module = distill(updates=1, max_grad_norm=0.5)
    assert fit(module, 1, batch).norms == [[pytest.approx(0.5, rel=1e-3)]]


def test_mean_actions_beyond_two_are_penalised(fit):
    module, batch = expert(**ONE_STEP, bounds_coef=100.0), hand_made()["expert"]
    with torch.no_grad():
        module.policy.net[-1].bias += 3.0
    fit(module, 1, batch._replace(advantage=torch.zeros(512)))
    with torch.no_grad():
        assert module.policy.net(batch.obs).mean() < 3.0


# ---- what a minibatch holds


@pytest.mark.parametrize("make", [expert, finetune])
def test_every_sample_of_a_rollout_is_learned_from_once_in_each_pass(make, fit):
    module = make(epochs=2, minibatch_size=200)
    seen = fit(module, 1)
    assert [len(b.returns) for b in seen.minibatches[0]] == [200, 200, 112] * 2 and seen.steps == 6
    assert module.samples == ROLLOUT
    order = seen.column("action")[:, 0]
    assert torch.equal(order[:ROLLOUT].sort().values, order[ROLLOUT:].sort().values)
    assert not torch.equal(order[:ROLLOUT], order[ROLLOUT:]), "shuffled anew"
    assert len(order[:ROLLOUT].unique()) == ROLLOUT


@pytest.mark.parametrize("make", [expert, finetune])
def test_advantages_are_normalised(make, fit):
    advantage = fit(make(epochs=1), 1).column("advantage")
    assert float(advantage.mean()) == pytest.approx(0, abs=1e-5) and float(advantage.std()) == pytest.approx(
        1, abs=1e-3
    )
    assert advantage.ndim == 1


@pytest.mark.parametrize("make", [expert, finetune])
def test_returns_are_rewards_times_one_minus_gamma(make, fit):
    """Every step ends its episode by a failure, so that a return is that one reward."""
    module = make(epochs=1, gamma=0.9)
    seen = fit(module, 1)
    reward = OneStep.earns(seen.column("action"))
    torch.testing.assert_close(seen.column("returns"), 0.1 * reward, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("make", [expert, finetune])
def test_of_two_actions_the_better_one_has_the_larger_advantage(make, fit):
    batches = fit(make(), 6).minibatches[-1]  # by then the critic is accurate
    reward = torch.cat([OneStep.earns(b.action) for b in batches])
    advantage = torch.cat([b.advantage for b in batches])
    assert float(torch.corrcoef(torch.stack([reward, advantage]))[0, 1]) > 0.5


def test_the_expert_learns_from_normalised_observations(fit):
    """The normaliser has been initialised by one rollout, whose statistics are close to those of later ones."""
    module = expert(epochs=1)
    seen = fit(module, 2)
    obs = seen.column("obs")[:, 1:]
    assert obs.mean().abs() < 0.1 and obs.std() == pytest.approx(1, abs=0.1)
    # one rollout to begin with, and each iteration's own
    assert seen.looked_at == 3 * ROLLOUT and module.critic.norm is module.policy.norm


def test_log_probabilities_are_those_of_the_policy_that_acted(fit):
    module = expert(epochs=1)
    seen = fit(module, 1)
    policy = small_policy()
    with torch.no_grad():
        torch.testing.assert_close(seen.column("mean"), policy.net(seen.column("obs")), atol=1e-5, rtol=1e-4)
        log_prob = policy.log_prob(seen.column("mean"), seen.column("action"))
    torch.testing.assert_close(seen.column("log_prob"), log_prob, atol=1e-3, rtol=1e-4)


# ---- the moving average


def test_the_trained_weights_are_their_moving_average(fit):
    module = expert(ema_decay=0.75)
    first = module.policy.net[-1].weight.detach().clone()
    seen = fit(module, 3)
    after = seen.weights
    shipped = module.policy.net[-1].weight.detach()
    average = after[0]
    for weight in after[1:]:
        average = 0.75 * average + 0.25 * weight
    torch.testing.assert_close(shipped, average)
    assert not torch.allclose(shipped, after[-1], atol=1e-4) and not torch.allclose(shipped, first, atol=1e-4)
    low, high = torch.stack([first, *after]).aminmax(dim=0)
    assert ((shipped >= low - 1e-6) & (shipped <= high + 1e-6)).all()


def test_the_average_is_updated_once_per_iteration(fit):
    module = expert()
    (averaging,) = module.configure_callbacks()
    assert isinstance(averaging, WeightAveraging)
    assert averaging.should_update(epoch_idx=3) and not averaging.should_update(step_idx=3)


# ---- distillation


def test_the_buffer_gives_samples_of_every_rollout_it_holds(fit):
    seen = fit(distill(4), 4)
    steps = [torch.cat([b["obs"][:, 0] for b in batches]).long() // STEPS for batches in seen.minibatches]
    assert [set(s.tolist()) for s in steps] == [{0}, {0, 1}, {0, 1, 2}, {1, 2, 3}]
    share = steps[3].bincount()[1:] / len(steps[3])
    torch.testing.assert_close(share, torch.full((3,), 1 / 3), atol=0.05, rtol=0)


def test_labels_stay_with_the_states_they_are_of(fit, monkeypatch):
    def label(env, actions, control):
        return torch.full((ENVS, 69), float(env.time))

    monkeypatch.setattr(OneStep, "label", label)
    for batch in (b for batches in fit(distill(), 3).minibatches for b in batches):
        assert torch.equal(batch["label"][:, 0], batch["obs"][:, 0])


def test_labels_are_computed_from_the_teacher_s_observations_and_control(fit, monkeypatch):
    module, asked = distill(1), []

    def label(env, actions, control):
        asked.append(control)
        assert torch.equal(actions, module.teacher(env.shown))
        return 2 * actions

    monkeypatch.setattr(OneStep, "label", label)
    fit(module, 1)
    assert asked == ["balanced"] * STEPS and not any(p.requires_grad for p in module.teacher.parameters())


def test_a_student_s_normaliser_is_updated_by_every_rollout_and_its_learning_rate_falls_to_a_tenth(fit):
    module = distill(4)
    fit(module, 4)
    assert float(module.policy.norm.count) == 4 * ROLLOUT
    assert module.trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(1e-3)


# ---- fine-tuning


def test_the_critic_of_fine_tuning_gets_normalised_inputs_and_updates_its_normaliser(fit):
    module, inputs = finetune(), []
    module.critic.net.register_forward_pre_hook(lambda _, given: inputs.append(given[0].detach()[:, 1:]))
    fit(module, 3)
    # one rollout to begin with, then each iteration's own
    assert float(module.critic.norm.count) == 4 * ROLLOUT
    learned = torch.cat([x for x in inputs if x.ndim == 2 and len(x) == 256])  # in updates
    assert (
        learned.abs().max() <= 5 and learned.mean().abs() < 0.1 and learned[:, :17].std() == pytest.approx(1, abs=0.1)
    )
    assert not learned[:, 17:].any(), "what never changes"
    torch.testing.assert_close(module.critic.norm.mean[1:], torch.full((587,), 100.0), atol=3.0, rtol=0)


def test_fine_tuning_does_not_change_the_student_s_normaliser(fit):
    module = finetune()
    fit(module, 2)
    assert (module.policy.norm.mean == 100).all() and (module.policy.norm.var == 100).all()


def test_the_actor_does_not_change_while_the_critic_warms_up(fit):
    module = finetune(critic_warmup=2)
    first, critic = (n.net[-1].weight.detach().clone() for n in (module.policy, module.critic))
    seen = fit(module, 3)
    assert torch.equal(seen.weights[0], first) and torch.equal(seen.weights[1], first)
    assert not torch.equal(seen.weights[2], first) and not torch.equal(module.critic.net[-1].weight, critic)


# ---- the encoder's losses


def truth() -> tuple[dict[str, torch.Tensor], Batch]:
    """Two windows of five frames, and the output of a perfect encoder. The camera of the first is guessed."""
    torch.manual_seed(0)
    rotmat = roma.random_rotmat((2, 5, 24)).float()
    contact = (torch.rand(2, 5, 4) > 0.5).float()
    up = torch.nn.functional.normalize(torch.randn(2, 5, 3), dim=-1)
    batch = Batch(torch.zeros(2, 5, 61), rotmat, joint_positions(rotmat), contact, up, torch.tensor([True, False]))
    out = {"rotmat": rotmat, "contact": 20 * (2 * contact - 1), "up": up, "uncertainty": torch.zeros(2, 5, 24)}
    return out, batch


def turned(rotmat: torch.Tensor, joints, angle: float) -> torch.Tensor:
    other = rotmat.clone()
    turn = roma.rotvec_to_rotmat(torch.tensor([0.0, 0.0, angle]))
    other[..., joints, :, :] = turn @ other[..., joints, :, :]
    return other


ERRORS = {
    "root": lambda out, size: out | {"rotmat": turned(out["rotmat"], [0], size)},
    "joints": lambda out, size: out | {"rotmat": turned(out["rotmat"], [5, 18], size)},
    "position": lambda out, size: out | {"rotmat": turned(out["rotmat"], [0, 1], size)},
    "joint_velocity": lambda out, size: out | {
        "rotmat": torch.cat([out["rotmat"][:, :2], turned(out["rotmat"], [0], size)[:, 2:]], dim=1)
    },
    "uncertainty": lambda out, size: out | {"uncertainty": out["uncertainty"] + size},
    "contact": lambda out, size: out | {"contact": out["contact"] * (1 - 1.5 * size)},
    "up": lambda out, size: out | {"up": out["up"] + size * torch.tensor([0.0, 0.0, 1.0])},
}  # fmt: skip


@pytest.mark.parametrize("name", ERRORS)
def test_each_loss_falls_with_its_own_error(name):
    out, batch = truth()
    values = [float(losses(ERRORS[name](out, size), batch)[name]) for size in (1.0, 0.5, 0.0)]
    assert values[0] > values[1] > values[2] and values[2] == pytest.approx(0, abs=1e-6)


def test_the_encoder_s_losses_have_hand_computed_values():
    out, batch = truth()
    size = 0.4
    frobenius = 8 * torch.tensor(size / 2).sin().square()  # |R - 1|^2 of a turn
    told = losses(ERRORS["root"](out, size), batch)
    assert float(told["root"]) == pytest.approx(float(frobenius), rel=1e-4) and float(told["joints"]) < 1e-6
    told = losses(ERRORS["joints"](out, size), batch)
    assert float(told["joints"]) == pytest.approx(2 * float(frobenius) / 23, rel=1e-4) and float(told["root"]) < 1e-6
    assert float(losses(ERRORS["uncertainty"](out, size), batch)["uncertainty"]) == pytest.approx(size, rel=1e-5)
    assert float(losses(ERRORS["up"](out, size), batch)["up"]) == pytest.approx(size**2 / 2, rel=1e-4), (
        "one window of two"
    )
    moved = ERRORS["joint_velocity"](out, size)
    error = joint_positions(moved["rotmat"]) - batch.position
    told = losses(moved, batch)
    assert float(told["position"]) == pytest.approx(float(error.abs().mean()), rel=1e-4)
    assert float(told["joint_velocity"]) == pytest.approx(30 * float(error.diff(dim=1).abs().mean()), rel=1e-4)
    stated = losses(moved | {"uncertainty": error.norm(dim=-1) + 0.01}, batch)["uncertainty"]
    assert float(stated) == pytest.approx(0.01, rel=1e-3), "the distance from the actual error"
    known = out["up"].clone()
    known[1] += size
    assert float(losses(out | {"up": known}, batch)["up"]) == 0, "not counted where the camera is known"
    assert float(losses(out | {"contact": torch.zeros(2, 5, 4)}, batch)["contact"]) == pytest.approx(0.6931, abs=1e-4)


def test_every_loss_of_the_encoder_has_a_positive_weight(monkeypatch):
    assert all(weight > 0 for weight in LOSS_WEIGHTS.values())
    module = EncoderModule(EncoderConfig(network=EncoderNetwork(width=24, layers=1, heads=2)))
    out, batch = truth()
    monkeypatch.setattr(module.encoder, "context", lambda tokens: tokens)
    monkeypatch.setattr(module, "log_dict", lambda *_, **__: None)

    def total(told) -> float:
        monkeypatch.setattr(module.encoder, "decode", lambda context: told)
        return float(module.training_step(batch, 0))

    assert total(out) == pytest.approx(0, abs=1e-5)
    for name, error in ERRORS.items():
        told = error(out, 0.7)
        expected = sum(LOSS_WEIGHTS[k] * float(v) for k, v in losses(told, batch).items())
        assert total(told) == pytest.approx(expected, rel=1e-5) and expected > 0, name


def test_the_encoder_s_gradients_are_clipped_and_it_steps_once_an_iteration(fit):
    config = EncoderConfig(network=EncoderNetwork(width=24, layers=1, heads=2))
    small = replace(config.data, frames_per_step=32, windows=(16,), held_out=0)
    module = EncoderModule(replace(config, data=small, optim=replace(config.optim, max_grad_norm=0.01)))
    data = EncoderDataModule(MotionLibrary([waving_clip(40)]), small)
    seen = fit(module, 2, data=data)
    assert seen.norms == [[pytest.approx(0.01, rel=1e-3)]] * 2 and seen.steps == 2 and module.samples == 64


def test_the_encoder_s_learning_rate_rises_and_then_falls_to_a_hundredth():
    config = EncoderConfig(iterations=100, network=EncoderNetwork(width=24, layers=1, heads=2))
    module = EncoderModule(replace(config, optim=replace(config.optim, warmup_iterations=10, learning_rate=1e-3)))
    optimisation = module.configure_optimizers()
    schedule = optimisation["lr_scheduler"]["scheduler"]
    rates = [schedule.lr_lambdas[0](k) for k in (0, 4, 9, 10, 55, 100, 200)]
    assert rates == pytest.approx([0.1, 0.5, 1.0, 1.0, 0.505, 0.01, 0.01])
    assert optimisation["lr_scheduler"]["interval"] == "step"


# ---- a known optimal action is found


@pytest.mark.parametrize("make", [expert, finetune])
def test_ppo_finds_the_rewarded_action_in_twenty_iterations(make, fit):
    module = make()
    first = mean_action(module)
    fit(module, 20)
    assert abs(first - RIGHT) > 0.2 and abs(mean_action(module) - RIGHT) < 0.05


def test_distillation_finds_the_labels(fit):
    module = distill(20)
    fit(module, 20)
    assert abs(mean_action(module) - RIGHT) < 0.05


def test_the_imitation_loss_alone_finds_the_labels(fit, monkeypatch):
    monkeypatch.setattr(OneStep, "earns", staticmethod(lambda action: torch.zeros(ENVS)))
    module = finetune(imitation_coef=1e5)
    fit(module, 15)
    assert abs(mean_action(module) - RIGHT) < 0.1
