import os
import shutil
from pathlib import Path

import bcrypt
import pytest
import yaml

from lab import credentials
from lab.paths import OBSERVABILITY


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "run" / "web"
    credentials.write(folder)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_each_stack_has_credentials_of_its_own(folder: Path, tmp_path: Path) -> None:
    credentials.write(tmp_path / "other")

    here, there = contents(folder), contents(tmp_path / "other")
    assert here.keys() == there.keys() == {"password", "traces-path", "web.yml"}
    assert not set(here.values()) & set(there.values())
    assert here["password"] != here["traces-path"]
    assert min(len(here["password"]), len(here["traces-path"])) >= 32


def test_credentials_stay_and_what_is_missing_is_made(folder: Path) -> None:
    before = contents(folder)
    (folder / "web.yml").unlink()

    credentials.write(folder)

    after = contents(folder)
    assert after["password"] == before["password"]
    assert after["traces-path"] == before["traces-path"]
    assert after.keys() == before.keys()


def test_the_hash_is_that_of_the_password(folder: Path) -> None:
    users = yaml.safe_load((folder / "web.yml").read_text())["basic_auth_users"]

    assert list(users) == ["vet-clinic"]
    assert bcrypt.checkpw((folder / "password").read_bytes(), users["vet-clinic"].encode())


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_only_the_user_can_read_them_whatever_the_umask(umask: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        credentials.write(tmp_path / "web")
    finally:
        os.umask(before)

    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "web").iterdir()} == {0o600}
    assert (tmp_path / "web").stat().st_mode & 0o777 == 0o700


def test_containers_get_passwords_and_tempo_its_path(tmp_path: Path) -> None:
    for volume in ("clinic", "api", "monitor", "web"):
        (tmp_path / "run" / volume).mkdir(parents=True)
    shutil.copytree(OBSERVABILITY / "tempo", tmp_path / "etc" / "tempo")

    credentials.write_for_containers(tmp_path)
    credentials.write_for_containers(tmp_path)  # each `just up` does

    written = contents(tmp_path / "run" / "web")
    path = written["traces-path"].decode()
    tempo = yaml.safe_load(written["tempo.yaml"].decode())
    assert tempo["server"]["http_path_prefix"] == tempo["http_api_prefix"] == f"/{path}"
    otlp = tempo["distributor"]["receivers"]["otlp"]["protocols"]["http"]
    assert otlp["traces_url_path"] == f"/{path}/v1/traces"
    files = [file for file in (tmp_path / "run").rglob("*") if file.is_file()]
    assert {file.stat().st_mode & 0o777 for file in files} == {0o440}
    passwords = {file.read_text() for file in files if file.name == "postgres-password"}
    assert len(passwords) == 3
