// The clinic's operations: how each is requested, measured and checked.

import { check } from 'k6';
import exec from 'k6/execution';
import http from 'k6/http';
import { Counter, Rate, Trend } from 'k6/metrics';

import { recordServerTiming } from './server-timing.js';
import { SETTINGS } from './settings.js';
import { endRequest, startRequest, startTrace } from './traces.js';

// The names equal the server's span names: client and server metrics join on them.
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
const failedIterations = new Rate('failed_iterations');

const REQUEST_TIMED_OUT = 1050; // k6's error code
const FIRST_OF_STATUSES = 1400; // from here on k6's error codes repeat the response's status
const MAX_TITLES = 20;
const LONGEST_TITLE = 80;

/** @type {Set<string>} the titles of problems that this virtual user has met */
const titles = new Set();

// Of the current iteration.
let baggage = '';
let client = '';

class CheckFailed extends Error {}

/**
 * Runs one iteration of a journey; it counts as failed if a check fails or the script throws.
 *
 * @param {{ name: string, iteration: () => void }} journey
 * @param {import('./run.js').Run} run
 * @returns {boolean} whether it failed
 */
export function runIteration({ name, iteration }, run) {
  const { id, clientPrefix, scenario } = run;
  // k6's own options name the scenario `default`, which no threshold selects.
  Object.assign(exec.vu.metrics.tags, { testid: id, journey: name, scenario });
  baggage = `k6.test_run_id=${id},k6.scenario=${scenario}`;
  client = `${clientPrefix}${hex(exec.vu.idInInstance)}${hex(exec.vu.iterationInInstance)}`;
  startTrace(run);
  let failed = true;
  try {
    iteration();
    failed = false;
  } catch (error) {
    if (error instanceof CheckFailed) return failed;
    errors.add(1, { operation: 'none', kind: 'script' });
    throw error;
  } finally {
    failedIterations.add(failed);
  }
  return failed;
}

// Unique to the iteration, across virtual users, generators and runs.
export function clientName() {
  return client;
}

/**
 * Sends one request; a response that is not as expected counts once in `errors` and ends the
 * iteration, because later steps need its result.
 *
 * @param {keyof typeof OPERATIONS} operation
 * @param {object} step
 * @param {Record<string, number>} [step.ids] values of the operation's path parameters
 * @param {string} [step.query] with its question mark
 * @param {object} [step.payload]
 * @param {(body: any) => boolean} step.isValid checks the response's body
 * @param {string} step.result what a valid body contains, for the name of the check
 * @returns {{ body: any, next: string }} `next` is the query of the next page, if there is one
 * @example
 * const owner = request('POST /owners', { payload, isValid: hasId, result: 'the new id' }).body;
 */
export function request(operation, { ids = {}, query = '', payload, isValid, result }) {
  const [method, template] = operation.split(' ');
  const path = template.replace(/{(\w+)}/g, (_, name) => String(ids[name]));
  const { expected } = OPERATIONS[operation];
  const sentAt = Date.now();
  const response = http.request(
    method,
    SETTINGS.target + path + query,
    payload ? JSON.stringify(payload) : null,
    {
      headers: { ...headers(payload), baggage, ...startRequest() },
      responseType: 'text', // also where k6's options discard bodies
      tags: { name: operation },
      responseCallback: http.expectedStatuses(expected),
    },
  );
  const receivedAt = Date.now();
  recordServerTiming(operation, response);
  const body = response.status === expected ? json(response) : undefined;
  const passed = body !== undefined && body !== null && isValid(body);
  const kind = passed ? '' : errorKind(response, expected);
  endRequest(operation, response, sentAt, receivedAt, kind);
  check(passed, { [`${operation} returns ${expected} with ${result}`]: (value) => value });
  if (!passed) {
    errors.add(1, { operation, kind, ...describe(response) });
    throw new CheckFailed(operation);
  }
  durations[operation].add(response.timings.duration);
  return { body, next: nextPage(response) };
}

/**
 * Parameters of a request before or after the load: no baggage, and not in `http_req_failed`.
 *
 * @param {string} name
 * @returns {import('k6/http').RefinedParams<'text'>}
 */
export function unmeasured(name) {
  return {
    headers: headers(),
    responseCallback: /** @type {any} */ (null),
    responseType: 'text',
    tags: { name },
  };
}

/**
 * @param {object} [payload]
 * @returns {Record<string, string>}
 */
function headers(payload) {
  return {
    ...(payload && { 'Content-Type': 'application/json' }),
    ...(SETTINGS.token && { Authorization: `Bearer ${SETTINGS.token}` }),
  };
}

/**
 * @param {import('k6/http').Response} response
 * @returns {any} undefined if the body is not JSON
 */
export function json(response) {
  try {
    return response.json();
  } catch {
    return undefined;
  }
}

/**
 * @param {import('k6/http').Response} response
 * @returns {string} the query of the page that `Link` names, empty on the last page
 */
export function nextPage(response) {
  const link = /<[^>?]*(\?[^>]*)>; rel="next"/.exec(response.headers.Link || '');
  return link ? link[1] : '';
}

/**
 * @param {import('k6/http').Response} response
 * @param {number} expected
 */
function errorKind(response, expected) {
  if (response.error_code === REQUEST_TIMED_OUT) return 'timeout';
  if (response.status === 0) return 'no response';
  return response.status === expected ? 'body' : 'status';
}

/**
 * The reason of a failed response, as tags: never its body, and at most MAX_TITLES titles.
 *
 * @param {import('k6/http').Response} response
 * @returns {Record<string, string>}
 */
function describe(response) {
  const { status, error_code: code } = response;
  const title = problemTitle(response);
  return {
    status: String(status),
    ...(title && { title }),
    ...(code > 0 && code < FIRST_OF_STATUSES && { error_code: String(code) }),
  };
}

/**
 * @param {import('k6/http').Response} response
 * @returns {string} the title of its problem details (RFC 9457), empty if it has none
 */
function problemTitle(response) {
  const type = response.headers['Content-Type'] || '';
  if (!type.startsWith('application/problem+json')) return '';
  const { title } = Object(json(response));
  if (typeof title !== 'string') return '';
  const text = title
    .replace(/[^\x20-\x7e]/g, ' ')
    .trim()
    .slice(0, LONGEST_TITLE);
  // Numbers may be ids or phones, and a target other than the clinic may repeat what it was sent.
  if (!/[A-Za-z]/.test(text) || /@|(\d\D?){5}/.test(text)) return '';
  if (titles.size >= MAX_TITLES && !titles.has(text)) return 'other';
  titles.add(text);
  return text;
}

/** @param {number} number */
function hex(number) {
  return number.toString(16).padStart(6, '0').slice(-6);
}
