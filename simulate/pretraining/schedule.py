"""Depth and learning rate of every step, as a function of the step alone."""

from dataclasses import dataclass, replace

from simulate.pretraining.settings import Pretraining, Stage


@dataclass(frozen=True)
class Schedule:
    """Warm-up, plateau and linear decay to zero; a warm-up at every growth, as the optimizer then starts anew.

    Attributes:
        stages: depths and their steps.
        peak: learning rate of the plateau.
        warmup: steps of linear warm-up of each stage.
        decay: steps of the final linear decay.
        steps: where the decay ends.
    """

    stages: tuple[Stage, ...]
    peak: float
    warmup: int
    decay: int
    steps: int

    @classmethod
    def of(cls, settings: Pretraining) -> "Schedule":
        """The schedule as planned."""
        steps = sum(stage.steps for stage in settings.stages)
        return cls(settings.stages, settings.peak_lr, settings.warmup, max(1, round(settings.decay * steps)), steps)

    def ending_at(self, step: int) -> "Schedule":
        """The same schedule with its end, and so the start of its decay, moved to an earlier step."""
        return replace(self, steps=min(self.steps, step))

    @property
    def decay_start(self) -> int:
        return self.steps - self.decay

    def stage_start(self, step: int) -> tuple[int, Stage]:
        """The stage that a step belongs to, and its first step."""
        start = 0
        for stage in self.stages[:-1]:
            if step < start + stage.steps:
                return start, stage
            start += stage.steps
        return start, self.stages[-1]

    def rate(self, step: int) -> float:
        """The learning rate of a step."""
        start, _ = self.stage_start(step)
        warm = min(1.0, (step - start + 1) / self.warmup)
        return self.peak * warm * min(1.0, (self.steps - step) / self.decay)
