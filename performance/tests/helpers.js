// Unit tests of the helpers, run by k6 itself: k6 run performance/tests/helpers.js

import { check } from 'k6';

import { nextPage } from '../lib/clinic.js';
import { customLoad } from '../lib/custom-load.js';
import { plan } from '../lib/profiles.js';
import { encodeWriteRequest } from '../lib/remote-write.js';
import { parsePairs, verdictSamples } from '../lib/run.js';
import { segmentCount, segmentShare } from '../lib/segment.js';
import { parseServerTiming } from '../lib/server-timing.js';
import { requestTimes } from '../lib/traces.js';

export const options = { thresholds: { checks: ['rate==1'] } };

/**
 * @param {string} name
 * @param {unknown} actual
 * @param {unknown} expected
 */
function equal(name, actual, expected) {
  const [found, wanted] = [JSON.stringify(actual), JSON.stringify(expected)];
  if (!check(found, { [name]: (text) => text === wanted })) {
    console.warn(`${name}:\n  actual   ${found}\n  expected ${wanted}`);
  }
}

/**
 * The levels of a plan: where it starts, then a target and a duration per stage.
 *
 * @param {string} profile
 * @param {object} [settings]
 */
function levels(profile, settings = {}) {
  const { scenario } = plan(profile, settings, 0);
  const { rate, duration, startVUs, startRate, stages } = scenario;
  if (rate) return `${rate} for ${duration}`;
  const steps = stages.map(
    /** @param {any} stage */ (stage) => `${stage.target} in ${stage.duration}`,
  );
  return [startVUs ?? startRate, ...steps].join(', ');
}

/**
 * @param {object} settings
 * @param {number} [pauseSeconds]
 */
function virtualUsers(settings, pauseSeconds = 0) {
  const { scenario } = plan('load', settings, pauseSeconds);
  return [scenario.preAllocatedVUs, scenario.maxVUs];
}

function profiles() {
  equal('smoke', levels('smoke'), '3 for 20s');
  equal('load', levels('load'), '2, 10 in 120s, 30 in 180s, 10 in 120s');
  equal('soak', levels('soak'), '10 for 3600s');
  const steps = levels('breakpoint').split(', ');
  equal('breakpoint', steps.slice(0, 5), ['5', '5 in 1s', '5 in 19s', '10 in 1s', '10 in 19s']);
  equal('the last of its 30 steps', steps.slice(-2), ['150 in 1s', '150 in 19s']);
  equal(
    'breakpoint in a minute',
    levels('breakpoint', { seconds: 60 }),
    '5, 5 in 1s, 5 in 14s, 53 in 1s, 53 in 14s, 102 in 1s, 102 in 14s, 150 in 1s, 150 in 14s',
  );
  equal(
    'its description',
    plan('breakpoint', {}, 0).description,
    '5 to 150 iterations/s in 30 steps of 20 s by up to 400 virtual users for 10 min',
  );
  const { preAllocatedVUs, maxVUs } = plan('breakpoint', { rate: 300 }, 0).scenario;
  equal('its virtual users are initialised', [preAllocatedVUs, maxVUs], [800, 800]);
  equal('stress', levels('stress'), '0, 20 in 60s, 60 in 120s, 100 in 60s, 0 in 60s');
  equal('spike', levels('spike'), '5, 5 in 30s, 100 in 10s, 100 in 60s, 5 in 10s, 5 in 60s');
  const { seconds, description } = plan('load', {}, 0);
  equal('length', seconds, 420);
  equal(
    'description',
    description,
    '2, 10, 30, 10 iterations/s by up to 50 virtual users for 7 min',
  );
}

function scaling() {
  equal('DURATION and RATE', levels('smoke', { seconds: 5, rate: 7 }), '7 for 5s');
  equal('DURATION', levels('load', { seconds: 70 }), '2, 10 in 20s, 30 in 30s, 10 in 20s');
  equal('RATE', levels('load', { rate: 60 }), '4, 20 in 120s, 60 in 180s, 20 in 120s');
  equal('the lowest RATE', levels('load', { rate: 1 }), '1 for 420s');
  equal(
    'DURATION and VUS',
    levels('stress', { seconds: 10, vus: 10 }),
    '0, 2 in 2s, 6 in 4s, 10 in 2s, 0 in 2s',
  );
  equal('virtual users', virtualUsers({}), [20, 50]);
  equal('virtual users for a higher RATE', virtualUsers({ rate: 60 }), [20, 100]);
  equal('virtual users for pauses', virtualUsers({}, 2), [80, 170]);
  equal('VUS of arrivals', virtualUsers({ vus: 12 }), [12, 12]);
}

function parsing() {
  equal('headers', parsePairs('X-A:qa,X-B:me'), { 'X-A': 'qa', 'X-B': 'me' });
  equal('a header with a colon', parsePairs('X-Url:http://a'), { 'X-Url': 'http://a' });
  equal('no headers', parsePairs(), {});
  const link = '</owners?limit=2&cursor=7>; rel="next"';
  const response = /** @type {any} */ ({ headers: { Link: link } });
  equal('the next page', nextPage(response), '?limit=2&cursor=7');
  equal('the last page', nextPage(/** @type {any} */ ({ headers: {} })), '');
}

