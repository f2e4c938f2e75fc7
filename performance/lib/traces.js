// One trace of a whole iteration, for one iteration in TRACE_EVERY: a span of the iteration, one of
// each request, and below them the server's, which `traceparent` links. The spans are sent by OTLP
// after the iteration, as k6 exports none of HTTP requests.

import exec from 'k6/execution';
import http from 'k6/http';

import { randomHex } from './data.js';
import { SETTINGS } from './settings.js';

const INTERNAL = 1;
const CLIENT = 3;
const ERROR = 2;
const TIMEOUT = '1s';

/**
 * @typedef {Record<string, string | number>} Attributes
 * @typedef {object} Span
 * @property {string} traceId
 * @property {string} spanId
 * @property {string} [parentSpanId]
 * @property {string} name
 * @property {number} kind
 * @property {string} startTimeUnixNano
 * @property {string} endTimeUnixNano
 * @property {object[]} attributes
 * @property {{ code?: number, message?: string }} status
 */

/**
 * The trace of an iteration in progress.
 *
 * @typedef {object} Trace
 * @property {string} id
 * @property {string} rootId
 * @property {string} requestId the span of the request in progress
 * @property {number} startedAt in ms since 1970
 * @property {Attributes} attributes of each span
 * @property {Span[]} spans
 */

/** @type {Trace | undefined} of the current iteration, if it is traced */
let trace;
let givenUp = false;

/**
 * @returns {boolean} whether spans are wanted, and the endpoint accepts them
 */
export function checkTraceEndpoint() {
  const { every, endpoint } = SETTINGS.traces;
  return every > 0 && endpoint !== '' && post([]);
}

/**
 * Decides whether the iteration that starts is traced.
 *
 * @param {import('./run.js').Run} run
 */
export function startTrace({ id, traced, scenario }) {
  const { iterationInTest } = exec.scenario;
  trace = undefined;
  if (!traced || givenUp || iterationInTest % SETTINGS.traces.every) return;
  trace = {
    id: randomHex(16),
    rootId: randomHex(8),
    requestId: '',
    startedAt: Date.now(),
    attributes: { 'k6.test_run_id': id, 'k6.scenario': scenario },
    spans: [],
  };
}

/**
 * Starts the span of a request.
 *
 * @returns {Record<string, string>} the header that makes the server's span its child
 */
export function startRequest() {
  if (!trace) return {};
  trace.requestId = randomHex(8);
  return { traceparent: `00-${trace.id}-${trace.requestId}-01` };
}

/**
 * Ends the span of a request.
 *
 * @param {string} operation
 * @param {import('k6/http').Response} response
 * @param {number} sentAt before the request was sent, in ms since 1970
 * @param {number} receivedAt after its response
 * @param {string} error what failed, if anything
 */
export function endRequest(operation, response, sentAt, receivedAt, error) {
  if (!trace) return;
  const [start, end] = requestTimes(response.timings, sentAt, receivedAt);
  trace.spans.push({
    traceId: trace.id,
    spanId: trace.requestId,
    parentSpanId: trace.rootId,
    name: operation,
    kind: CLIENT,
    startTimeUnixNano: nanoseconds(start),
    endTimeUnixNano: nanoseconds(end),
    attributes: encode({
      ...trace.attributes,
      ...requestAttributes(operation, response),
      ...(error && { 'error.type': error === 'status' ? String(response.status) : error }),
    }),
    status: error ? { code: ERROR, message: response.error || error } : {},
  });
}

/**
 * Ends the current iteration's trace, if it has one, and sends it.
 *
 * @param {string} journey
 * @param {boolean} failed
 */
export function endTrace(journey, failed) {
  if (!trace) return;
  const root = {
    traceId: trace.id,
    spanId: trace.rootId,
    name: `iteration ${journey}`,
    kind: INTERNAL,
    startTimeUnixNano: nanoseconds(trace.startedAt),
    endTimeUnixNano: nanoseconds(Date.now() + 1),
    attributes: encode({
      ...trace.attributes,
      'k6.vu': exec.vu.idInTest,
      'k6.iteration': exec.scenario.iterationInTest,
    }),
    status: failed ? { code: ERROR } : {},
  };
  givenUp = !post([root, ...trace.spans]);
  trace = undefined;
}

/**
 * The start and end of a request, in ms since 1970. k6 measures how long it took with fractions,
 * the script's clock has whole milliseconds: the request lies between a reading before it and one
 * after it, most likely in the middle.
 *
 * @param {Pick<import('k6/http').Response['timings'], 'blocked' | 'duration'>} timings
 * @param {number} before
 * @param {number} after
 * @returns {[number, number]}
 */
export function requestTimes({ blocked, duration }, before, after) {
  const longest = after + 1 - before;
  // A request without a response has no timings.
  const took = duration ? Math.min(blocked + duration, longest) : longest;
  const start = before + (longest - took) / 2;
  return [start, start + took];
}

/**
 * @param {string} operation
 * @param {import('k6/http').Response} response
 * @returns {Attributes}
 */
function requestAttributes(operation, { status, timings }) {
  const [method, template] = operation.split(' ');
  const [, scheme, host, port] =
    /^(https?):\/\/(\[[^\]]*\]|[^:/]*)(?::(\d+))?/.exec(SETTINGS.target) || [];
  return {
    'http.request.method': method,
    'url.template': template,
    'server.address': host,
    'server.port': Number(port || (scheme === 'https' ? 443 : 80)),
    'peer.service': 'clinic',
    ...(status && { 'http.response.status_code': status }),
    // `connecting` is part of `blocked`.
    'k6.blocked_ms': timings.blocked,
    'k6.connecting_ms': timings.connecting,
    'k6.sending_ms': timings.sending,
    'k6.waiting_ms': timings.waiting,
    'k6.receiving_ms': timings.receiving,
  };
}

/**
 * Sends spans to the trace store, outside the scenario: no number of the run counts the request.
 *
 * @param {Span[]} spans
 * @returns {boolean} whether the store has accepted them
 */
function post(spans) {
  const { endpoint } = SETTINGS.traces;
  const resource = { attributes: encode({ 'service.name': 'k6' }) };
  const scope = { name: 'k6-load-test.js' };
  const body = { resourceSpans: [{ resource, scopeSpans: [{ scope, spans }] }] };
  const response = http.post(endpoint, JSON.stringify(body), {
    headers: { 'Content-Type': 'application/json' },
    tags: { name: 'spans', scenario: '' },
    responseCallback: /** @type {any} */ (null),
    responseType: 'none',
    timeout: TIMEOUT,
  });
  const accepted = response.status === 200;
  if (!accepted) {
    const reason = response.status === 0 ? response.error : `status ${response.status}`;
    console.warn(`Spans of k6 were not sent to ${endpoint} (${reason}), and no more will be.`);
  }
  return accepted;
}

/** @param {Attributes} attributes */
function encode(attributes) {
  return Object.entries(attributes).map(([key, value]) => ({ key, value: typed(value) }));
}

/** @param {string | number} value */
function typed(value) {
  if (typeof value === 'string') return { stringValue: value };
  return Number.isInteger(value) ? { intValue: String(value) } : { doubleValue: value };
}

/** @param {number} milliseconds */
function nanoseconds(milliseconds) {
  return (milliseconds * 1e6).toFixed(0);
}
