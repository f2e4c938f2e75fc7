// Checks before the load: the target is a clinic, it is ready, and it accepts the token.

import exec from 'k6/execution';
import http from 'k6/http';

import { json, unmeasured } from './clinic.js';
import { SETTINGS } from './settings.js';

// The header `Date` has whole seconds.
const CLOCK_TOLERANCE_SECONDS = 5;

/**
 * Stops the test if the target cannot be load-tested.
 *
 * @returns {{ newestOwner: number, clockOffset: number }} the id of the newest owner, 0 if there is
 *   none: what the run creates is newer; the seconds by which the target's clock is ahead of k6's
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
  const clockOffset = secondsAhead(ready.headers.Date);
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
  return { newestOwner: owners.length > 0 ? owners[0].id : 0, clockOffset };
}

/**
 * Warns of a clock that differs from this one: times are all that joins what k6 and the server measure.
 *
 * @param {string} [date] the time at the target
 * @returns {number} the seconds by which it is ahead, 0 for a small or unknown difference
 */
function secondsAhead(date = '') {
  const seconds = Math.round((Date.parse(date) - Date.now()) / 1000);
  if (Number.isNaN(seconds) || Math.abs(seconds) <= CLOCK_TOLERANCE_SECONDS) return 0;
  const direction = seconds > 0 ? 'ahead of' : 'behind';
  console.warn(
    `The clock of ${SETTINGS.target} is ${Math.abs(seconds)} s ${direction} that of k6: the report ` +
      'will miss what the server measured. Synchronise the clocks.',
  );
  return seconds;
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
