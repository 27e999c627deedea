"""The executor that an experiment's settings ask for."""

from simulate.engine.executors import EngineSettings, Executor


def make_executor(settings: EngineSettings) -> Executor:
    """A new executor, to be used in a `with` block; of the two only the code of this one is loaded."""
    if settings.executor == "serial":
        from simulate.engine.serial_executor import SerialExecutor

        return SerialExecutor(settings)
    from simulate.engine.ray_executor import RayExecutor

    return RayExecutor(settings)
