"""The end of Ray's raylet, of which this process would die without a word."""

import atexit
import os
import select
import sys
import threading

from simulate.signals import signals

LOST = "Ray has lost a machine, or what was kept there for the clients"
"""What to say when Ray no longer has what it was given."""


class RayletWatch:
    """Waits beside all other work for a raylet to end; that ends this process with a line that says how to go on.

    Ray's core ends a process whose raylet is gone all by itself: seconds later, or as soon as something is put into the
    object store. There is no error to be caught; only a process that is just at that ends without a word, after all.
    What a killed run goes on from is on the disk.

    Args:
        pid: of the raylet.

    Raises:
        OSError: if the system cannot watch a process.
    """

    def __init__(self, pid: int) -> None:
        self._raylet = os.pidfd_open(pid)
        self._closed, self._close = os.pipe()
        self._thread = threading.Thread(target=self._wait, name="raylet", daemon=True)
        self._thread.start()
        atexit.register(self.close)  # before Ray ends what is left of a session

    def close(self) -> None:
        """Wait no longer; call before the raylet is ended."""
        atexit.unregister(self.close)
        os.write(self._close, b"\0")
        self._thread.join()
        for descriptor in (self._raylet, self._closed, self._close):
            os.close(descriptor)

    def _wait(self) -> None:
        ended = select.poll()
        for descriptor in (self._raylet, self._closed):
            ended.register(descriptor, select.POLLIN)
        if self._closed in dict(ended.poll()):
            return
        if signals.last is not None:
            return  # whoever interrupted this process, and perhaps the raylet as well, is told so
        try:
            print(f"error: {signals.going_on(LOST)}", file=sys.stderr, flush=True)
        finally:  # also where nobody reads what is printed any more
            os._exit(2)
