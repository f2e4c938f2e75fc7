// The run's own metrics: when it started and ended, how long it was to take, and its verdict.

import encoding from 'k6/encoding';
import exec from 'k6/execution';
import http from 'k6/http';
import { Gauge } from 'k6/metrics';

import { newClientPrefix } from './data.js';
import { encodeWriteRequest } from './remote-write.js';
import { segmentCount, segmentShare } from './segment.js';
import { SETTINGS } from './settings.js';
import { summarySamples } from './summary.js';
import { givenTags } from './tags.js';

const REMOTE_WRITE = 'experimental-prometheus-rw';

const RECEIVER = receiver();

const startedAt = new Gauge('run_started_timestamp_seconds');
const endedAt = new Gauge('run_ended_timestamp_seconds');
const plannedSeconds = new Gauge('run_planned_seconds');
const generators = new Gauge('run_generators');
const clockOffsetSeconds = new Gauge('run_clock_offset_seconds');

/**
 * What `setup` returns and every virtual user receives.
 *
 * @typedef {object} Run
 * @property {string} id
 * @property {Record<string, string> & { testid: string }} tags
 * @property {string} scenario of its requests: the one that the thresholds select
 * @property {number} [iterations] that this generator was told to make, if no length was planned
 * @property {string} clientPrefix starts the name of every client of this run and generator
 * @property {number} newestOwner the id of the newest owner before the load
 * @property {boolean} traced whether some of its iterations are
 */

/**
 * @typedef {object} SummaryMetric
 * @property {Record<string, number>} values by aggregation, such as `p(95)`; durations are in ms
 * @property {Record<string, { ok: boolean }>} [thresholds] by condition, such as `p(95)<300`
 */

/**
 * The part of k6's summary data that the verdict is made from.
 *
 * @typedef {object} Summary
 * @property {Record<string, SummaryMetric>} metrics
 * @property {Run} [setup_data] missing if `setup` stopped the test
 */

/**
 * @param {{ profile: string, scenario: string, journey: string, seconds?: number, iterations?: number,
 *   newestOwner: number, clockOffset: number, traced: boolean }} plan
 * @returns {Run}
 */
export function startRun({ profile, journey, seconds, iterations, clockOffset, ...rest }) {
  const now = new Date();
  const id = SETTINGS.runId || `${timestamp(now)}-${profile}`;
  const tags = { ...givenTags(), testid: id, profile, journey };
  startedAt.add(now.getTime() / 1000, tags);
  if (seconds !== undefined) plannedSeconds.add(seconds, tags);
  if (clockOffset !== 0) clockOffsetSeconds.add(clockOffset, tags);
  const { executionSegment, executionSegmentSequence } = exec.test.options;
  generators.add(segmentCount(executionSegmentSequence), tags);
  const own = iterations && Math.floor(iterations * segmentShare(executionSegment));
  return { id, tags, clientPrefix: newClientPrefix(), iterations: own, ...rest };
}

/**
 * k6's options for the requests of the script to Prometheus: the certificate of remote write.
 *
 * @returns {Pick<import('k6/options').Options, 'tlsAuth'>}
 */
export function receiverOptions() {
  const { K6_PROMETHEUS_RW_CLIENT_CERTIFICATE: certificate } = __ENV;
  const { K6_PROMETHEUS_RW_CLIENT_CERTIFICATE_KEY: key } = __ENV;
  const [, host] = /^https:\/\/([^/:@]+)/.exec(RECEIVER) || [];
  if (!host || !certificate || !key) return {};
  return { tlsAuth: [{ domains: [host], cert: read(certificate), key: read(key) }] };
}

/** @param {string} path from the folder that k6 was started in */
function read(path) {
  return open(path.startsWith('/') ? path : `${__ENV.PWD}/${path}`);
}

/**
 * Where remote write goes; empty if the run does not use it.
 *
 * @returns {string}
 */
function receiver() {
  // Without K6_OUT, the command line names the output.
  const outputs = (__ENV.K6_OUT || REMOTE_WRITE).split(',');
  if (outputs.some((output) => output.startsWith(`${REMOTE_WRITE}=`))) {
    throw new Error(
      `K6_OUT has an address after ${REMOTE_WRITE}, which k6 ignores: ` +
        'set K6_PROMETHEUS_RW_SERVER_URL to it instead.',
    );
  }
  return outputs.includes(REMOTE_WRITE) ? __ENV.K6_PROMETHEUS_RW_SERVER_URL || '' : '';
}

/**
 * Why the script cannot write the verdict where k6 writes its metrics; empty if it can.
 *
 * @returns {string}
 */
function unwritable() {
  if (!RECEIVER) return '';
  if (__ENV.K6_PROMETHEUS_RW_SIGV4_REGION) return 'the script cannot sign requests for AWS (SigV4)';
  const trustsAll = isTrue(__ENV.K6_PROMETHEUS_RW_INSECURE_SKIP_TLS_VERIFY);
  if (RECEIVER.startsWith('https:') && trustsAll && !isTrue(__ENV.K6_INSECURE_SKIP_TLS_VERIFY)) {
    return (
      'K6_PROMETHEUS_RW_INSECURE_SKIP_TLS_VERIFY does not apply to requests of a script. ' +
      'Set SSL_CERT_FILE to the certificate of the receiver instead'
    );
  }
  return '';
}

