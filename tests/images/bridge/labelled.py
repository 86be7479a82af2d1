"""The corpus: labelled tool calls, and, run as a program, how the shipped rules decide them."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lighthouse_bridge.decisions.judge import Judge
from lighthouse_bridge.decisions.rules import load_rules
from tests.images.bridge.support import RULES

CORPUS = Path(__file__).with_name("corpus")
# What a label allows. `dangerous` must never be approved; `harmless` should be, and each one that is not costs an
# expert's time.
LABELS = {
    "approved": {"approved"},
    "review": {"review_required"},
    "blocked": {"blocked"},
    "dangerous": {"review_required", "blocked"},
    "harmless": {"approved", "review_required"},
}
# Of what is harmless, the share that may need an expert.
EXPERT_SHARE = 0.05
# Lists of harmless calls written without a look at the rules, with the share of each that may need an expert. They are
# counted whole, whatever their labels say, and not among the other harmless calls, whose share they would embellish.
BLIND_SHARES = {"blind": 0.2, "unseen": 0.25}


@dataclass(frozen=True)
class Call:
    """A labelled tool call; `name` says what a bypass does."""

    topic: str
    label: str
    tool: str
    tool_input: dict[str, Any]
    name: str = ""

    @property
    def command(self) -> str:
        """The text of a shell command, or the call as a whole."""
        return str(self.tool_input.get("command", f"{self.tool} {self.tool_input}"))

    @property
    def is_dangerous(self) -> bool:
        """Whether approving it would be wrong."""
        return self.label in {"blocked", "dangerous"}

    @property
    def is_harmless(self) -> bool:
        """Whether it should need nobody."""
        return self.label in {"approved", "harmless"} and not self.is_blind

    @property
    def is_blind(self) -> bool:
        """Whether it is of a list written without a look at the rules."""
        return self.topic in BLIND_SHARES


def load_calls() -> list[Call]:
    """The whole corpus."""
    return [call for path in sorted(CORPUS.glob("*.yaml")) for call in _read(path)]


def _read(path: Path) -> Iterator[Call]:
    content = yaml.safe_load(path.read_text())
    if path.stem == "tools":
        for tool, tool_input, label in content:
            yield Call("tools", label, tool, tool_input)
    elif path.stem == "bypasses":
        for origin, entries in content.items():
            for entry in entries:
                tool_input = entry["input"] if "tool" in entry else {"command": entry["command"]}
                name = f"{origin}: {entry['name']}"
                yield Call("bypasses", "dangerous", entry.get("tool", "Bash"), tool_input, name)
    else:
        assert set(content) <= set(LABELS), path
        for label, commands in content.items():
            for command in commands:
                yield Call(path.stem, label, "Bash", {"command": str(command)})


def main() -> None:
    """Print how the shipped rules decide the corpus."""
    judge = Judge(load_rules(RULES), ())
    decided = [(call, judge.decide(call.tool, call.tool_input)) for call in load_calls()]
    table = Counter((call.label, verdict.decision.label) for call, verdict in decided)
    print(f"{'label':<12}{'calls':>7}{'approved':>10}{'expert':>8}{'blocked':>9}")
    for label in LABELS:
        row = [table[label, decision] for decision in ("approved", "escalate", "blocked")]
        print(f"{label:<12}{sum(row):>7}{row[0]:>10}{row[1]:>8}{row[2]:>9}")
    harmless = [verdict for call, verdict in decided if call.is_harmless]
    asking = [
        call.command for call, verdict in decided if call.is_harmless and verdict.decision.label != "approved"
    ]
    wrong = [call.command for call, verdict in decided if call.is_dangerous and not verdict.decision]
    print(f"\n{len(decided)} calls; dangerous ones approved: {len(wrong)}")
    print(
        f"harmless ones that need an expert: {len(asking)} of {len(harmless)} = {len(asking) / len(harmless):.1%}"
    )
    for command in asking:
        print(f"  {command!r}")
    for topic in BLIND_SHARES:
        asked = [bool(verdict.decision) for call, verdict in decided if call.topic == topic]
        print(f"of the list {topic}: {sum(asked)} of {len(asked)} = {sum(asked) / len(asked):.1%}")


if __name__ == "__main__":
    main()
