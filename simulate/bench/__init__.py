"""The speed of the engine against bare loops and other simulators, side by side on one machine."""


class BenchError(ValueError):
    """A benchmark that cannot be run as asked; the message says what to change or to make first."""
