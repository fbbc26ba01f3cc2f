"""A fleet of Flower on this machine: a SuperLink and SuperNodes in processes of their own, with certificates or not."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import contacts

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 540.0  # seconds after which a test is hung; pytest ends all of itself, and no program here, after 600


def certificates(folder: Path) -> dict[str, Path]:
    """An authority and a server that it vouches for at 127.0.0.1: paths of `ca`, `cert` and `key`."""
    from cryptography import x509  # here, as pytest looks for examples in every module, wherever it is
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    now = datetime.datetime.now(datetime.UTC)
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority of a test")])
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])

    def signed(subject: x509.Name, public: ec.EllipticCurvePublicKey, is_ca: bool) -> x509.Certificate:
        places = [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("localhost")]
        usage = x509.KeyUsage(True, False, False, False, False, is_ca, is_ca, False, False)
        return (
            x509.CertificateBuilder(ca_name, subject, public, x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=2))
            .add_extension(x509.BasicConstraints(is_ca, None), critical=True)
            .add_extension(x509.SubjectAlternativeName(places), critical=False)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
            .sign(ca_key, hashes.SHA256())
        )

    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    contents = {
        "ca": signed(ca_name, ca_key.public_key(), True).public_bytes(pem),
        "cert": signed(name, key.public_key(), False).public_bytes(pem),
        "key": private,
    }
    for file, content in contents.items():
        (folder / f"{file}.pem").write_bytes(content)
    return {file: folder / f"{file}.pem" for file in contents}


def free_ports(count: int) -> list[int]:
    """So many ports that nobody has at this moment, all different: each is held until all are drawn."""
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in held:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in held]


def environment(home: Path) -> dict[str, str]:
    """That of the programs of Flower, which have to find each other, the package and its data."""
    silent = {"FLWR_TELEMETRY_ENABLED": "0", "RAY_USAGE_STATS_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1"}
    known = {**os.environ, **silent, "FLWR_HOME": str(home)}
    known["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{known.get('PATH', '')}"
    known["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, [known.get("PYTHONPATH")])])
    return known | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}


def called(
    command: list[str], environment: dict[str, str], folder: Path, patience: float = PATIENCE
) -> tuple[int, str, str]:
    """What a program returns, writes and complains of; after so many seconds it ends with all that it has started."""
    texts = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=environment, cwd=folder, start_new_session=True, **texts) as program:
        try:
            out, err = program.communicate(timeout=patience)
        except subprocess.TimeoutExpired:
            os.killpg(program.pid, signal.SIGKILL)
            raise
    return program.returncode, out, err


@dataclass(frozen=True, eq=False)
class Fleet:
    """What runs: its folder, its ports, its certificates, none where all is sent in the clear, and programs by name."""

    folder: Path
    certificates: dict[str, Path]
    port: int
    client_ports: list[int]
    programs: dict[str, subprocess.Popen[bytes]]
    end: float  # when it is hung, by time.monotonic()

    def log(self, name: str) -> str:
        """What a program has said so far."""
        path = self.folder / f"{name}.log"
        return path.read_text("utf-8", "replace") if path.exists() else ""

    def start(self, name: str, *command: str) -> subprocess.Popen[bytes]:
        """Start a program in a group of its own."""
        with (self.folder / f"{name}.log").open("ab") as log:
            self.programs[name] = subprocess.Popen(
                command,
                cwd=self.folder,
                env=contacts.watched(environment(self.folder / "home"), self.folder),
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        return self.programs[name]

    def superlink(self) -> subprocess.Popen[bytes]:
        """Start the SuperLink, here or again where it was."""
        own = ("--disable-runtime-dependency-installation", "--host", "127.0.0.1", "--port", str(self.port))
        return self.start("superlink", "flower-superlink", *own, *self._own_certificate())

    def client(self, number: int, *, called: int | None = None, through: int | None = None) -> None:
        """Start the SuperNode of a client, which may be called by another number and reach the SuperLink by a proxy."""
        trusts = ("--root-certificates", str(self.certificates["ca"])) if self.certificates else ("--insecure",)
        own = ("--host", "127.0.0.1", "--port", str(self.client_ports[number]))
        config = ("--node-config", f"partition-id={number if called is None else called}")
        link = ("--superlink", f"127.0.0.1:{through or self.port}")
        certificate = self._own_certificate() if self.certificates else ()
        self.start(f"client {number}", "flower-supernode", *trusts, *link, *certificate, *own, *config)

    def _own_certificate(self) -> tuple[str, ...]:
        if not (safe := self.certificates):
            return ("--insecure",)
        files = {"--ssl-certfile": "cert", "--ssl-keyfile": "key", "--ssl-ca-certfile": "ca"}
        return tuple(word for option, name in files.items() for word in (option, str(safe[name])))

    def ended(self) -> str | None:
        """The name of a program that has ended by itself, but for runs, which are meant to; None if there is none."""
        lasting = {name: own for name, own in self.programs.items() if not name.startswith("run")}
        return next((name for name, own in lasting.items() if own.poll() is not None), None)

    def kill(self, name: str) -> None:
        """End a program and all that it has started, at once."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.programs[name].pid, signal.SIGKILL)
        self.programs.pop(name).wait()


def wait(condition, fleet: Fleet, what: str):
    """What the condition gives once it is true. AssertionError, with what all programs said, if it never is.

    It never is where a program that should run has ended.
    """
    while not (value := condition()):
        if (name := fleet.ended()) or time.monotonic() > fleet.end:
            logs = "\n".join(f"== {name}\n{fleet.log(name)[-3000:]}" for name in fleet.programs)
            raise AssertionError(f"{what} did not happen{f', as {name} has ended' if name else ''}\n{logs}")
        time.sleep(0.2)
    return value


def listens(port: int) -> bool:
    """Whether somebody takes connections there."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5):
        return True
    return False


@contextlib.contextmanager
def fleet(folder: Path, clients: int, *, safe: bool = True, joined: bool = True) -> Iterator[Fleet]:
    """A SuperLink and so many SuperNodes, over TLS or in the clear; ended whatever happens.

    With `joined=False` there are only ports for the SuperNodes, which are to be started with `client`.
    """
    (folder / "home").mkdir()
    made, end = None, time.monotonic() + PATIENCE
    known = certificates(folder) if safe else {}
    try:
        for _ in range(5):  # somebody else may take a port before we do
            port, *client_ports = free_ports(1 + clients)
            made = Fleet(folder, known, port, client_ports, {}, end)
            link = made.superlink()
            wait(lambda link=link, made=made: link.poll() is not None or listens(made.port), made, "the SuperLink")
            if link.poll() is None:
                break
        trusts = f'root-certificates = "{known["ca"]}"' if safe else "insecure = true"
        text = f'[superlink.fleet]\naddress = "127.0.0.1:{made.port}"\n{trusts}\n'
        (folder / "home" / "config.toml").write_text(text)
        for number in range(clients if joined else 0):
            made.client(number)
        yield made
    finally:
        for name in reversed(list(made.programs) if made else []):
            made.kill(name)
        for process in contacts.processes(folder):  # in a group of its own: it ends with its parent, but not at once
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(process.name), signal.SIGKILL)
