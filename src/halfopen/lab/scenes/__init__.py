"""Scenes: a real host under each cause of trouble, and in health, with what is true of it."""

from halfopen.lab.scenes.registry import SCENES, Scene
from halfopen.lab.scenes.scenes import MIXES, scene
from halfopen.lab.scenes.stage import Stage
from halfopen.lab.scenes.truth import Truth

__all__ = ["MIXES", "SCENES", "Scene", "Stage", "Truth", "scene"]
