"""The clients and the server of a federation as apps of Flower, on its Message API: the extra `federated`.

Messages, rounds and steps are those of `simulate`, so its result is that of Flower on the same seeds, to rounding. A
Flower message carries a message of this package in one array, and its round, client and samples in a record of numbers.

Flower and Ray would report what is run to their makers. Here they do not, unless the environment says so: import this
module before `flwr`, or set FLWR_TELEMETRY_ENABLED=0 and RAY_USAGE_STATS_ENABLED=0. The programs of Flower ask theirs
for a newer version when they start: FLWR_DISABLE_UPDATE_CHECK=1 keeps them from it. Ray's simulation still asks at
169.254.169.254 and metadata.google.internal, by HTTP, which cloud it is in. A proxy that is not there keeps that on
this machine too, and all else that the process would fetch: start it with
`http_proxy=http://127.0.0.1:9 no_proxy=127.0.0.1,localhost,::1`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from heavytail.compress.files import checked
from heavytail.extras import need
from heavytail.federated import keeping, kicks, rounds, steps
from heavytail.federated.layout import Layout, layout, state_of
from heavytail.federated.messages import unpack
from heavytail.federated.plans import Plan, taking_part
from heavytail.federated.rounds import Answer, Federation, Round
from heavytail.federated.steps import Shard

if TYPE_CHECKING:
    from flwr.app import Context, Message
    from flwr.clientapp import ClientApp
    from flwr.serverapp import Grid, ServerApp

os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")  # read once, by the first import of flwr
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("FLWR_DISABLE_UPDATE_CHECK", "1")  # by programs that are started from here

#: What Flower's simulation hands to Ray so that it listens on this machine alone, without its web page.
BACKEND: dict[str, Any] = {"init_args": {"include_dashboard": False, "_node_ip_address": "127.0.0.1"}}

_ARRAY, _ABOUT = "state", "about"  # names of the records of a message
_LOOK = 0.5  # seconds between two looks at which clients are there


@dataclass(frozen=True, eq=False)
class Task:
    """What all parties of a federation have: a plan, the network it starts from, and a sample to find its layers by."""

    plan: Plan
    model: nn.Module
    sample: Any = None


Settings = Mapping[str, Any]  # Flower's run config: what pyproject.toml and `flwr run --run-config` say


def client_app(task: Callable[[Settings], Task], data: Callable[[Settings, int], Shard]) -> ClientApp:
    """A client: it makes the steps of a round and sends its move.

    task  from the settings of a run to what all parties have; the same for server and clients, random numbers too
    data  from those settings and the number of a client to its samples

    A client has its number from Flower: `partition-id` of its node's config, which the simulation sets by itself.
    Raises ModuleNotFoundError in one sentence without Flower. A client that fails answers with an error, and the round
    goes on without it.
    """
    clientapp = _flower("clientapp")
    app: ClientApp = clientapp.ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        settings = dict(context.run_config)
        common = task(settings)
        number = client_of(context.node_config, common.plan)
        return _flower("app").Message(
            _answered(common, number, data(settings, number), message.content), reply_to=message
        )

    @app.query()
    def query(message: Message, context: Context) -> Message:
        flower = _flower("app")
        number = client_of(context.node_config, task(dict(context.run_config)).plan)
        about = flower.ConfigRecord({"client": number})
        return flower.Message(flower.RecordDict({_ABOUT: about}), reply_to=message)

    return app


def server_app(
    task: Callable[[Settings], Task],
    *,
    each: Callable[[Settings, Round], None] | None = None,
    state: Callable[[Settings], Path | str | None] | None = None,
    patience: float | Callable[[Settings], float] | None = None,
    gathering: float = 600.0,
) -> ServerApp:
    """The server: it offers the global model, reads what clients send, and averages.

    task       that of the clients
    each       called after every round with the settings and what came of it, to measure or to write
    state      from the settings to the file that keeps the global model after every round, see `keeping`. A run that
               finds one there goes on from it, as after a SuperLink was restarted, and `each` may see the round again
               in which that was. None, an empty name, or without it: no file, and from the start
    patience   seconds to wait for the answers of a round, which then goes on without the others, or a function from the
               settings to these; None: until Flower has an answer of every client, be it that it is gone
    gathering  seconds to wait for all clients of the plan before the first round, which then goes on with those there,
               and before a later one for a client at all

    Where a plan draws the clients of a round, every node is asked once for the number of its client, and those that are
    not drawn get nothing. Upload and download are bytes of messages, without what Flower writes around them.

    What is no answer, is not finite, came twice, or is of another round, plan or start, or of a client that is unknown
    or was not drawn, is turned down with one sentence in `Round.refused`, which says too how many clients were not
    there. Raises ModuleNotFoundError in one sentence without Flower, and when it runs TimeoutError where no client
    came, ValueError for a state to go on from that is damaged or of another plan or start, and OSError where none can
    be written, both before the first round.
    """
    serverapp = _flower("serverapp")
    app: ServerApp = serverapp.ServerApp()

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        settings = dict(context.run_config)
        seconds = patience(settings) if callable(patience) else patience
        common, place = task(settings), (state(settings) if state else None) or None
        own = layout(common.model, common.sample)
        now = _begun(common, own, place)
        for done in _rounds(common, own, grid, seconds, gathering, now):
            if each is not None:
                each(settings, done)
            if place is not None:
                keeping.keep(place, own, done.federation)

    return app


def client_of(config: Settings, plan: Plan) -> int:
    """The number of a client in the config of its node. ValueError where it has none of the plan.

    >>> client_of({"partition-id": 2}, Plan(clients=4, rounds=1, steps=1, lr=0.1, seed=0))
    2
    """
    number = config.get("partition-id")
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number < plan.clients:
        raise ValueError(
            f"a client needs its number, 0 to {plan.clients - 1}, as partition-id in the config of its node, got "
            f"{number!r}"
        )
    return number


def _begun(task: Task, own: Layout, place: Path | str | None) -> Federation:
    """The global model to begin with: what a file keeps, or the start, which is then kept there."""
    plan, start = task.plan, state_of(task.model)
    if place is None:
        return rounds.begin(plan, own, start)
    place = checked(place)
    if (now := keeping.kept(place, plan, own, start)) is None:
        keeping.keep(place, own, now := rounds.begin(plan, own, start))
    elif now.round == plan.rounds:
        print(f"all {plan.rounds} rounds are done: {place} holds the global model", flush=True)
    else:
        print(f"this goes on after round {now.round} of {plan.rounds}, with {place}", flush=True)
    return now


def _rounds(
    task: Task, own: Layout, grid: Grid, patience: float | None, gathering: float, now: Federation
) -> Iterable[Round]:
    """The rounds of a plan over a grid of Flower, from here on."""
    plan, least = task.plan, task.plan.clients
    numbers: dict[int, int] = {}  # of the client of each node, where it matters
    while now.round < plan.rounds:
        _gathered(grid, least, gathering)
        least = 1
        nodes, refused = sorted(grid.get_node_ids()), list[str]()
        if plan.sampled:
            refused = _ask(plan, grid, nodes, numbers, patience, now.round)
            nodes = [node for node in nodes if numbers.get(node) in taking_part(plan, now.round)]
        offered = rounds.offer(own, now)
        record = _record(offered, {"round": now.round, "origin": now.origin.hex()})
        replies = _exchanged(grid, _flower("app").MessageType.TRAIN, record, nodes, patience, now.round)
        after = kicks.later(plan, own, now.known, now.round)
        yield (done := _closed(plan, own, now, after, replies, nodes, len(offered), refused))
        now = done.federation


def _ask(
    plan: Plan, grid: Grid, nodes: Sequence[int], numbers: dict[int, int], patience: float | None, round: int
) -> list[str]:
    """Add to the known numbers of clients those of new nodes, and a sentence for each that does not say its own."""
    app = _flower("app")
    new = [node for node in nodes if node not in numbers]
    for reply in _exchanged(grid, app.MessageType.QUERY, app.RecordDict(), new, patience, round):
        number = None if reply.has_error() else dict(reply.content.config_records.get(_ABOUT, {})).get("client")
        if isinstance(number, int) and not isinstance(number, bool) and 0 <= number < plan.clients:
            numbers[reply.metadata.src_node_id] = number
    return [f"node {node} did not say in round {round + 1} which client it is" for node in new if node not in numbers]


def _exchanged(
    grid: Grid, kind: str, record: Any, nodes: Sequence[int], patience: float | None, round: int
) -> Iterable[Message]:
    """What nodes reply to a record."""
    message = _flower("app").Message
    sent = [message(record, node, kind, group_id=str(round)) for node in nodes]
    return grid.send_and_receive(sent, timeout=patience) if sent else []


def _closed(
    plan: Plan,
    own: Layout,
    now: Federation,
    after: Mapping[str, Tensor],
    replies: Iterable[Message],
    nodes: list[int],
    offered: int,
    refused: list[str],
) -> Round:
    """The end of a round, from what came in."""
    answers: dict[int, Answer] = {}
    upload, silent, reasons = 0, set(nodes), set()
    for reply in replies:
        node = reply.metadata.src_node_id
        if reply.has_error() and node not in nodes:  # Flower itself, of a node that is gone and that it does not name
            reasons.add(f": {_line(reply.error.reason)}")
            continue
        silent.discard(node)
        if reply.has_error():
            refused.append(f"node {node} sent an error in round {now.round + 1}: {_line(reply.error.reason)}")
            continue
        content = _content(reply.content)
        upload += len(content or b"")
        try:
            number, samples = _about(reply.content, plan, now)
            if number in answers:
                raise ValueError(f"client {number} has answered already")
            if content is None:
                raise ValueError("it holds no message of heavytail.federated")
            answers[number] = Answer(rounds.read(plan, own, after, number, now.round, content), samples)
        except ValueError as error:
            refused.append(f"what node {node} sent in round {now.round + 1} is refused: {error}")
    reason = reasons.pop() if len(reasons) == 1 else ""
    refused += [f"node {node} sent nothing in round {now.round + 1}{reason}" for node in sorted(silent)]
    wanted = len(taking_part(plan, now.round))
    if (absent := wanted - len(nodes)) > 0:
        refused.append(f"{absent} of {wanted} clients were not there in round {now.round + 1}")
    return rounds.end(plan, own, now, after, answers, refused, (upload, offered * len(nodes)))


def _answered(task: Task, number: int, shard: Shard, content: Any) -> Any:
    """The record that a client sends back, with its steps made. ValueError for an offer that is none."""
    plan, own = task.plan, layout(task.model, task.sample)
    start, about = state_of(task.model), content.config_records.get(_ABOUT, {})
    offered, round, origin = _content(content), about.get("round"), rounds.origin(plan, own, start).hex()
    if offered is None or not isinstance(round, int) or not 0 <= round < plan.rounds:
        raise ValueError("the server sent no round of this plan: run both from the same app")
    if about.get("origin") != origin:
        raise ValueError("this client has another plan or start than the server: run both from the same app")
    known = kicks.known_at(plan, own, start, round)
    each, after = steps.moves(task.model, plan, own, known, unpack(offered, own), [number], [shard], round)
    sent = rounds.answer(plan, own, after, number, round, {name: part[0] for name, part in each.items()})
    return _record(sent, {"round": round, "client": number, "samples": len(shard.y), "origin": origin})


def _about(content: Any, plan: Plan, now: Federation) -> tuple[int, int]:
    """Which client it is from, and how many samples it has. ValueError where it does not say so."""
    about = content.config_records.get(_ABOUT, {})
    values = [about.get(name) for name in ("round", "client", "samples")]
    if not all(isinstance(value, int) and not isinstance(value, bool) for value in values):
        raise ValueError("it does not say its round, client and samples")
    its_round, number, samples = values
    if its_round != now.round:
        raise ValueError(f"it is of round {its_round + 1}")
    if about.get("origin") != now.origin.hex():
        raise ValueError("it is of another plan or start: run server and clients from the same app")
    if not 0 <= number < plan.clients:
        raise ValueError(f"there is no client {number} among {plan.clients}")
    if number not in taking_part(plan, now.round):
        raise ValueError(f"client {number} was not drawn for this round")
    if not 1 <= samples < 2**53:
        raise ValueError(f"a client with {samples} samples has no weight")
    return number, samples


def _record(content: bytes, about: Mapping[str, int | str]) -> Any:
    app = _flower("app")
    array = app.Array(dtype="uint8", shape=(len(content),), stype="heavytail", data=content)
    return app.RecordDict({_ARRAY: app.ArrayRecord({_ARRAY: array}), _ABOUT: app.ConfigRecord(dict(about))})


def _content(record: Any) -> bytes | None:
    """The message in a record of Flower; None if there is none."""
    arrays = record.array_records.get(_ARRAY, {})
    return arrays[_ARRAY].data if _ARRAY in arrays else None


def _gathered(grid: Grid, clients: int, seconds: float) -> None:
    """Wait until so many clients are there, or so long. TimeoutError if nobody came."""
    end = time.monotonic() + seconds
    while len(there := list(grid.get_node_ids())) < clients and time.monotonic() < end:
        time.sleep(_LOOK)
    if not there:
        raise TimeoutError(f"no client came within {seconds:g} seconds: start them first")


def _line(text: object) -> str:
    """The last line of an error that has something in it, as a sentence can hold it: printable ASCII, and short."""
    lines = [line.strip() for line in str(text).splitlines() if line.strip()]
    return ascii(lines[-1][:200])[1:-1][:200] if lines else "it gives no reason"


@lru_cache
def _flower(name: str) -> Any:
    return need(f"flwr.{name}", "heavytail.federated.apps", "federated")
