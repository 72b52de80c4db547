"""Fine-tuning in the real environment; `test_learning.py` has the warm-up of the critic, the updates and the imitation loss."""

import torch


def test_the_student_is_trained_by_physical_rewards_and_keeps_its_normaliser(build, train, weights_of, equal_weights):
    module = build("finetune", critic_warmup=0)
    before, norm = weights_of(module.policy), weights_of(module.policy.norm)
    assert "reference" in module.critic.groups and "reference" not in module.policy.groups
    trainer = train(module, 1)
    assert not equal_weights(weights_of(module.policy), before)
    assert equal_weights(weights_of(module.policy.norm), norm)
    assert module.critic.norm.count == 2 * 16, "a first look, and the rollout of the iteration"
    torch.testing.assert_close(module.policy.std, torch.tensor(0.02))  # of the settings
    for name in ("reward/balance", "reward/foot_contact", "reward/power", "loss/imitation"):
        assert torch.isfinite(trainer.callback_metrics[name])
    assert float(trainer.callback_metrics["reward/balance"]) > 0.3
