"""A fleet of Flower on this machine: a SuperLink and SuperNodes in processes of their own, with certificates."""

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
    known = {**os.environ, "FLWR_HOME": str(home), "FLWR_TELEMETRY_ENABLED": "0", "RAY_USAGE_STATS_ENABLED": "0"}
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
    """What runs: its folder, its certificates, the ports of SuperLink and clients, and its programs by name."""

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
                env=environment(self.folder / "home"),
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        return self.programs[name]

    def client(self, number: int) -> None:
        """Start the SuperNode of a client."""
        safe = self.certificates
        self.start(
            f"client {number}",
            *("flower-supernode", "--root-certificates", str(safe["ca"]), "--superlink", f"127.0.0.1:{self.port}"),
            *(
                "--ssl-certfile",
                str(safe["cert"]),
                "--ssl-keyfile",
                str(safe["key"]),
                "--ssl-ca-certfile",
                str(safe["ca"]),
            ),
            *(
                "--host",
                "127.0.0.1",
                "--port",
                str(self.client_ports[number]),
                "--node-config",
                f"partition-id={number}",
            ),
        )

    def ended(self) -> str | None:
        """The name of a program that has ended by itself, but for runs, which are meant to; None if there is none."""
        return next((name for name, own in self.programs.items() if name != "run" and own.poll() is not None), None)

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


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5):
        return True
    return False


@contextlib.contextmanager
def fleet(folder: Path, clients: int) -> Iterator[Fleet]:
    """A SuperLink and so many SuperNodes, all over TLS; ended whatever happens."""
    (folder / "home").mkdir()
    safe = certificates(folder)
    made, end = None, time.monotonic() + PATIENCE
    try:
        for _ in range(5):  # somebody else may take a port before we do
            port, *client_ports = free_ports(1 + clients)
            made = Fleet(folder, safe, port, client_ports, {}, end)
            link = made.start(
                "superlink",
                *("flower-superlink", "--disable-runtime-dependency-installation", "--host", "127.0.0.1"),
                *("--port", str(made.port), "--ssl-ca-certfile", str(safe["ca"])),
                *("--ssl-certfile", str(safe["cert"]), "--ssl-keyfile", str(safe["key"])),
            )
            wait(lambda link=link, made=made: link.poll() is not None or _listens(made.port), made, "the SuperLink")
            if link.poll() is None:
                break
        text = f'[superlink.fleet]\naddress = "127.0.0.1:{made.port}"\nroot-certificates = "{safe["ca"]}"\n'
        (folder / "home" / "config.toml").write_text(text)
        for number in range(clients):
            made.client(number)
        yield made
    finally:
        for name in reversed(list(made.programs) if made else []):
            made.kill(name)
