"""The engine: the round loop, the executors that do its work, and the records it leaves."""
