// What the run says of itself in its own metrics: when it began and ended, and how it was judged.

import encoding from 'k6/encoding';
import http from 'k6/http';
import { Gauge } from 'k6/metrics';

import { newSpace } from './data.js';
import { writeRequest } from './remote-write.js';
import { SETTINGS } from './settings.js';

const started = new Gauge('run_started_timestamp_seconds');
const ended = new Gauge('run_ended_timestamp_seconds');
const planned = new Gauge('run_planned_seconds');

// Names the run for all that follows, and a space of its own for what it makes.
export function runStarted(profile, journey, seconds) {
  const time = new Date()
    .toISOString()
    .replace(/[-:]|\..*/g, '')
    .replace('T', '-');
  const marks = { testid: SETTINGS.run || `${time}-${profile}`, profile, journey };
  started.add(Date.now() / 1000, marks);
  planned.add(seconds, marks);
  return { marks, run: marks.testid, space: newSpace() };
}

export function runEnded({ marks }) {
  ended.add(Date.now() / 1000, marks);
}

// k6 judges its thresholds when its outputs have already closed, so the verdict goes to the same
// Prometheus by a remote write of its own: exactly what k6 prints, and its exit status says.
export function sendVerdict({ metrics, setup_data: run }) {
  const url = __ENV.K6_PROMETHEUS_RW_SERVER_URL;
  const remote = (__ENV.K6_OUT || '').split(',').includes('experimental-prometheus-rw');
  if (!url || !remote || !run || !metrics) return;

  const labels = { ...pairs(__ENV.K6_TAGS), ...SETTINGS.tags, ...run.marks };
  const held = [];
  for (const [metric, { thresholds }] of Object.entries(metrics)) {
    for (const [threshold, { ok }] of Object.entries(thresholds || {})) {
      held.push([{ ...labels, __name__: 'k6_run_threshold_passed', metric, threshold }, Number(ok)]);
    }
  }
  const all = Number(held.every(([, ok]) => ok));
  const body = writeRequest([[{ ...labels, __name__: 'k6_run_passed' }, all], ...held], Date.now());
  const answer = http.post(url, body, { headers: writeHeaders(), timeout: '10s' });
  if (answer.status < 200 || answer.status > 299) {
    const said = answer.status === 0 ? answer.error : `status ${answer.status}`;
    console.warn(`The run's verdict is not in Prometheus: it answered the write with ${said}.`);
  }
}

function writeHeaders() {
  const { K6_PROMETHEUS_RW_USERNAME: user, K6_PROMETHEUS_RW_PASSWORD: password } = __ENV;
  const bearer = __ENV.K6_PROMETHEUS_RW_BEARER_TOKEN;
  return {
    'Content-Encoding': 'snappy',
    'Content-Type': 'application/x-protobuf',
    'X-Prometheus-Remote-Write-Version': '0.1.0',
    ...pairs(__ENV.K6_PROMETHEUS_RW_HTTP_HEADERS),
    ...(bearer && { Authorization: `Bearer ${bearer}` }),
    ...(user && { Authorization: `Basic ${encoding.b64encode(`${user}:${password || ''}`)}` }),
  };
}

// k6 writes both its tags and its headers as a:b,c:d.
function pairs(text) {
  const split = (text || '').split(',').filter((pair) => pair.includes(':'));
  return Object.fromEntries(
    split.map((pair) => [pair.split(':', 1)[0], pair.replace(/^[^:]*:/, '')]),
  );
}
