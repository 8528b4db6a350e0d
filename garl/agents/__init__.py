"""Agents that ship with garl: run folders without what painting needs not, made by `ship.py`, found by their names."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

SHIPPED = Path(__file__).parent


@dataclass(frozen=True)
class Card:
    """What there is to know of an agent that ships; its README.md tells the rest."""

    name: str
    paints: str
    painter: str | None
    """The painter of `garl paint` that it is; None if it is shown nothing."""
    data: str
    """The pictures that it learned from, """
    source: str
    """where they are from and whose they are,"""
    licence: str
    """and under which licence."""
    example: str
    """A command to try."""


def cards() -> list[Card]:
    """The agents that ship, by name."""
    configs = sorted(SHIPPED.glob("*/config.json"))
    return [Card(name=path.parent.name, **json.loads(path.read_text("utf-8"))["card"]) for path in configs]


def find_agent(run: Path) -> Path:
    """The folder of the agent that ships under the name `run`; a folder that is really there goes before it."""
    shipped = SHIPPED / run.name
    if os.path.isdir(run) or run != Path(run.name) or not os.path.isfile(shipped / "config.json"):
        return run
    return shipped


def agent_for(painter: str) -> Path | None:
    """The name of an agent that ships and is this painter of `garl paint`; None if there is none."""
    return next((Path(card.name) for card in cards() if card.painter == painter), None)


def sizes(folder: Path = SHIPPED) -> dict[str, int]:
    """How many bytes each agent takes in the package, by name."""
    return {
        path.parent.name: sum(file.stat().st_size for file in path.parent.iterdir())
        for path in sorted(folder.glob("*/config.json"))
    }
