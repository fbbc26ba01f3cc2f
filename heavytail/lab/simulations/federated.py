"""Federated training: how accurate and how compressible a global model is, round by round, and what was sent for it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from heavytail import compress, federated
from heavytail.federated import Plan, Selection, Shard, Strategy
from heavytail.federated.plans import Weighting
from heavytail.federated.selecting import Kind
from heavytail.lab import models, runs
from heavytail.lab.datasets import Dataset
from heavytail.lab.runs import Run
from heavytail.lab.simulations.data import accuracy, seen
from heavytail.lab.simulations.record import Simulation
from heavytail.laws.averaging import Design

SPLITS = ("even", "dirichlet", "classes")


@dataclass(frozen=True, kw_only=True)
class Federated(Simulation):
    """One federated training of a network with one hidden layer. Its repeats are the seeds.

    alpha, sigma, noise       of the kicks of all steps; a sigma of 0 is federated averaging without any
    design, select, amount    who draws them and what a client sends: a `heavytail.federated.Strategy`
    dataset, samples, validation, lr   as in a `Run`, but 0 is all samples, or none set aside
    clients, rounds, steps, batch_size, weighting   as in a `heavytail.federated.Plan`
    split                     "even", "dirichlet" with its concentration, or "classes", so many of them a client

    Records that differ in strategy alone have the same start, split and batches: they are compared in pairs.
    """

    study: ClassVar[str] = "federated"

    # Of the data, and one: not fields here.
    inputs: ClassVar[int] = 1  # type: ignore[misc]
    repeats: ClassVar[int] = 1  # type: ignore[misc]

    alpha: float = 2.0
    sigma: float = 0.0
    width: int = 2000
    dataset: str = "ecg5000"
    samples: int = 0
    validation: int = 0
    lr: float = 0.01
    clients: int = 10
    rounds: int = 20
    steps: int = 5
    batch_size: int = 0
    weighting: Weighting = "samples"
    split: str = "even"
    concentration: float = 0.5
    classes_each: int = 2
    design: Design = "local"
    select: Kind = "all"
    amount: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        wholes = (("clients", 1), ("rounds", 1), ("steps", 1), ("batch_size", 0), ("samples", 0), ("validation", 0))
        for name, least in (*wholes, ("classes_each", 1)):
            runs.whole(self, name, least)
        for name in ("lr", "concentration", "amount"):
            runs.number(self, name)
        if self.split not in SPLITS:
            raise ValueError(f"unknown split {self.split!r}: choose one of {', '.join(SPLITS)}")
        if not 0 < self.concentration < math.inf:
            raise ValueError(f"concentration must be a finite number above 0, got {self.concentration:g}")
        _ = self.plan, self.run  # which refuse what they do not have

    @property
    def plan(self) -> Plan:
        """The plan of this training."""
        selection = Selection(self.select, self.amount)
        return Plan(
            clients=self.clients,
            rounds=self.rounds,
            steps=self.steps,
            lr=self.lr,
            seed=self.seed,
            batch_size=self.batch_size,
            weighting=self.weighting,
            strategy=Strategy(self.design, self.sigma, self.alpha, self.noise, selection),
        )

    @property
    def run(self) -> Run:
        """The `Run` whose start and data this training has."""
        return Run(
            dataset=self.dataset,
            width=self.width,
            lr=self.lr,
            max_steps=self.rounds * self.steps,
            samples=self.samples or None,
            validation=self.validation or None,
            seed=self.seed,
        )

    @property
    def numbers(self) -> dict[tuple[str, int], int]:
        """One number of each quantity after each round; see `measure`."""
        names = ("accuracy", "pruning_ratio", "upload", "download", "answered")
        return {(name, round): 1 for round in range(1, self.rounds + 1) for name in names}


def measure(simulation: Federated, device: str) -> dict[tuple[str, int], Tensor]:
    """After each round, of the global model: test `accuracy`, and `pruning_ratio`, the share of neurons that go at
    squared error 0.1. With the bytes of all messages until then, `upload` and `download`, and how many clients
    `answered`: those whose training blew up are not in the average.
    """
    data = seen(simulation.run, device)
    model = models.initial_model(simulation.run, data)
    values: dict[tuple[str, int], float] = {}
    upload = download = 0
    for done in federated.simulate(simulation.plan, model, shards(simulation, data)):
        upload, download = upload + done.upload, download + done.download
        now, weights = done.federation.round, done.federation.weights()
        values["accuracy", now] = accuracy(federated.fill(model, weights).eval(), data.x_test, data.y_test)
        values["pruning_ratio", now] = compress.prunable_share(weights["1.weight"])
        values["upload", now], values["download", now] = upload, download
        values["answered", now] = len(done.answered)
    return {name: torch.tensor([value], dtype=torch.float64) for name, value in values.items()}


def shards(simulation: Federated, data: Dataset) -> list[Shard]:
    """The samples of each client."""
    labels, clients, seed = data.y_train, simulation.clients, simulation.seed
    if simulation.split == "even":
        split = federated.even(labels, clients, seed=seed)
    elif simulation.split == "dirichlet":
        split = federated.dirichlet(labels, clients, concentration=simulation.concentration, seed=seed)
    else:
        split = federated.few_classes(labels, clients, each=simulation.classes_each, seed=seed)
    places = [part.to(labels.device) for part in split]
    return [Shard(data.x_train[part], labels[part]) for part in places]
