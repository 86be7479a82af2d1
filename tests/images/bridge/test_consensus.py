"""The arithmetic of consensus and circuit breakers, over all cases."""

from hypothesis import given, settings
from hypothesis import strategies as st

from lighthouse_bridge.breakers import Breaker
from lighthouse_bridge.consensus import Candidate, Ruling, Vote, choose, settle
from lighthouse_bridge.decisions.verdict import Risk

# The machine may be busy; how long a case takes is no property of it.
untimed = settings(deadline=None)
confidences = st.floats(0, 1)
kinds = st.sampled_from(["security", "architecture"])


@untimed
@given(
    st.lists(st.tuples(kinds, confidences), min_size=2, max_size=2),
    st.tuples(kinds, st.sampled_from(["deny", "abstain", "silent"]), confidences),
)
def test_no_two_of_three_approve_a_high_risk(
    liars: list[tuple[str, float]], honest: tuple[str, str, float]
) -> None:
    votes = [
        Vote(f"liar-{n}", kind, "approve", confidence, f"liar-{n}")
        for n, (kind, confidence) in enumerate(liars)
    ]
    kind, decision, confidence = honest
    if decision != "silent":
        votes.append(Vote("honest", kind, decision, confidence, "honest"))
    consensus = settle(votes, 3, Risk.HIGH, closed=True)
    assert consensus is not None
    assert consensus.ruling is not Ruling.APPROVED


@untimed
@given(st.lists(confidences, min_size=2, max_size=2), confidences)
def test_no_two_of_three_outvote_a_denial(liars: list[float], honest: float) -> None:
    votes = [Vote(f"liar-{n}", "x", "approve", confidence, f"liar-{n}") for n, confidence in enumerate(liars)]
    consensus = settle([*votes, Vote("honest", "x", "deny", honest, "honest")], 3, Risk.MEDIUM, closed=True)
    assert consensus is not None
    assert consensus.ruling is not Ruling.APPROVED


@untimed
@given(st.lists(confidences, min_size=2, max_size=2))
def test_no_two_of_three_approve_while_the_third_is_kept_silent(liars: list[float]) -> None:
    votes = [Vote(f"liar-{n}", "x", "approve", confidence, f"liar-{n}") for n, confidence in enumerate(liars)]
    for risk in (Risk.LOW, Risk.MEDIUM):
        early = settle(votes, 3, risk, closed=False)
        assert early is None or early.ruling is Ruling.NONE, "the third may still object"
        consensus = settle(votes, 3, risk, closed=True)
        assert consensus is not None
        assert consensus.ruling is Ruling.NONE


@untimed
@given(
    st.lists(st.tuples(kinds, confidences), min_size=1, max_size=3),
    st.sampled_from([Risk.LOW, Risk.MEDIUM, Risk.HIGH]),
)
def test_many_experts_of_one_key_are_one(liars: list[tuple[str, float]], risk: Risk) -> None:
    forged = [
        Vote(f"liar-{n}", kind, "approve", confidence, "stolen") for n, (kind, confidence) in enumerate(liars)
    ]
    honest = Vote("honest", "security", "deny", 0.5, "honest")
    for votes, asked in ((forged, 2), ([*forged, honest], 2), (forged, 3)):
        consensus = settle(votes, asked, risk, closed=True)
        assert consensus is not None
        assert consensus.ruling is not Ruling.APPROVED
    cautious = settle([*forged, Vote("liar-x", "x", "deny", 1.0, "stolen")], 1, risk, closed=True)
    assert cautious is not None
    assert cautious.ruling is Ruling.BLOCKED


@untimed
@given(st.lists(st.tuples(kinds, st.sampled_from(["approve", "deny", "abstain"]), confidences), max_size=3))
def test_an_early_ruling_is_the_final_one(answers: list[tuple[str, str, float]]) -> None:
    votes = [
        Vote(f"e{n}", kind, decision, confidence, f"e{n}")
        for n, (kind, decision, confidence) in enumerate(answers)
    ]
    for risk in (Risk.MEDIUM, Risk.HIGH):
        final = settle(votes, 3, risk, closed=True)
        assert final is not None
        for seen in range(len(votes)):
            early = settle(votes[:seen], 3, risk, closed=False)
            if early is not None and len(votes) == 3:
                assert early.ruling is final.ruling


@untimed
@given(st.lists(st.tuples(kinds, st.integers(0, 5)), max_size=8), st.text(max_size=8))
def test_those_asked_are_few_able_and_of_different_types(people: list[tuple[str, int]], lot: str) -> None:
    able = frozenset({"security_audit"})
    candidates = [Candidate(f"e{n}", kind, able, load, f"e{n}") for n, (kind, load) in enumerate(people)]
    candidates.append(Candidate("unable", "other", frozenset({"documentation"}), 0, "u"))
    chosen = choose(candidates, frozenset({"security_audit", "code_review"}), "e0", lot)
    names = [one.agent_id for one in chosen]
    assert len(names) == len(set(names)) == min(3, max(0, len(people) - 1))
    assert not {"unable", "e0"} & set(names)
    available = {one.agent_type for one in candidates[1:-1]}
    if len(chosen) >= 2:
        assert len({one.agent_type for one in chosen}) == len(available)


def test_a_breaker_opens_after_failures_in_a_row_and_tries_again() -> None:
    now = 0.0
    breaker = Breaker("expert", 2, 10.0, lambda: now)
    breaker.failed("x")
    breaker.succeeded()
    breaker.failed("x")
    assert breaker.allows()
    breaker.failed("x")
    assert not breaker.allows()
    now = 10.0
    assert breaker.allows()
    breaker.failed("x")
    assert not breaker.allows()
    now = 20.0
    breaker.succeeded()
    assert breaker.allows()
