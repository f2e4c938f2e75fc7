from pathlib import Path

import pytest

from clinic.networks import Networks
from clinic.settings import Settings, SettingsError


def test_settings_have_defaults() -> None:
    assert Settings.from_env({}) == Settings()


def test_settings_come_from_the_environment() -> None:
    env = {"CLINIC_PORT": "8100", "CLINIC_LOAD_RUNS": "false", "CLINIC_HOST": " ", "PORT": "1"}

    settings = Settings.from_env(env)

    assert settings == Settings(port=8100, load_runs=False)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CLINIC_PORT", "http"),
        ("CLINIC_PORT", "65536"),
        ("CLINIC_POOL_SIZE", "0"),
        ("CLINIC_LOAD_RUNS", "perhaps"),
        ("CLINIC_API_TOKEN", "short"),
        ("CLINIC_OPEN_NETWORKS", "0.0.0.0/0"),
        ("CLINIC_OPEN_NETWORKS", "10.0.0.1/8"),
        ("CLINIC_OPEN_NETWORKS", "the office"),
        ("CLINIC_DATABASE_PASSWORD_FILE", "/nonexistent"),
        ("CLINIC_API_TOKEN_FILE", "/nonexistent"),
        ("CLINIC_ALLOWED_HOSTS", "http://clinic.example"),
        ("CLINIC_ALLOWED_HOSTS", "clinic.example:8000"),
        ("CLINIC_ALLOWED_HOSTS", "*"),
        ("CLINIC_KEEP_ALIVE", "0"),
        ("CLINIC_WORKERS", "0"),
        ("CLINIC_WORKERS", "two"),
    ],
)
def test_invalid_settings_are_named(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name):
        Settings.from_env({name: value})


def test_secrets_are_not_shown() -> None:
    settings = Settings(api_token="correct-horse-battery", database_url="postgresql://a:secret@b")

    assert "secret" not in repr(settings)
    assert "horse" not in repr(settings)


def test_the_database_password_is_read_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("p@ss/word\n")
    env = {
        "CLINIC_DATABASE_URL": "postgresql+asyncpg://clinic@postgres:5432/clinic",
        "CLINIC_DATABASE_PASSWORD_FILE": str(tmp_path / "password"),
    }

    settings = Settings.from_env(env)

    assert settings.database_url == (
        "postgresql+asyncpg://clinic:p%40ss%2Fword@postgres:5432/clinic"
    )


def test_an_invalid_database_url_is_named(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("secret")
    env = {
        "CLINIC_DATABASE_URL": "postgres",
        "CLINIC_DATABASE_PASSWORD_FILE": str(tmp_path / "password"),
    }

    with pytest.raises(SettingsError, match="CLINIC_DATABASE_URL"):
        Settings.from_env(env)


def test_the_token_is_read_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("correct-horse-battery\n")
    env = {"CLINIC_API_TOKEN_FILE": str(tmp_path / "token")}

    assert Settings.from_env(env).api_token == "correct-horse-battery"
    with pytest.raises(SettingsError, match="not both"):
        Settings.from_env({**env, "CLINIC_API_TOKEN": "correct-horse-battery"})
    (tmp_path / "token").write_text("short")
    with pytest.raises(SettingsError, match="CLINIC_API_TOKEN_FILE: expected a token of at least"):
        Settings.from_env(env)


@pytest.mark.parametrize("host", ["::", "192.0.2.7", "clinic.example"])
def test_a_listening_address_beyond_this_machine_needs_a_rule_who_may_call(host: str) -> None:
    with pytest.raises(SettingsError, match=r"CLINIC_HOST: .* is beyond this machine"):
        Settings(host=host).check_address()
    Settings(host=host, api_token="correct-horse-battery").check_address()
    Settings(host=host, open_networks=Networks("10.0.0.0/8")).check_address()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "localhost"])
def test_listening_on_this_machine_needs_no_token(host: str) -> None:
    Settings(host=host).check_address()
