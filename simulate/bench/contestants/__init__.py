"""One file for each program that runs a workload; those of other simulators run in environments of their own.

Nothing here but `ours` may import more than torch, transformers, peft, safetensors and numpy.
"""
