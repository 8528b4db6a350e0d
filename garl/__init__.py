"""Generative adversarial reinforcement learning: agents that learn to paint, stroke by stroke.

Modules in the order in which data flows through them:

    garl.data         pictures to imitate          garl.policy      the autoregressive policy and its critic
    garl.brush        brush files and textures     garl.rollout     a policy paints: `collect`
    garl.engine       strokes to pixels            garl.adversary   the discriminator, its losses and memory
    garl.env          Gymnasium environments       garl.reward, garl.advantage, garl.learners
    garl.systems      whole methods, a file each   garl.evaluate, garl.export, garl.sample

`examples/by_hand.py` ties them together in thirty lines.
"""
