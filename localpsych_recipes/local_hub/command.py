"""What `localpsych hub` does: one user, one token kept beside the data, and a server until Ctrl-C."""

from __future__ import annotations

import ipaddress
import os
import shlex
from pathlib import Path

from localpsych_recipes.errors import UserError
from localpsych_recipes.local_hub.accounts import new_token
from localpsych_recipes.local_hub.server import LocalHub


def main_loop(root: Path, host: str = "127.0.0.1", port: int = 8765, user: str = "local") -> None:
    """Serve the folder `root` as a Hub whose one user is `user`, after printing the variables to export.

    Raises UserError if the address is taken or another hub serves the folder.
    """
    if root.exists() and not root.is_dir():
        raise UserError(f"{root} is a file", "a folder, made if it is not there", "name another one")
    if not 0 <= port <= 65535:
        raise UserError(f"--port {port}", "a port from 0 (any free one) to 65535", "name another one")
    token = kept_token(root)
    hub = LocalHub(root, host=host, port=port, tokens={token: user})
    try:
        print(_greeting(hub, host, user, token), flush=True)
        hub.serve_forever()
    except KeyboardInterrupt:
        print("\nstopped", flush=True)
    finally:
        hub.close()


def kept_token(root: Path) -> str:
    """The token of the hub in `root`, made at the first call, readable by its owner only."""
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = root / "token"
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_text().strip()
    with open(descriptor, "w") as file:
        file.write(new_token() + "\n")
    return path.read_text().strip()


def _greeting(hub: LocalHub, host: str, user: str, token: str) -> str:
    exports = "\n".join(f"export {name}={shlex.quote(value)}" for name, value in hub.environment(token).items())
    warning = "" if is_loopback(host) else (
        f"\n# WARNING: listening on {host}, not on loopback. Tokens and files travel unencrypted, and everybody who"
        "\n# reaches this address can read the public repositories. Use it on a network you trust only."
        "\n# Other machines put this one's name or address into HF_ENDPOINT.\n"
    )  # fmt: skip
    return f"# a Hub for the user {user}; Ctrl-C stops it\n{warning}{exports}"


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
