"""One target under atheris, guided by which lines and branches of Catchment an input reaches.

    python -m tests.fuzz.guided TARGET [option of libFuzzer ...]

It is a process of its own, because atheris ends the one it runs in. Only Catchment's modules are instrumented, and only
what is imported within the block below.
"""

import logging
import sys

import atheris

with atheris.instrument_imports(include=["catchment"]):
    from tests.fuzz.targets import TARGETS


def main(arguments: list[str]) -> None:
    """Fuzzes the first argument's target; does not return."""
    logging.disable()
    target = TARGETS[arguments[0]]
    atheris.Setup([sys.argv[0], f"-max_len={target.bytes_max}", *arguments[1:]], target.run)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:])
