"""Fuzzing: what is fed to Catchment's doors, what must hold whatever is fed, and the inputs that were worth keeping.

A `Target` (target.py) is a function of bytes that raises where something does not hold; `targets.py` lists them all.
`python -m tests.fuzz` runs one or all of them (docs/fuzzing.md); tests/test_fuzz.py replays `corpus/` in every run of
the tests.
"""
