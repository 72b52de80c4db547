"""Fine-tuning: the critic warms up alone, the student keeps its eyes, and imitation holds it near the expert."""

import torch


def test_while_the_critic_warms_up_the_actor_stays_to_the_last_bit(build, train, weights_of, equal_weights):
    module = build("finetune", warmup=2)
    actor, critic = weights_of(module.policy), weights_of(module.critic)
    train(module, 1)  # two iterations
    assert equal_weights(weights_of(module.policy), actor)
    assert not equal_weights(weights_of(module.critic), critic)


def test_after_the_warm_up_the_actor_learns_but_keeps_its_normaliser(build, train, weights_of, equal_weights):
    module = build("finetune", warmup=1)
    before, norm = weights_of(module.policy), weights_of(module.policy.norm)
    train(module, 1)
    assert not equal_weights(weights_of(module.policy), before)
    assert equal_weights(weights_of(module.policy.norm), norm), "it came with the student"


def test_the_spread_of_actions_is_the_reduced_one(build, train):
    module = build("finetune", std=0.02)
    train(module, 1)
    torch.testing.assert_close(module.policy.std, torch.tensor(0.02))


def test_imitation_alone_draws_the_student_to_the_expert(build, train):
    """With lambda large, the distance to the labels falls; with the default and no learning it does not."""

    def distance(module) -> float:
        module.collector.obs, _ = module.env.reset(seed=7)
        batch = module.collector.collect(teacher=module.label)
        return float((batch.mean - batch.label).square().mean())

    far, near = (
        build("finetune", learning_rate=0.0, warmup=0),
        build("finetune", learning_rate=3e-3, warmup=0, imitation=1e4, epochs=20),
    )
    for module in (far, near):
        train(module, 2)
    assert distance(near) < 0.8 * distance(far)


def test_the_physical_rewards_take_part(build, train):
    trainer = train(build("finetune"), 1)
    for name in ("reward/balance", "reward/foot_contact", "reward/power", "loss/imitation"):
        assert torch.isfinite(trainer.callback_metrics[name])
    assert float(trainer.callback_metrics["reward/balance"]) > 0.3