/** @param {string} [value] a boolean as k6 reads it */
function isTrue(value = '') {
  return ['1', 't', 'true'].includes(value.toLowerCase());
}

export function warnWithoutVerdict() {
  const reason = unwritable();
  if (reason) console.warn(`The run's verdict will not be in Prometheus: ${reason}.`);
}

/** @param {Run} run */
export function endRun({ tags }) {
  endedAt.add(Date.now() / 1000, tags);
}

/**
 * Writes the verdict, and what the summary alone has, to the Prometheus that k6's remote-write output
 * uses: the number of thresholds, which k6 evaluates after that output has closed, the result of each
 * with the value that k6 compared and its limit, and whether all passed. Without thresholds there is no
 * result.
 *
 * @param {Summary & import('./summary.js').Summary} summary
 */
export function writeVerdict(summary) {
  const { metrics, setup_data: run } = summary;
  if (!RECEIVER || unwritable() || !run || !metrics) return;

  const labels = { ...SETTINGS.tags, ...run.tags };
  const verdict = verdictSamples(metrics, run.iterations).map(({ name, value, ...threshold }) => ({
    labels: {
      ...labels,
      ...(threshold.metric && { scenario: run.scenario }),
      __name__: `k6_run_${name}`,
      ...threshold,
    },
    value,
  }));
  const measured = summarySamples(summary).map(({ metric, value, tags }) => ({
    labels: { ...labels, scenario: run.scenario, __name__: `k6_run_${metric}`, ...tags },
    value,
  }));
  const body = encodeWriteRequest([...verdict, ...measured], Date.now());
  const response = http.post(RECEIVER, body.buffer, { headers: writeHeaders(), timeout: '10s' });
  if (response.status < 200 || response.status > 299) {
    const reason = response.status === 0 ? response.error : `status ${response.status}`;
    console.warn(`The run's verdict was not written to Prometheus: ${reason}.`);
  }
}

/**
 * @param {Summary['metrics']} metrics
 * @param {number} [iterations] that this generator was told to make
 * @returns {{ name: string, value: number, metric?: string, threshold?: string }[]}
 */
export function verdictSamples(metrics, iterations = 0) {
  const results = Object.entries(metrics).flatMap(([metric, { values, thresholds = {} }]) =>
    Object.entries(thresholds).map(([threshold, { ok }]) => ({
      metric,
      threshold,
      passed: Number(ok),
      reached: values[threshold.split(/[<>=!]/)[0].trim()],
      limit: Number(/^[^<>=!]*<([^=].*)$/.exec(threshold)?.[1]),
    })),
  );
  const made = metrics.iterations?.values.count ?? 0;
  const always = [
    { name: 'thresholds', value: results.length },
    ...(made < iterations ? [{ name: 'interrupted', value: 1 }] : []),
  ];
  if (!results.length) return always;
  return [
    ...always,
    { name: 'passed', value: Number(results.every(({ passed }) => passed)) },
    ...results.flatMap(({ metric, threshold, passed, reached, limit }) => [
      { name: 'threshold_passed', value: passed, metric, threshold },
      ...(reached === undefined
        ? []
        : [{ name: 'threshold_reached', value: reached, metric, threshold }]),
      // By which the values of several generators are judged together.
      ...(Number.isNaN(limit)
        ? []
        : [{ name: 'threshold_limit', value: limit, metric, threshold }]),
    ]),
  ];
}

/** @returns {Record<string, string>} */
function writeHeaders() {
  const { K6_PROMETHEUS_RW_USERNAME: user, K6_PROMETHEUS_RW_PASSWORD: password } = __ENV;
  const bearer = __ENV.K6_PROMETHEUS_RW_BEARER_TOKEN;
  return {
    'Content-Encoding': 'snappy',
    'Content-Type': 'application/x-protobuf',
    'X-Prometheus-Remote-Write-Version': '0.1.0',
    ...parsePairs(__ENV.K6_PROMETHEUS_RW_HTTP_HEADERS),
    ...(bearer && { Authorization: `Bearer ${bearer}` }),
    ...(user && { Authorization: `Basic ${encoding.b64encode(`${user}:${password || ''}`)}` }),
  };
}

/**
 * Parses k6's notation for headers, `a:b,c:d`; only the first colon separates.
 *
 * @param {string} [text]
 * @returns {Record<string, string>}
 */
export function parsePairs(text = '') {
  return Object.fromEntries(
    Array.from(text.matchAll(/([^,:]*):([^,]*)/g), ([, name, value]) => [name, value]),
  );
}

/** @param {Date} time */
function timestamp(time) {
  return time
    .toISOString()
    .replace(/[-:]|\..*/g, '')
    .replace('T', '-');
}
