"""Make the keys, certificates and kubeconfigs of a test cluster."""

import base64
import json
import secrets
import subprocess
from pathlib import Path


def write_keys(folder: Path) -> str:
    """Write a CA, the server's and an administrator's certificate; return the admin's token."""
    ca_key, ca = str(folder / "ca.key"), str(folder / "ca.crt")
    authority = ["-addext", "keyUsage=critical,keyCertSign,cRLSign", "-subj", "/CN=heraci-test"]
    _openssl(folder, "ca", *authority)
    names = "IP:127.0.0.1,IP:10.0.0.1,DNS:localhost,DNS:kubernetes.default.svc"
    signed = ["-CA", ca, "-CAkey", ca_key, "-addext", "basicConstraints=critical,CA:FALSE"]
    _openssl(folder, "server", *signed, "-subj", "/CN=server", "-addext", f"subjectAltName={names}")
    _openssl(folder, "admin", *signed, "-subj", "/O=system:masters/CN=admin")
    for command in (
        ["openssl", "genrsa", "-out", "accounts.key", "2048"],
        ["openssl", "rsa", "-in", "accounts.key", "-pubout", "-out", "accounts.pub"],
    ):
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
    token = secrets.token_hex(16)
    (folder / "tokens.csv").write_text(f'{token},admin,admin,"system:masters"\n')
    return token


def _openssl(folder: Path, name: str, *more: str) -> None:
    # An own configuration: the system's one would add a second, contrary basicConstraints.
    config = folder / "openssl.cnf"
    config.write_text("[req]\ndistinguished_name = dn\n[dn]\n")
    if name == "ca":
        more = (*more, "-addext", "basicConstraints=critical,CA:TRUE")
    command = ["openssl", "req", "-x509", "-config", str(config), "-newkey", "rsa:2048", "-nodes"]
    files = ["-keyout", f"{name}.key", "-out", f"{name}.crt", "-days", "2"]
    identifiers = ["-addext", "subjectKeyIdentifier=hash"]
    if name != "ca":
        identifiers += ["-addext", "authorityKeyIdentifier=keyid"]
    subprocess.run(
        [*command, *files, *more, *identifiers], cwd=folder, check=True, capture_output=True
    )


def write_kubeconfig(
    path: Path, server: str, authority: Path | None, token: str, namespace: str = "default"
) -> Path:
    """Write a kubeconfig of one context that stands alone: nothing in it is a path."""
    cluster: dict[str, object] = {"server": server}
    if authority:
        cluster["certificate-authority-data"] = base64.b64encode(authority.read_bytes()).decode()
    context = {"cluster": "test", "user": "test", "namespace": namespace}
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "test", "cluster": cluster}],
        "users": [{"name": "test", "user": {"token": token}}],
        "contexts": [{"name": "test", "context": context}],
        "current-context": "test",
    }
    path.touch(mode=0o600)
    path.write_text(json.dumps(content, indent=1))
    return path
