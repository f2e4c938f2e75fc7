// The clinic's operations: each is asked for, timed and judged in one way.

import { check } from 'k6';
import exec from 'k6/execution';
import http from 'k6/http';
import { Counter, Rate, Trend } from 'k6/metrics';

import { SETTINGS } from './settings.js';

// The names are the server's words for the operation, so that a client's numbers and the server's
// meet under one name.
const OPERATIONS = {
  'POST /owners': { expected: 201, trend: 'owner_creation_duration' },
  'POST /owners/{owner_id}/pets': { expected: 201, trend: 'pet_creation_duration' },
  'POST /pets/{pet_id}/appointments': { expected: 201, trend: 'appointment_creation_duration' },
  'GET /owners': { expected: 200, trend: 'owners_reading_duration' },
  'GET /owners/{owner_id}/pets': { expected: 200, trend: 'pets_reading_duration' },
  'GET /pets/{pet_id}/appointments': { expected: 200, trend: 'appointments_reading_duration' },
  'GET /appointments': { expected: 200, trend: 'agenda_reading_duration' },
  'GET /appointments/{appointment_id}': { expected: 200, trend: 'appointment_reading_duration' },
  'POST /appointments/{appointment_id}/cancel': {
    expected: 200,
    trend: 'appointment_cancellation_duration',
  },
};

/** @type {Record<string, Trend>} */
const durations = {};
for (const [operation, { trend }] of Object.entries(OPERATIONS)) {
  durations[operation] = new Trend(trend, true);
}
const errors = new Counter('errors');
const failedVisits = new Rate('failed_visits');

// Requests before and after the load are no part of the failed share.
export const UNJUDGED = /** @type {any} */ (null);

const REQUEST_TIMED_OUT = 1050;

let baggage = '';
let client = '';

class StepFailed extends Error {}

// One journey of one client; one that ends half-way, for whatever reason, is a failed iteration.
export function iteration(journey, steps, { run, space }) {
  Object.assign(exec.vu.metrics.tags, { testid: run, journey });
  baggage = `k6.test_run_id=${run},k6.scenario=${exec.scenario.name}`;
  client = `${space}${hex(exec.vu.idInInstance, 6)}${hex(exec.vu.iterationInInstance, 6)}`;
  let failed = true;
  try {
    steps();
    failed = false;
  } catch (failure) {
    if (failure instanceof StepFailed) return;
    errors.add(1, { operation: 'none', kind: 'script' });
    throw failure;
  } finally {
    failedVisits.add(failed);
  }
}

// The space is the run's and the generator's own, so that no two generators, at once or one after
// the other, can make the same client.
export function clientName() {
  return client;
}

/**
 * @typedef {object} Asked
 * @property {Record<string, number>} [ids] what stands for the names in the operation's path
 * @property {string} [query] with its question mark
 * @property {object} [body]
 * @property {(said: any) => boolean} right whether the answer holds what was promised
 * @property {string} promise the same in words
 */

/**
 * Without its owner there is no pet to register: what fails counts once and ends the iteration.
 *
 * @param {keyof typeof OPERATIONS} operation
 * @param {Asked} asked
 */
export function ask(operation, { ids = {}, query = '', body, right, promise }) {
  const [method, template] = operation.split(' ');
  const path = template.replace(/{(\w+)}/g, (_, id) => String(ids[id]));
  const { expected } = OPERATIONS[operation];
  const answer = http.request(
    method,
    SETTINGS.target + path + query,
    body ? JSON.stringify(body) : null,
    {
      headers: { ...headers(body), baggage },
      tags: { name: operation },
      responseCallback: http.expectedStatuses(expected),
    },
  );
  const said = answer.status === expected ? json(answer) : undefined;
  const good = said !== undefined && said !== null && right(said);
  check(good, { [`${operation} answers ${expected} with ${promise}`]: (it) => it });
  if (!good) {
    errors.add(1, { operation, kind: kindOf(answer, expected) });
    throw new StepFailed(operation);
  }
  durations[operation].add(answer.timings.duration);
  return { said, next: nextPage(answer) };
}

/**
 * @param {object} [body]
 * @returns {Record<string, string>}
 */
export function headers(body) {
  return {
    ...(body && { 'Content-Type': 'application/json' }),
    ...(SETTINGS.token && { Authorization: `Bearer ${SETTINGS.token}` }),
  };
}

export function json(answer) {
  try {
    return answer.json();
  } catch {
    return undefined;
  }
}

// The query of the page that `Link` leads to, or nothing on the last one.
export function nextPage(answer) {
  const link = /<[^>?]*(\?[^>]*)>; rel="next"/.exec(answer.headers.Link || '');
  return link ? link[1] : '';
}

function kindOf(answer, expected) {
  if (answer.error_code === REQUEST_TIMED_OUT) return 'timeout';
  if (answer.status === 0) return 'no answer';
  return answer.status === expected ? 'body' : 'status';
}

function hex(number, digits) {
  return number.toString(16).padStart(digits, '0').slice(-digits);
}
