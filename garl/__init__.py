"""Generative adversarial reinforcement learning: agents that learn to paint, stroke by stroke."""
