"""The executor that an experiment's settings ask for."""

from simulate.engine.executors import EngineSettings, Executor


def make_executor(settings: EngineSettings, room: int | None = None) -> Executor:
    """A new executor, to be used in a `with` block; of the two only the code of this one is loaded.

    Args:
        settings: which, and with how many workers.
        room: workers that this machine's memory has room for, as far as that is known.
    """
    if settings.executor == "serial":
        from simulate.engine.serial_executor import SerialExecutor

        return SerialExecutor(settings)
    from simulate.engine.ray_executor import RayExecutor

    return RayExecutor(settings, room)
