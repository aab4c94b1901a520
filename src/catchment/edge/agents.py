"""What a User-Agent string says, by the expressions that the uap-core project keeps, matched in Rust.

Building the matcher takes 0.2 s and 26 MB, so it is built once, before the first request. It builds its automata as it
needs them: a string takes some 20 us, the first of its kind 0.5 ms and at worst 10, and a process that has met every
kind there is holds 46 MB more.
"""

from collections.abc import Callable

from ua_parser import Domain, load_lazy_builtins
from ua_parser.regex import Resolver

from catchment.record import Agent

AgentParser = Callable[[str], Agent | None]


def agent_parser() -> AgentParser:
    """A function from a User-Agent string to what it says, or None where that is nothing."""
    resolve = Resolver(load_lazy_builtins())

    def parse(text: str) -> Agent | None:
        found = resolve(text, Domain.ALL)
        browser, os, device = found.user_agent, found.os, found.device
        if browser is None and os is None and device is None:
            return None
        return Agent(
            name=browser.family if browser else "",
            version=_joined(browser.major, browser.minor, browser.patch) if browser else "",
            os=os.family if os else "",
            os_version=_joined(os.major, os.minor, os.patch) if os else "",
            device=device.family if device else "",
        )

    return parse


def _joined(*parts: str | None) -> str:
    """`126.0.6478`, as far as the parts are given."""
    return ".".join(part for part in parts if part)
