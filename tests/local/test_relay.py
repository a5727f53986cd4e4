"""The simulated Claude Relay Service answers as the recorded one did, and counts what it costs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from local.http_server import Fault, Response
from local.relay import Account, ClaudeRelay, Key, Limits, Quota, Usage, for_demo, many_keys
from local.relay.account_rows import PLATFORMS
from local.relay.demo import ADMIN
from tests import recorded
from tests.collecting import NOON, Clock

STATS = "/apiStats/api"


class Client:
    def __init__(self, relay: ClaudeRelay) -> None:
        self.relay = relay
        self.session = requests.Session()

    def post(self, path: str, **body: Any) -> requests.Response:
        return self.session.post(self.relay.url + path, json=body, timeout=60)

    def get(self, path: str) -> requests.Response:
        return self.session.get(self.relay.url + path, timeout=60)

    def login(self) -> requests.Response:
        answer = self.post("/web/auth/login", username=ADMIN[0], password=ADMIN[1])
        self.session.headers["Authorization"] = f"Bearer {answer.json()['token']}"
        return answer


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def demo(clock: Clock) -> Iterator[Client]:
    with for_demo(clock=clock) as relay:
        client = Client(relay)
        yield client
        client.session.close()
    assert relay.server.errors == []


@pytest.fixture
def bare(clock: Clock) -> Iterator[Client]:
    """A relay that a test fills itself."""
    with ClaudeRelay(admin=ADMIN, clock=clock) as relay:
        client = Client(relay)
        yield client
        client.session.close()
    assert relay.server.errors == []


def shape(value: Any) -> Any:
    """Field names and JSON types, int and float alike; a list is its first element's shape."""
    if isinstance(value, dict):
        return {name: shape(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    if isinstance(value, bool) or value is None:
        return type(value).__name__
    return "number" if isinstance(value, int | float) else "text"


def assert_like_recorded(answer: requests.Response, name: str) -> None:
    response = recorded(name)
    assert answer.status_code == response["status"]
    assert answer.headers["Content-Type"] == response["headers"]["Content-Type"]
    assert_same_shape(answer.json(), response["body"])


def assert_same_shape(value: Any, other: Any) -> None:
    # As text, so that the order of the fields counts too.
    assert json.dumps(shape(value), indent=1) == json.dumps(shape(other), indent=1)


def full(client: Client) -> Key:
    return client.relay.keys[0]


def unused(client: Client) -> Key:
    return client.relay.add(Key("unused-key", limits=Limits(daily_cost_limit=5), models=()))


def test_public_answers_have_the_recorded_shape(demo: Client) -> None:
    alpha, beta = demo.relay.keys[:2]
    nothing = unused(demo)

    def stats(endpoint: str, **body: Any) -> requests.Response:
        return demo.post(f"{STATS}/{endpoint}", **body)

    ids = [alpha.id, beta.id, nothing.id]
    cases = {
        "get-key-id": stats("get-key-id", apiKey=alpha.api_key),
        "user-stats.full": stats("user-stats", apiId=alpha.id),
        "user-stats.by-api-key": stats("user-stats", apiKey=alpha.api_key),
        "user-stats.unused": stats("user-stats", apiId=nothing.id),
        "user-model-stats.daily": stats("user-model-stats", apiId=alpha.id, period="daily"),
        "user-model-stats.monthly": stats("user-model-stats", apiId=alpha.id),
        "user-model-stats.alltime": stats("user-model-stats", apiId=alpha.id, period="alltime"),
        "user-model-stats.unused": stats("user-model-stats", apiId=nothing.id),
        "batch-stats": stats("batch-stats", apiIds=ids),
        "health": demo.get("/health"),
    }
    for name, answer in cases.items():
        assert_like_recorded(answer, name)


def test_a_key_without_limits_has_the_recorded_shape(bare: Client) -> None:
    key = bare.relay.add(Key("free"))
    bare.relay.use(key, "gpt-5", input_tokens=10)

    answer = bare.post(f"{STATS}/user-stats", apiId=key.id)

    assert_like_recorded(answer, "user-stats.no-limits")


def test_admin_answers_have_the_recorded_shape(demo: Client) -> None:
    assert_like_recorded(demo.login(), "admin.login")
    cases = {
        "admin.claude-console-accounts": demo.get("/admin/claude-console-accounts"),
        "admin.openai-responses-accounts": demo.get("/admin/openai-responses-accounts"),
        "admin.dashboard": demo.get("/admin/dashboard"),
        "admin.usage-costs.today": demo.get("/admin/usage-costs?period=today"),
        "admin.usage-stats": demo.get("/admin/usage-stats"),
    }
    for name, answer in cases.items():
        assert_like_recorded(answer, name)

    keys = demo.get("/admin/api-keys?page=1&pageSize=100").json()
    like = recorded("admin.api-keys")["body"]
    like["data"]["items"] = like["data"]["items"][1:]  # the first one was edited: updatedAt
    assert_same_shape(keys, like)


def test_nobody_under_way_has_the_recorded_concurrency(bare: Client) -> None:
    bare.login()

    assert_like_recorded(bare.get("/admin/concurrency"), "admin.concurrency")


def test_refusals_are_the_recorded_ones(demo: Client) -> None:
    off = unused(demo)
    off.active = False
    stats = f"{STATS}/user-stats"
    nobody = "00000000-0000-4000-8000-000000000000"
    cases = {
        "error.400-bad-id": demo.post(stats, apiId="nope"),
        "error.400-no-credential": demo.post(stats),
        "error.401-unknown-key": demo.post(stats, apiKey="cr_0000000000000000000000000000"),
        "error.403-disabled": demo.post(stats, apiId=off.id),
        "error.403-disabled-models": demo.post(f"{STATS}/user-model-stats", apiId=off.id),
        "error.404-unknown-id": demo.post(stats, apiId=nobody),
        "admin.login.error": demo.post("/web/auth/login", username="demo-admin", password="no"),
    }
    for name, answer in cases.items():
        assert (answer.status_code, answer.json()) == (
            recorded(name)["status"],
            recorded(name)["body"],
        )
    assert_like_recorded(demo.post(f"{STATS}/nope"), "error.404-route")
    demo.session.headers["Authorization"] = "Bearer short"
    assert_like_recorded(demo.get("/admin/api-keys"), "admin.error.401")


def test_totals_are_what_was_used(bare: Client) -> None:
    key = bare.relay.add(Key("k", rate=1.5))
    bare.relay.use(key, "gpt-5", requests=2, input_tokens=1_000_000, output_tokens=100_000)
    bare.relay.use(key, "claude-opus-4-20250514", cache_create_tokens=1000, cache_read_tokens=50)
    bare.login()

    usage = bare.post(f"{STATS}/user-stats", apiId=key.id).json()["data"]["usage"]["total"]
    rows = bare.post(f"{STATS}/user-model-stats", apiId=key.id).json()["data"]
    listed = bare.get("/admin/usage-stats").json()["data"]["stats"][0]["usage"]

    assert key.usage_in() == Usage(3, 1_000_000, 100_000, 1000, 50, 2_268_825, 3_403_238)
    assert usage["requests"] == 3
    assert usage["allTokens"] == 1_101_050
    assert usage["cost"] == listed["total"]["cost"] == 3.403238
    assert listed["daily"] == {"requests": 3, "tokens": 1_100_000}
    real = {row["model"]: (row["costs"]["total"], row["costs"]["rated"]) for row in rows}
    assert real == {"gpt-5": (2.25, 3.375), "claude-opus-4-20250514": (0.018825, 0.028238)}


def test_the_same_seed_grows_the_same_usage_and_every_tick_grows_it() -> None:
    clock = Clock()
    with for_demo(seed=3, clock=clock) as one, for_demo(seed=3, clock=clock) as other:
        before = one.usage_of_all().requests
        one.tick()
        other.tick()
        assert [key.totals for key in one.keys] == [key.totals for key in other.keys]
        assert one.usage_of_all().requests > before
    with for_demo(seed=4, clock=clock) as third:
        assert third.usage_of_all() != one.usage_of_all()


def test_day_month_and_week_roll_on_the_relays_own_clock(bare: Client, clock: Clock) -> None:
    key = bare.relay.add(Key("k", limits=Limits(weekly_reset_day=7, weekly_reset_hour=3)))
    bare.relay.use(key, "claude-3-5-haiku-20241022", output_tokens=250_000)

    def limits(**credential: str) -> Any:
        return bare.post(f"{STATS}/user-stats", **credential).json()["data"]["limits"]

    assert limits(apiId=key.id)["currentDailyCost"] == 1
    assert limits(apiId=key.id)["weeklyOpusCost"] == 1
    # By apiKey the relay reads the week that begins on Monday: not this key's.
    assert limits(apiKey=key.api_key)["weeklyOpusCost"] == 0
    assert bare.relay.week(7, 3) == "week:2026-11-15T03"

    clock.now = NOON + 4 * 3600  # 00:00 on Sunday at the relay
    assert limits(apiId=key.id)["currentDailyCost"] == 0
    assert limits(apiId=key.id)["weeklyOpusCost"] == 1
    clock.now = NOON + 7 * 3600  # 03:00
    assert limits(apiId=key.id)["weeklyOpusCost"] == 0
    clock.now = NOON + 10 * 86_400  # December
    rows = bare.post(f"{STATS}/user-model-stats", apiId=key.id).json()["data"]
    assert rows == []
    assert limits(apiId=key.id)["currentTotalCost"] == 1


def test_a_window_begins_with_a_use_and_ends(bare: Client, clock: Clock) -> None:
    key = bare.relay.add(Key("k", limits=Limits(rate_limit_window=60)))

    def window() -> list[Any]:
        limits = bare.post(f"{STATS}/user-stats", apiId=key.id).json()["data"]["limits"]
        names = ("windowStartTime", "windowRemainingSeconds", "currentWindowRequests")
        return [limits[name] for name in names]

    assert window() == [None, None, 0]
    bare.relay.use(key, "gpt-5", requests=3)
    clock.now += 600
    assert window() == [NOON * 1000, 3000, 3]
    clock.now += 3000
    assert window() == [None, 0, 0]


def test_a_key_that_waits_is_activated_by_its_key_alone(bare: Client, clock: Clock) -> None:
    key = bare.relay.add(Key("k", activated=False, activation_days=30))

    bare.post(f"{STATS}/get-key-id", apiKey=key.api_key)
    bare.post(f"{STATS}/user-stats", apiKey=key.api_key)
    bare.post(f"{STATS}/user-model-stats", apiId=key.id)
    assert (key.activated, key.expires_at) == (False, None)

    bare.post(f"{STATS}/user-model-stats", apiKey=key.api_key)
    assert (key.activated, key.expires_at) == (True, NOON + 30 * 86_400)
    data = bare.post(f"{STATS}/user-stats", apiId=key.id).json()["data"]
    assert data["isActivated"] is True
    assert data["expirationMode"] == "activation"
    assert data["expiresAt"] == "2026-12-21T12:00:00.000Z"


def test_states_answer_as_the_facts_say(bare: Client) -> None:
    expired = bare.relay.add(Key("old", expires_at=NOON - 1))
    deleted = bare.relay.add(Key("gone"))
    bare.relay.delete(deleted)

    def status(endpoint: str, **body: str) -> int:
        return bare.post(f"{STATS}/{endpoint}", **body).status_code

    assert status("user-stats", apiId=expired.id) == 403
    assert status("user-stats", apiKey=expired.api_key) == 401
    assert status("user-model-stats", apiId=expired.id) == 200
    assert status("user-model-stats", apiKey=expired.api_key) == 401
    assert status("user-stats", apiId=deleted.id) == 403
    assert status("user-stats", apiKey=deleted.api_key) == 401
    batch = bare.post(f"{STATS}/batch-stats", apiIds=[expired.id, deleted.id]).json()["data"]
    assert batch["individual"] == []
    assert batch["aggregated"]["totalKeys"] == 2


def test_batches_are_bounded(bare: Client) -> None:
    ids = [key.id for key in many_keys(31)]
    assert bare.post(f"{STATS}/batch-stats", apiIds=ids[:30]).status_code == 200
    refused = bare.post(f"{STATS}/batch-stats", apiIds=ids)
    assert (refused.status_code, refused.json()["error"]) == (400, "Too many keys")
    assert bare.post(f"{STATS}/batch-stats", apiIds=[]).status_code == 400


@pytest.mark.parametrize(
    ("query", "page", "size", "count"),
    [
        ("page=1&pageSize=100", 1, 100, 100),
        ("page=3&pageSize=100", 3, 100, 50),
        ("page=9&pageSize=100", 3, 100, 50),
        ("page=1&pageSize=30", 1, 20, 20),
        ("page=2&pageSize=10", 2, 10, 10),
        ("page=-1&pageSize=x", 1, 20, 20),
        ("", 1, 20, 20),
    ],
)
def test_keys_are_paged(bare: Client, query: str, page: int, size: int, count: int) -> None:
    for key in many_keys(250):
        bare.relay.add(key)
    bare.login()

    data = bare.get(f"/admin/api-keys?{query}").json()["data"]

    pages = -(-250 // size)
    assert data["pagination"] == {"page": page, "pageSize": size, "total": 250, "totalPages": pages}
    assert len(data["items"]) == count


def test_every_key_is_on_exactly_one_page_and_a_deleted_one_on_none(bare: Client) -> None:
    keys = [bare.relay.add(key) for key in many_keys(250)]
    bare.relay.use(keys[7], "gpt-5", requests=5)
    bare.login()
    bare.relay.delete(keys[7])

    pages = [bare.get(f"/admin/api-keys?page={n}&pageSize=100").json() for n in (1, 2, 3)]

    ids = [item["id"] for page in pages for item in page["data"]["items"]]
    assert sorted(ids) == sorted(key.id for key in keys if key is not keys[7])
    stats = bare.get("/admin/usage-stats").json()["data"]["stats"]
    assert keys[7].id not in {row["keyId"] for row in stats}
    overview = bare.get("/admin/dashboard").json()["data"]["overview"]
    assert (overview["totalApiKeys"], overview["totalRequestsUsed"]) == (249, 5)


def test_a_session_dies_and_a_login_brings_another(bare: Client) -> None:
    assert bare.get("/admin/dashboard").status_code == 401
    first = bare.login().json()["token"]
    assert bare.get("/admin/dashboard").status_code == 200
    bare.relay.sessions.clear()
    refused = bare.get("/admin/dashboard")
    assert (refused.status_code, refused.json()["error"]) == (401, "Invalid admin token")
    assert bare.login().json()["token"] != first
    assert bare.get("/admin/dashboard").status_code == 200
    assert bare.post("/web/auth/login", username="x").status_code == 400


def test_each_call_costs_what_the_facts_say(bare: Client) -> None:
    used, never = bare.relay.add(Key("used")), bare.relay.add(Key("never"))
    bare.relay.use(used, "gpt-5", output_tokens=1000)
    bare.login()
    both = [used.id, never.id]

    def scans(answer: requests.Response) -> int:
        assert answer.status_code == 200
        count, bare.relay.scans = bare.relay.scans, 0
        return count

    assert scans(bare.post(f"{STATS}/user-stats", apiId=used.id)) == 0
    assert scans(bare.post(f"{STATS}/user-stats", apiId=never.id)) == 1
    assert scans(bare.post(f"{STATS}/user-model-stats", apiId=used.id)) == 1
    assert scans(bare.post(f"{STATS}/batch-stats", apiIds=both)) == 0
    assert scans(bare.get("/health")) == 0
    assert scans(bare.get("/admin/api-keys")) == 0
    assert scans(bare.get("/admin/usage-stats")) == 1
    assert scans(bare.get("/admin/usage-costs?period=today")) == 0
    assert scans(bare.get("/admin/dashboard")) == 3
    assert scans(bare.get("/admin/concurrency")) == 1
    assert scans(bare.get("/admin/claude-accounts")) == 0
    assert bare.relay.calls[f"{STATS}/user-stats"] == 2
    assert bare.relay.calls.total() == bare.relay.server.requests


@pytest.mark.parametrize(
    ("release", "lacking"),
    [
        ("1.1.314", set()),
        ("1.1.280", {"weeklyResetDay", "weeklyResetHour"}),
        ("1.1.146", {"weeklyResetDay", "weeklyResetHour", "weeklyOpusCost", "weeklyOpusCostLimit"}),
    ],
)
def test_an_older_relay_leaves_out_what_it_lacks(
    release: str, lacking: set[str], clock: Clock
) -> None:
    with ClaudeRelay([Key("k")], release=release, clock=clock) as relay:
        client = Client(relay)
        limits = client.post(f"{STATS}/user-stats", apiId=relay.keys[0].id).json()["data"]["limits"]
        everything = recorded("user-stats.full")["body"]["data"]["limits"]
        assert everything.keys() - limits.keys() == lacking
        assert client.get("/health").json()["version"] == release
        client.session.close()


def test_much_older_relays(clock: Clock) -> None:
    with ClaudeRelay(many_keys(30), admin=ADMIN, release="1.1.98", clock=clock) as relay:
        client = Client(relay)
        key = relay.keys[0]
        relay.use(key, "gpt-5", input_tokens=100)
        clock.now += 40 * 86_400
        relay.use(key, "gpt-5", input_tokens=1)
        assert client.post(f"{STATS}/batch-stats", apiIds=[key.id]).status_code == 404
        body = {"apiId": key.id, "period": "alltime"}
        (row,) = client.post(f"{STATS}/user-model-stats", **body).json()["data"]
        assert row["inputTokens"] == 1  # alltime meant the month
        assert not {"real", "rated"} & row["costs"].keys()
        assert "isLegacy" not in row
        limits = client.post(f"{STATS}/user-stats", apiId=key.id).json()["data"]["limits"]
        assert not {"windowRemainingSeconds", "rateLimitCost", "totalCostLimit"} & limits.keys()
        client.login()
        assert len(client.get("/admin/api-keys?page=1&pageSize=10").json()["data"]) == 30
        relay.missing.add("/admin/usage-stats")
        assert client.get("/admin/usage-stats").status_code == 404
        client.session.close()


def test_accounts_say_their_state_in_their_platforms_words(bare: Client, clock: Clock) -> None:
    quota = Quota(NOON - 60, 42.5, NOON + 1800, 61, NOON + 86_400)
    for platform in PLATFORMS:
        limited = platform in ("openai", "gemini", "ccr")
        bare.relay.accounts.append(
            Account(
                platform,
                f"{platform} one",
                created_at=NOON - 86_400,
                daily_quota_usd=20,
                quota=quota,
                rate_limited_at=NOON - 60 if limited else None,
                rate_limited_until=NOON + 90 if limited else None,
            )
        )
    key = bare.relay.add(Key("k"))
    gpt = next(row for row in bare.relay.accounts if row.platform == "openai-responses")
    bare.relay.use(key, "gpt-5", input_tokens=800_000, cache_read_tokens=10, account=gpt)
    bare.login()

    rows = {}
    for platform in PLATFORMS:
        (rows[platform],) = bare.get(f"/admin/{platform}-accounts").json()["data"]
        assert rows[platform]["name"] == f"{platform} one"

    usage = rows["claude"]["claudeUsage"]
    assert usage["updatedAt"] == "2026-11-21T11:59:00.000Z"
    assert usage["fiveHour"] == {
        "utilization": 42.5,
        "resetsAt": "2026-11-21T12:30:00.000000+00:00",
        "remainingSeconds": 1800,
    }
    assert rows["openai"]["codexUsage"]["primary"] == {
        "usedPercent": 42.5,
        "resetAfterSeconds": 1860,
        "windowMinutes": 300,
        "resetAt": "2026-11-21T12:30:00.000Z",
        "remainingSeconds": 1800,
    }
    assert rows["openai"]["rateLimitStatus"] == {
        "status": "limited",
        "isRateLimited": True,
        "rateLimitedAt": "2026-11-21T11:59:00.000Z",
        "minutesRemaining": 2,
        "rateLimitResetAt": "2026-11-21T12:01:30.000Z",
    }
    assert rows["ccr"]["rateLimitInfo"]["remainingTimeMs"] == 90_000
    assert rows["gemini"]["isActive"] == "true"
    assert rows["openai-responses"]["dailyQuota"] == "20"
    assert rows["openai-responses"]["dailyUsage"] == "1.000001"
    assert rows["openai-responses"]["usage"]["daily"]["tokens"] == 800_000
    assert rows["openai-responses"]["usage"]["daily"]["allTokens"] == 800_010
    platforms = bare.get("/admin/dashboard").json()["data"]["overview"]["accountsByPlatform"]
    assert platforms["gemini"] == {
        "total": 1,
        "normal": 0,
        "abnormal": 0,
        "paused": 0,
        "rateLimited": 1,
    }


def test_ticks_spend_what_the_relay_watches(demo: Client, clock: Clock) -> None:
    watched, forgotten = demo.relay.accounts[:2]
    assert watched.quota is not None
    assert forgotten.quota is not None
    before = (watched.quota.five_hour_percent, forgotten.quota.five_hour_percent)
    clock.now += 3600

    for _ in range(5):
        demo.relay.tick()

    assert watched.quota.five_hour_percent > before[0]
    assert watched.quota.updated_at == clock.now
    assert forgotten.quota.five_hour_percent == before[1]
    assert forgotten.quota.updated_at < clock.now - 3600
    spent = sum(account.usage["total"].requests for account in demo.relay.accounts if account.usage)
    assert 0 < spent <= demo.relay.usage_of_all().requests


def test_concurrency_sums_what_is_under_way(demo: Client) -> None:
    alpha, beta, _ = demo.relay.keys
    demo.relay.active_requests = {alpha.id: 2, beta.id: 1}
    demo.relay.queued_requests = {alpha.id: 4}
    demo.login()

    answer = demo.get("/admin/concurrency").json()

    assert answer["summary"] == {
        "totalKeys": 2,
        "totalActiveRequests": 3,
        "totalExpiredRequests": 0,
        "totalQueuedRequests": 4,
    }
    assert [row["queueCount"] for row in answer["concurrencyStatus"]] == [4, 0]


def test_a_fault_meets_one_endpoint_and_leaves_the_others(demo: Client) -> None:
    def unsuccessful(response: Response) -> Response:
        return Response.of_json({**json.loads(response.body), "success": False})

    demo.relay.fault = lambda request: (
        Fault(rewrite=unsuccessful) if request.path.endswith("/user-stats") else None
    )

    answer = demo.post(f"{STATS}/user-stats", apiId=full(demo).id).json()

    assert answer["success"] is False
    assert answer["data"]["name"] == "team-alpha"
    assert demo.post(f"{STATS}/user-model-stats", apiId=full(demo).id).json()["success"] is True


def test_ten_thousand_keys(clock: Clock) -> None:
    with ClaudeRelay(many_keys(10_000), admin=ADMIN, clock=clock) as relay:
        client = Client(relay)
        relay.tick()
        client.login()
        pages = [client.get(f"/admin/api-keys?page={n}&pageSize=100") for n in range(1, 101)]
        listed = {item["id"] for page in pages for item in page.json()["data"]["items"]}
        assert listed == set(relay.by_id)
        stats = client.get("/admin/usage-stats")
        totals = {
            row["keyId"]: row["usage"]["total"]["requests"] for row in stats.json()["data"]["stats"]
        }
        assert totals == {key.id: key.usage_in().requests for key in relay.keys}
        assert len(stats.content) < 8 * 1024 * 1024
        assert stats.headers["Content-Encoding"] == "gzip"
        client.session.close()
    assert relay.server.errors == []
