"""Fine-tuning: the critic warms up alone, the student keeps its normaliser, and imitation holds it near the expert."""

import torch


def test_while_the_critic_warms_up_the_actor_stays_bit_exactly(build, train, weights_of, equal_weights):
    module = build("finetune", critic_warmup=2)
    actor, critic = weights_of(module.policy), weights_of(module.critic)
    train(module, 2)
    assert equal_weights(weights_of(module.policy), actor)
    assert not equal_weights(weights_of(module.critic), critic)


def test_after_the_warm_up_the_actor_learns_but_keeps_its_normaliser(build, train, weights_of, equal_weights):
    module = build("finetune", critic_warmup=1)
    before, norm = weights_of(module.policy), weights_of(module.policy.norm)
    train(module, 2)
    assert not equal_weights(weights_of(module.policy), before)
    assert equal_weights(weights_of(module.policy.norm), norm), "it came with the student"


def test_the_spread_of_actions_is_the_reduced_one(build, train):
    module = build("finetune")
    train(module, 1)
    torch.testing.assert_close(module.policy.std, torch.tensor(0.02))


def test_imitation_alone_draws_the_student_to_the_expert(build, opened, train):
    """With lambda large, the distance to the labels falls; without learning it does not."""

    def distance(module) -> float:
        module.open(module.data)
        module.collector.obs, _ = module.env.reset(seed=7)
        batch = module.collector.collect(teacher=module.label)
        return float((batch.mean - batch.label).square().mean())

    far = build("finetune", learning_rate=1e-12, critic_warmup=0)
    near = build("finetune", learning_rate=3e-3, critic_warmup=0, imitation_coef=1e4, epochs=20)
    for module in (far, near):
        train(module, 4)
    assert distance(near) < 0.8 * distance(far)


def test_the_physical_rewards_take_part(build, train):
    trainer = train(build("finetune", critic_warmup=0), 1)
    for name in ("reward/balance", "reward/foot_contact", "reward/power", "loss/imitation"):
        assert torch.isfinite(trainer.callback_metrics[name])
    assert float(trainer.callback_metrics["reward/balance"]) > 0.3


def test_the_critic_reads_the_reference_through_a_normaliser_that_is_updated(build, train):
    module = build("finetune")
    assert "reference" in module.critic.groups and "reference" not in module.policy.groups
    train(module, 2)
    assert module.critic.norm.count == 16 + 2 * 16, "once before the first update, then after each iteration"
