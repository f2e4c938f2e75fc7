// The run's own metrics: when it started and ended, how long it was to take, and its verdict.

import encoding from 'k6/encoding';
import http from 'k6/http';
import { Gauge } from 'k6/metrics';

import { newClientPrefix } from './data.js';
import { encodeWriteRequest } from './remote-write.js';
import { SETTINGS } from './settings.js';

const startedAt = new Gauge('run_started_timestamp_seconds');
const endedAt = new Gauge('run_ended_timestamp_seconds');
const plannedSeconds = new Gauge('run_planned_seconds');

/**
 * What `setup` returns and every virtual user receives.
 *
 * @typedef {object} Run
 * @property {string} id
 * @property {{ testid: string, profile: string, journey: string }} tags
 * @property {string} clientPrefix starts the name of every client of this run and generator
 * @property {number} newestOwner the id of the newest owner before the load
 */

/**
 * The part of k6's summary data that the verdict is made from.
 *
 * @typedef {object} Summary
 * @property {Record<string, { thresholds?: Record<string, { ok: boolean }> }>} metrics
 * @property {Run} [setup_data] missing if `setup` stopped the test
 */

/**
 * @param {{ profile: string, journey: string, seconds: number, newestOwner: number }} plan
 * @returns {Run}
 */
export function startRun({ profile, journey, seconds, newestOwner }) {
  const now = new Date();
  const id = SETTINGS.runId || `${timestamp(now)}-${profile}`;
  const tags = { testid: id, profile, journey };
  startedAt.add(now.getTime() / 1000, tags);
  plannedSeconds.add(seconds, tags);
  return { id, tags, clientPrefix: newClientPrefix(), newestOwner };
}

/** @param {Run} run */
export function endRun({ tags }) {
  endedAt.add(Date.now() / 1000, tags);
}

/**
 * Writes `k6_run_passed` and a `k6_run_threshold_passed` for each threshold to the Prometheus that
 * k6's remote-write output uses. k6 evaluates the thresholds after that output has closed.
 *
 * @param {Summary} summary
 */
export function writeVerdict({ metrics, setup_data: run }) {
  const url = __ENV.K6_PROMETHEUS_RW_SERVER_URL;
  const outputs = (__ENV.K6_OUT || '').split(',');
  if (!url || !outputs.includes('experimental-prometheus-rw') || !run || !metrics) return;

  const labels = { ...parsePairs(__ENV.K6_TAGS), ...SETTINGS.tags, ...run.tags };
  const passed = Object.entries(metrics).flatMap(([metric, { thresholds = {} }]) =>
    Object.entries(thresholds).map(([threshold, { ok }]) => ({
      labels: { ...labels, __name__: 'k6_run_threshold_passed', metric, threshold },
      value: Number(ok),
    })),
  );
  const verdict = {
    labels: { ...labels, __name__: 'k6_run_passed' },
    value: Number(passed.every(({ value }) => value)),
  };
  const body = encodeWriteRequest([verdict, ...passed], Date.now());
  const response = http.post(url, body.buffer, { headers: writeHeaders(), timeout: '10s' });
  if (response.status < 200 || response.status > 299) {
    const reason = response.status === 0 ? response.error : `status ${response.status}`;
    console.warn(`The run's verdict was not written to Prometheus: ${reason}.`);
  }
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
 * Parses k6's notation for tags and headers, `a:b,c:d`; only the first colon separates.
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
