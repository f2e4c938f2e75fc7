// Checks before the load: the target is a clinic, it is ready, and it accepts the token.

import exec from 'k6/execution';
import http from 'k6/http';

import { json, unmeasured } from './clinic.js';
import { SETTINGS } from './settings.js';

/**
 * Stops the test if the target cannot be load-tested.
 *
 * @returns {number} the id of the newest owner, 0 if there is none: what the run creates is newer
 */
export function checkTarget() {
  const { target } = SETTINGS;
  const ready = get('/readyz', 'GET /readyz');
  if (ready.status !== 200) {
    const outcome =
      ready.status === 0 ? `got no response (${ready.error})` : `returned ${ready.status}`;
    stop(
      `The clinic is not ready: GET ${target}/readyz ${outcome}, expected 200.`,
      'Start the clinic, or set BASE_URL to its address.',
    );
  }
  const newest = get('/owners?limit=1', 'GET /owners before the load');
  if (newest.status === 401 || newest.status === 403) {
    stop(
      `The clinic at ${target} denied access (status ${newest.status}).`,
      'Set CLINIC_API_TOKEN to its token.',
    );
  }
  const owners = newest.status === 200 ? json(newest) : undefined;
  if (!Array.isArray(owners) || (owners.length > 0 && !Number.isSafeInteger(owners[0].id))) {
    stop(
      `${target} is not a clinic: GET /owners returned ${newest.status}, ` +
        'expected 200 with a list of owners.',
      'Set BASE_URL to the address of the clinic.',
    );
  }
  return owners.length > 0 ? owners[0].id : 0;
}

/**
 * @param {string} path
 * @param {string} name
 */
function get(path, name) {
  return http.get(SETTINGS.target + path, { ...unmeasured(name), timeout: '10s' });
}

/**
 * @param {string} problem
 * @param {string} remedy
 */
function stop(problem, remedy) {
  exec.test.abort(`${problem} No load was sent. ${remedy}`);
}
