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
    ],
)
def test_an_unusable_setting_is_named(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name):
        Settings.from_env({name: value})


def test_secrets_are_not_shown() -> None:
    settings = Settings(api_token="correct-horse-battery", database_url="postgresql://a:secret@b")

    assert "secret" not in repr(settings)
    assert "horse" not in repr(settings)
