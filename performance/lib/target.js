// Before the load: is it a clinic that answers there, is it ready, and does it let us in?

import exec from 'k6/execution';
import http from 'k6/http';

import { headers, json, UNJUDGED } from './clinic.js';
import { SETTINGS } from './settings.js';

// Gives the id of the newest owner, so that what the run adds can be told from what was there.
export function examine() {
  const ready = get('GET /readyz', '/readyz');
  if (ready.status !== 200) {
    const said = ready.status === 0 ? `no answer (${ready.error})` : `status ${ready.status}`;
    stop(
      `The clinic is not ready: GET ${SETTINGS.target}/readyz gave ${said}, expected 200.`,
      'Start the clinic, or set BASE_URL to where it answers.',
    );
  }
  const newest = get('GET /owners before the load', '/owners?limit=1');
  if (newest.status === 401 || newest.status === 403) {
    stop(
      `The clinic at ${SETTINGS.target} did not let us in (status ${newest.status}).`,
      'Set CLINIC_API_TOKEN to its token.',
    );
  }
  const owners = newest.status === 200 ? json(newest) : undefined;
  if (!Array.isArray(owners) || (owners.length > 0 && !Number.isSafeInteger(owners[0].id))) {
    stop(
      `What answers at ${SETTINGS.target} is no clinic: GET /owners gave status ${newest.status}, ` +
        'expected 200 with a list of owners.',
      'Set BASE_URL to where the clinic answers.',
    );
  }
  return owners.length > 0 ? owners[0].id : 0;
}

function get(name, path) {
  return http.get(SETTINGS.target + path, {
    headers: headers(),
    tags: { name },
    timeout: '10s',
    responseCallback: UNJUDGED,
  });
}

function stop(what, next) {
  exec.test.abort(`${what} No load was sent. ${next}`);
}
