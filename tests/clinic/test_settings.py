from pathlib import Path

import pytest

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