function remoteWrite() {
  const samples = [{ labels: { __name__: 'up', job: 'é' }, value: 1 }];
  const bytes = Array.from(encodeWriteRequest(samples, 1764170000000));
  // The block's length and its one literal, then the series: two labels, the value and the time.
  const expected =
    '2f b8 0a 2d 0a 0e 0a 08 5f 5f 6e 61 6d 65 5f 5f 12 02 75 70 0a 09 0a 03 6a 6f 62 12 02 ' +
    'c3 a9 12 10 09 00 00 00 00 00 00 f0 3f 10 80 cd e7 85 ac 33';
  const actual = bytes.map((byte) => byte.toString(16).padStart(2, '0')).join(' ');
  equal('a write request', actual, expected);
}

function serverTiming() {
  const timing = parseServerTiming;
  equal('both durations', timing('total;dur=12.3, db;dur=4'), { total: 12.3, db: 4 });
  equal('another order', timing('db;dur=0,total;dur=7.25'), { total: 7.25, db: 0 });
  equal('among others', timing('cache;desc=hit, edge;dur=9, total ; x=1 ; dur = 3'), { total: 3 });
  equal('the server before a proxy', timing('total;dur=3, total;dur=5'), { total: 3 });
  equal('a longer name', timing('subtotal;dur=1, total-db;dur=2'), {});
  equal('no duration', timing('total, db;desc="dur"'), {});
  equal('not a number', timing('total;dur=fast, db;dur=-1'), {});
  equal('no header', timing(), {});
}

function custom() {
  const constant = { executor: 'constant-vus', vus: 5, duration: '1m30s' };
  equal('--vus 5 --duration 90s', customLoad({ default: constant }), {
    seconds: 90,
    description: '5 virtual users for 1 min 30 s',
  });
  const shared = { executor: 'shared-iterations', vus: null, iterations: 20 };
  equal('--iterations 20', customLoad({ default: shared }), {
    iterations: 20,
    description: '20 iterations by 1 virtual user',
  });
  const stages = [
    { target: 3, duration: '10s' },
    { target: 0, duration: '500ms' },
  ];
  equal('--stage', customLoad({ default: { executor: 'ramping-vus', startVUs: null, stages } }), {
    seconds: 10.5,
    description: '1, 3, 0 virtual users for 11 s',
  });
  const few = { iterations: { values: { count: 3 } } };
  equal('fewer iterations', verdictSamples(few, 5)[1], { name: 'interrupted', value: 1 });
  equal('all iterations', verdictSamples(few, 3), [{ name: 'thresholds', value: 0 }]);
}

function verdict() {
  const [metric, threshold] = ['http_req_failed{name:a}', 'rate<0.01'];
  const results = { [threshold]: { ok: false } };
  equal(
    'a failed threshold',
    verdictSamples({ [metric]: { values: { rate: 0.05 }, thresholds: results } }),
    [
      { name: 'thresholds', value: 1 },
      { name: 'passed', value: 0 },
      { name: 'threshold_passed', value: 0, metric, threshold },
      { name: 'threshold_reached', value: 0.05, metric, threshold },
      { name: 'threshold_limit', value: 0.01, metric, threshold },
    ],
  );
  const trend = { values: { 'p(95)': 12 }, thresholds: { 'p(95) < 300': { ok: true } } };
  const [, , , reached, limit] = verdictSamples({ a: trend });
  equal('a percentile', [reached.value, limit.value], [12, 300]);
  const above = { values: { count: 3 }, thresholds: { 'count>2': { ok: true } } };
  equal(
    'a limit that is a minimum',
    verdictSamples({ a: above }).map(({ name }) => name),
    ['thresholds', 'passed', 'threshold_passed', 'threshold_reached'],
  );
  equal('no thresholds', verdictSamples({ a: { values: {} } }), [{ name: 'thresholds', value: 0 }]);
}

function segments() {
  equal('a quarter', segmentShare('1/4:1/2'), 0.25);
  equal('the last third', segmentShare('2/3:1').toFixed(6), '0.333333');
  equal('everything', [segmentShare(null), segmentShare('0:1')], [1, 1]);
  equal('four generators', segmentCount('0,1/4,1/2,3/4,1'), 4);
  equal('one generator', [segmentCount(null), segmentCount('0,1')], [1, 1]);
}

function traces() {
  const timings = { blocked: 0.5, duration: 3.5 };
  equal('a request between two readings', requestTimes(timings, 1000, 1005), [1001, 1005]);
  equal('one that took longer', requestTimes(timings, 1000, 1002), [1000, 1003]);
  equal('one without timings', requestTimes({ blocked: 0, duration: 0 }, 7, 9), [7, 10]);
}

export default function () {
  serverTiming();
  segments();
  traces();
  profiles();
  scaling();
  parsing();
  remoteWrite();
  verdict();
  custom();
}
