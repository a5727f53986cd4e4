"""The kinds of relay: the only place that lists them. Everything else asks a kind what it needs.

A kind is a package beside this file. Its `KIND` says which keys of the secret are its own and how
they are read; its module `run` has `State`, which an environment keeps, and `fetch`; its module
`past`, where it has one, has `past`, which a back-fill asks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from importlib.util import find_spec
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from relay_metrics.relays import Fetched
    from relay_metrics.relays.client import RelayClient
    from relay_metrics.relays.past import Past, Wanted
    from relay_metrics.settings.secret import Keys

KINDS: Mapping[str, str] = {
    "claude-relay": "relay_metrics.relays.claude",
    "wyolet-relay": "relay_metrics.relays.wyolet",
}
"""Each kind's name in settings, reports and `relay.kind`, and its package."""

DEFAULT = "claude-relay"


class Access(Protocol):
    """How a relay of one kind is asked: its credentials, and what else its settings say."""

    @property
    def credentials(self) -> bool:
        """Whether a credential is sent to the relay."""

    @property
    def timed(self) -> bool:
        """Whether figures with a time of their own are asked of the relay."""

    @property
    def secrets(self) -> Iterable[str]:
        """Every value that must not be seen in any output."""


class NoAccess:
    """Of a relay whose settings are wrong: it is not asked."""

    credentials = timed = False
    secrets: Iterable[str] = ()


class OwnKeys(NamedTuple):
    """The keys of the secret that are a kind's own, in one of the two places that relays have.

    Attributes:
        read: gives the access of a relay.
        takes: how a message names the credentials that the kind takes.
    """

    read: Callable[[Keys], Access]
    takes: str
    credentials: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


class RelayKind(NamedTuple):
    """What is particular to a kind of relay.

    Attributes:
        one: its keys at the top of the secret, for the environment's one relay.
        listed: its keys in an entry of `relays`.
        sharded: whether its keys can be divided among shards; else the first shard asks for it all.
        address: how a message names the settings of its address.
        hints: what can be done about a failure, by its type, where the kind matters.
    """

    one: OwnKeys
    listed: OwnKeys
    sharded: bool
    address: str = "RELAY_BASE_URL, or base_url in the secret"
    hints: Mapping[str, str] = MappingProxyType({})


class TellsPast(Protocol):
    """The module `past` of a kind, where it has one."""

    def past(self, client: RelayClient, state: Any, wanted: Wanted) -> Past | None:
        """What the relay can tell of days that are over.

        Args:
            state: as of `Run.fetch`.

        Returns:
            None where a request failed, which is counted.

        Raises:
            Declined: it cannot be told, or takes more than is allowed.
            RelayError: the relay refused the credential.
        """


class Run(Protocol):
    """The module `run` of a kind."""

    State: Callable[[], Any]

    def fetch(self, client: RelayClient, state: Any) -> Fetched:
        """What the relay says in this run.

        Args:
            state: what `State` made and earlier runs left in it.
        """


def kind(name: str) -> RelayKind:
    """A kind by its name."""
    found: RelayKind = import_module(KINDS[name]).KIND
    return found


def run(name: str) -> Run:
    """How a kind is fetched. Imported with the first relay of the kind: a run may have none."""
    found: Run = import_module(f"{KINDS[name]}.run")
    return found


def past(name: str) -> TellsPast | None:
    """How a kind tells of its past; None where it does not."""
    module = f"{KINDS[name]}.past"
    if find_spec(module) is None:
        return None
    found: TellsPast = import_module(module)
    return found
