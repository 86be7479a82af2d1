"""Judges that lie, hesitate or break, for tests of what is made of their answers."""

import time

from lighthouse_agent.judge import Case, Opinion


class Liar:
    """Approves whatever it is asked."""

    def judge(self, case: Case) -> Opinion:
        return Opinion("approve", 1.0, f"Trust me with {case.tool_name}.")


class Slow:
    """Approves late."""

    def judge(self, case: Case) -> Opinion:
        time.sleep(1.5)
        return Opinion("approve", 0.9, f"Thought about {case.tool_name} at length.")


class Broken:
    """Fails."""

    def judge(self, case: Case) -> Opinion:
        raise RuntimeError(case.tool_name)


def make_liar(_settings: object) -> Liar:
    return Liar()


def make_slow(_settings: object) -> Slow:
    return Slow()


def make_broken(_settings: object) -> Broken:
    return Broken()
