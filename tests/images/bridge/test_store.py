"""What the event store promises, whichever engine keeps it: order, conditions, batches, queries, search."""

import asyncio
import json
import threading
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.images.bridge.support import Agent, Bridge

WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=8,
)


def add(agent: Agent, data: dict[str, Any] | None = None, **more: Any) -> Any:
    return agent.post("/events", {"event_type": "custom", "data": data or {}, **more})


def stored(agent: Agent, data: dict[str, Any] | None = None, **more: Any) -> int:
    answer = add(agent, data, **more)
    assert answer.status_code == 200, answer.text
    return int(answer.json()["sequence"])


def find(agent: Agent, **query: Any) -> list[dict[str, Any]]:
    answer = agent.get("/events", params=query)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["count"] == len(body["events"])
    return list(body["events"])


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.dictionaries(WORDS, JSON, max_size=4))
def test_what_is_stored_is_found_as_it_was(builder: Agent, data: dict[str, Any]) -> None:
    sequence = stored(builder, data)
    (event,) = find(builder, after=sequence - 1, until=sequence)
    assert event["data"] == data
    assert (event["sequence"], event["agent_id"]) == (sequence, builder.agent_id)


def test_writers_at_once_get_one_order_without_gap(bridge: Bridge, expert: Agent) -> None:
    start = bridge.sequence()
    agents = [bridge.join("builder") for _ in range(5)]
    begun = bridge.sequence()

    def write(agent: Agent) -> None:
        for n in range(12):
            events = [{"event_type": "custom", "data": {"n": n, "part": part}} for part in range(3)]
            assert agent.post("/events/batch", {"events": events}).status_code == 200

    threads = [threading.Thread(target=write, args=(agent,)) for agent in agents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    events = find(expert, after=begun, limit=1000)
    assert [event["sequence"] for event in events] == list(range(begun + 1, begun + 1 + 180))
    assert begun == start + 5
    times = [event["timestamp"] for event in events]
    assert times == sorted(times)
    for agent in agents:
        own = [event["data"] for event in events if event["agent_id"] == agent.agent_id]
        assert own == [{"n": n, "part": part} for n in range(12) for part in range(3)]


def test_writes_that_wait_together_share_a_commit(bridge: Bridge) -> None:
    builder = bridge.join("builder")

    def commits() -> tuple[float, float]:
        text = bridge.http.get(f"http://127.0.0.1:{bridge.metrics_port}/metrics").text
        name = "lighthouse_bridge_store_commit_jobs"
        found = dict(line.rsplit(" ", 1) for line in text.splitlines() if line.startswith(name))
        return float(found[f"{name}_sum"]), float(found[f"{name}_count"])

    async def store() -> list[int]:
        limits = httpx.Limits(max_connections=48)
        async with httpx.AsyncClient(
            base_url=bridge.url, headers=builder.headers, limits=limits, timeout=30
        ) as http:
            body = {"event_type": "custom", "data": {}}
            answers = await asyncio.gather(*(http.post("/events", json=body) for _ in range(240)))
        assert {answer.status_code for answer in answers} == {200}
        return [answer.json()["sequence"] for answer in answers]

    jobs, count = commits()
    sequences = asyncio.run(store())
    jobs, count = commits()[0] - jobs, commits()[1] - count
    assert len(set(sequences)) == 240
    assert jobs >= 240
    assert count < jobs


def test_a_version_that_is_not_expected_is_a_conflict(builder: Agent) -> None:
    name = f"order/{builder.agent_id}"
    first = stored(builder, aggregate_id=name, expected_version=0)
    assert add(builder, aggregate_id=name, expected_version=0).status_code == 409
    second = stored(builder, aggregate_id=name, expected_version=first)
    refused = add(builder, aggregate_id=name, expected_version=first)
    assert refused.status_code == 409
    assert f"version {second}" in refused.json()["detail"]
    assert [event["sequence"] for event in find(builder, aggregates=name)] == [first, second]


def test_of_writers_that_expect_the_same_version_one_wins(bridge: Bridge) -> None:
    agents = [bridge.join("builder") for _ in range(6)]
    codes: list[int] = []

    def write(agent: Agent) -> None:
        codes.append(add(agent, aggregate_id=agents[0].agent_id + "/race", expected_version=0).status_code)

    threads = [threading.Thread(target=write, args=(agent,)) for agent in agents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(codes) == [200] + [409] * 5


def test_a_batch_is_stored_whole_or_not_at_all(builder: Agent) -> None:
    name = f"batch/{builder.agent_id}"
    events = [{"event_type": "custom", "aggregate_id": name, "data": {"n": n}} for n in range(1000)]
    answer = builder.post("/events/batch", {"events": events}).json()
    assert answer["last_sequence"] - answer["first_sequence"] == 999
    assert len(set(answer["event_ids"])) == answer["count"] == 1000
    wrong = [*events[:5], {**events[5], "expected_version": 1}]
    assert builder.post("/events/batch", {"events": wrong}).status_code == 409
    assert builder.post("/events/batch", {"events": [*events, events[0]]}).status_code == 422
    assert builder.post("/events/batch", {"events": []}).status_code == 422
    assert len(find(builder, aggregates=name, limit=10_000)) == 1000


def test_a_batch_has_at_most_ten_megabytes(builder: Agent) -> None:
    large = [{"event_type": "custom", "data": {"text": "x" * 1_000_000}} for _ in range(10)]
    assert builder.post("/events/batch", {"events": large}).status_code == 200
    assert builder.post("/events/batch", {"events": [*large, large[0]]}).status_code == 413


def test_the_same_event_is_stored_once_however_often_it_is_sent(builder: Agent, bridge: Bridge) -> None:
    key = {"Idempotency-Key": f"retry-{builder.agent_id}"}
    body = {"event_type": "custom", "data": {"n": 1}}
    first = builder.post("/events", body, headers=key)
    again = builder.post("/events", body, headers=key)
    assert first.json() == again.json()
    assert builder.post("/events", {**body, "data": {"n": 2}}, headers=key).status_code == 409
    other = bridge.join("builder").post("/events", body, headers=key)
    assert other.json()["sequence"] > first.json()["sequence"]
    named = {**body, "event_id": f"mine-{builder.agent_id}"}
    assert builder.post("/events", named).json() == builder.post("/events", named).json()
    assert bridge.join("builder").post("/events", named).status_code == 409
    batch = {"events": [body, body]}
    whole = {"Idempotency-Key": f"batch-{builder.agent_id}"}
    assert (
        builder.post("/events/batch", batch, headers=whole).json()
        == builder.post("/events/batch", batch, headers=whole).json()
    )
    assert len(find(builder, agents=builder.agent_id, types="custom")) == 4


def test_nobody_takes_an_id_that_the_bridge_will_give(builder: Agent) -> None:
    assert add(builder, event_id="1700000000000000_5_abcd0001").status_code == 422


def test_every_filter_holds_alone_and_with_others(builder: Agent, bridge: Bridge) -> None:
    me, other = builder.agent_id, bridge.join("builder")
    a = stored(builder, {"n": 1}, aggregate_id=f"{me}/a", metadata={"correlation_id": f"{me}-x"})
    b = stored(builder, {"n": 2}, aggregate_id=f"{me}/b", metadata={"correlation_id": f"{me}-y"})
    c = stored(other, {"n": 3}, aggregate_id=f"{me}/a", metadata={"correlation_id": f"{me}-x"})
    d = int(builder.post("/events", {"event_type": "backup_created", "data": {}}).json()["sequence"])
    times = {event["sequence"]: event["timestamp"] for event in find(builder, after=a - 1)}

    def found(**query: Any) -> list[int]:
        return [event["sequence"] for event in find(builder, after=a - 1, **query) if event["sequence"] <= d]

    assert found(agents=me) == [a, b, d]
    assert found(agents=f"{me},{other.agent_id}", types="custom") == [a, b, c]
    assert found(aggregates=f"{me}/a") == [a, c]
    assert found(correlation_id=f"{me}-x") == [a, c]
    assert found(correlation_id=f"{me}-x", agents=me) == [a]
    assert found(until=b) == [a, b]
    assert found(start_time=times[b], end_time=times[c]) == [b, c]
    assert found(types="backup_created") == [d]
    assert found(agents=me, direction="descending") == [d, b, a]
    assert found(agents=me, order="timestamp", direction="descending", limit=1) == [d]
    assert builder.get("/events", params={"agents": me, "limit": 1}).json()["more"] is True
    assert builder.get("/events", params={"limit": 10_001}).status_code == 422
    assert builder.get("/events", params={"types": "no_such"}).status_code == 400


def test_answers_end_before_they_get_too_large_and_are_gone_on_with(builder: Agent, operator: Agent) -> None:
    size, large = 900_000, 40
    sequences = [stored(builder, {"text": "x" * size}) for _ in range(large)]
    pages, after = [], sequences[0] - 1
    while True:
        answer = builder.get("/events", params={"agents": builder.agent_id, "after": after, "limit": 1000})
        assert len(answer.content) < 18 * 2**20
        pages.append([event["sequence"] for event in answer.json()["events"]])
        if not answer.json()["more"]:
            break
        after = pages[-1][-1]
    assert len(pages) > 2
    assert [sequence for page in pages for sequence in page] == sequences
    latest = builder.get("/event/query", params={"agent_id": builder.agent_id, "limit": 1000})
    assert [event["sequence"] for event in latest.json()["events"]] == sequences[-latest.json()["count"] :]
    assert "too large for one answer" in latest.json()["message"]
    checked, place = 0, {"after": 0, "hash": "0" * 64}
    rounds = 0
    while True:
        page = operator.get("/events/verify", params=place).json()
        assert page["problems"] == []
        checked, rounds = checked + page["count"], rounds + 1
        if not page["more"]:
            break
        place = {"after": page["sequence"], "hash": page["hash"]}
    assert rounds > 1
    assert checked >= sequences[-1]


def test_words_are_found_in_any_case_and_only_whole(builder: Agent, bridge: Bridge) -> None:
    mark = f"m{builder.agent_id.rpartition('-')[2]}"
    first = stored(builder, {"text": f"Größe {mark} of the Lighthouse", "list": [{"deep": "needle-in/hay"}]})
    second = stored(builder, {"text": f"{mark} lighthouses", "quote": "it's \"here\" & ' | there: *"})
    unlike = stored(builder, {"text": f"{mark}x"})

    def found(text: str) -> list[int]:
        return [event["sequence"] for event in find(builder, text=text)]

    assert found(mark) == [first, second]
    assert found(f"{mark} LIGHTHOUSE") == [first]
    assert found(f"grösse {mark}") == []
    assert found(f"größe {mark}") == [first]
    assert found(f"needle hay {mark}") == [first]
    assert found(f'"it\'s" & {mark}:*') == [second]
    assert found(f"{mark}x") == [unlike]
    assert found("' | ! &") == []
    later = stored(builder, {"text": f"{mark} later"})
    assert found(f"{mark} later") == [later]


def test_counts_agree_with_what_is_there(builder: Agent) -> None:
    stored(builder)
    stats = builder.get("/events/stats").json()
    assert stats["events"] == sum(stats["types"].values())
    assert (
        stats["missing_sequences"] == stats["last_sequence"] - stats["first_sequence"] + 1 - stats["events"]
    )
    assert stats["types"]["custom"] >= 1


@pytest.mark.parametrize("name", ["x\0y", "a" * 2_001])
def test_a_name_that_cannot_be_indexed_is_refused_and_nothing_else_fails(builder: Agent, name: str) -> None:
    assert add(builder, aggregate_id=name).status_code in {400, 422}
    assert stored(builder)


def test_a_snapshot_brings_the_tree_back(operator: Agent, builder: Agent) -> None:
    folder = builder.agent_id
    for n in range(3):
        builder.update(f"{folder}/{n}", f"content {n}", executable=n == 1)
    made = operator.post(f"/snapshot/{folder}")
    assert made.status_code == 200, made.text
    assert operator.post(f"/snapshot/{folder}").status_code == 409
    listed = {one["name"]: one for one in builder.get("/snapshots").json()["snapshots"]}
    assert listed[folder] == made.json()
    before = builder.get("/shadow/tree", params={"prefix": folder}).json()["files"]
    builder.update(f"{folder}/0", "other")
    builder.update(f"{folder}/1", None, "delete")
    builder.update(f"{folder}/new/file", "new")
    some = operator.post("/restore", {"snapshot": folder, "file_paths": [f"{folder}/0"]}).json()
    assert (some["restored"], some["deleted"]) == (1, 0)
    assert builder.get(f"/shadow/read/{folder}/0").text == "content 0"
    whole = operator.post("/restore", {"snapshot": folder}).json()
    assert (whole["restored"], whole["deleted"]) == (1, 1)
    after = builder.get("/shadow/tree", params={"prefix": folder}).json()["files"]
    assert [file[:5] for file in after] == [file[:5] for file in before]
    at = {"prefix": folder, "sequence": made.json()["sequence"]}
    assert builder.get("/shadow/tree", params=at).json()["files"] == before
    assert builder.post("/restore", {"snapshot": folder}).status_code == 403
    assert operator.post("/restore", {"snapshot": "none-such"}).status_code == 404
    assert operator.post("/snapshot/a%20b").status_code == 400


def test_the_chain_holds_from_the_first_event_to_the_head(bridge: Bridge, operator: Agent) -> None:
    stored(bridge.join("builder"))
    head = operator.get("/events/head").json()
    at = {"after": 0, "hash": "0" * 64, "limit": 50}
    problems: list[Any] = []
    while True:
        page = operator.get("/events/verify", params=at).json()
        problems += page["problems"]
        if page["sequence"] <= head["sequence"] and not page["more"]:
            break
        if page["sequence"] > head["sequence"]:
            break
        at = {**at, "after": page["sequence"], "hash": page["hash"]}
    assert problems == []
    again = operator.get("/events/head", params={"sequence": head["sequence"]}).json()
    assert again == head
    assert json.dumps(head)
