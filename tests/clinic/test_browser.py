"""Pages of another origin in a real browser: they change nothing and read nothing."""

from pathlib import Path

import httpx
import pytest

from clinic.settings import Settings
from tests.support.browser import FOREIGN, hosting, results_of, visit
from tests.support.clinic import unique_email
from tests.support.server import OTLPReceiver, serving, stop

PAGE = """<!doctype html><title>page</title><body>
<iframe name="sink"></iframe>
<form id="form" method="post" enctype="text/plain" target="sink" action="%(api)s/owners">
<input name='{"name": "Form", "email": "%(email)s", "phone": "' value='123"}'></form>
<script>
const owner = JSON.stringify({ name: 'Page', email: '%(email)s' });
const json = { 'Content-Type': 'application/json' };
const attempts = {
  blob: () => fetch('%(api)s/owners', { method: 'POST', mode: 'no-cors', body: new Blob([owner]) }),
  text: () => fetch('%(api)s/owners', { method: 'POST', mode: 'no-cors', body: owner }),
  cancel: () => fetch('%(api)s%(appointment)s/cancel', { method: 'POST', mode: 'no-cors' }),
  json: () => fetch('%(api)s/owners', { method: 'POST', body: owner, headers: json }),
  change: () => fetch('%(api)s/owners/1', { method: 'PATCH', body: '{}', headers: json }),
  delete: () => fetch('%(api)s/owners/1', { method: 'DELETE' }),
  read: () => fetch('%(api)s/owners').then((response) => response.text()),
  document: () => fetch('%(api)s/schema/openapi.json').then((response) => response.text()),
  beacon: async () => navigator.sendBeacon('%(api)s/owners', new Blob([owner])),
  form: async () => document.getElementById('form').submit(),
};
(async () => {
  const results = {};
  for (const [name, attempt] of Object.entries(attempts)) {
    try {
      const result = await attempt();
      results[name] = String(result?.type ?? result);
    } catch (error) {
      results[name] = error.name;
    }
  }
  await new Promise((resolve) => setTimeout(resolve, 1000));
  const output = document.createElement('output');
  output.id = 'results';
  output.textContent = JSON.stringify(results);
  document.body.append(output);
})();
</script></body>"""


@pytest.mark.parametrize("host", [FOREIGN, "127.0.0.1"])
def test_a_foreign_page_changes_and_reads_nothing(
    settings: Settings, browser: str, tmp_path: Path, host: str
) -> None:
    email = unique_email()
    receiver = OTLPReceiver()
    with (
        serving(settings, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url) as (server, api),
        httpx.Client(base_url=api) as client,
    ):
        owner = client.post("/owners", json={"name": "Ana", "email": unique_email()})
        pet = client.post(f"{owner.headers['location']}/pets", json={"name": "L", "species": "dog"})
        appointment = client.post(
            f"{pet.headers['location']}/appointments",
            json={"scheduled_at": "2999-01-01T09:30:00Z", "reason": "check-up"},
        ).headers["location"]
        before = client.get("/owners").json()
        page = PAGE % {"api": api, "email": email, "appointment": appointment}
        with hosting(page) as port:
            document = visit(browser, tmp_path, f"http://{host}:{port}/")
        after = client.get("/owners").json()
        status = client.get(appointment).json()["status"]
        stop(server)
    receiver.shutdown()
    receiver.server_close()

    results = results_of(document)
    assert {results[name] for name in ("json", "change", "delete", "read", "document")} == {
        "TypeError"
    }
    # Beside the test's own one: they arrived, and were refused.
    assert receiver.spans.count("POST /owners") >= 1 + len(("blob", "text", "beacon", "form"))
    assert "POST /appointments/{appointment_id}/cancel" in receiver.spans
    assert after == before
    assert status == "booked"


def test_a_name_that_points_to_this_machine_reads_nothing(
    settings: Settings, browser: str, tmp_path: Path
) -> None:
    with serving(settings, OTEL_SDK_DISABLED="true") as (_, api):
        name = f"Rebound {unique_email()}"
        httpx.post(f"{api}/owners", json={"name": name, "email": unique_email()})
        port = httpx.URL(api).port
        own = visit(browser, tmp_path / "own", f"http://localhost:{port}/owners")
        foreign = visit(browser, tmp_path / "foreign", f"http://{FOREIGN}:{port}/owners")

    assert name in own
    assert name not in foreign
    assert "421" in foreign
