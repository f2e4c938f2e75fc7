// Load test of the clinic: clients register, bring a pet, book, look things up and cancel.
//
//   k6 run performance/k6-load-test.js
//   k6 run -e PROFILE=smoke -e JOURNEY=mixed -e BASE_URL=http://host:8000 performance/k6-load-test.js
//
// BASE_URL          address of the clinic                         http://localhost:8000
// PROFILE           smoke, load, stress, spike, soak, breakpoint  load
// JOURNEY           book, browse, cancel, mixed                   book
// DURATION          total duration, such as 90s or 1h30m; stages scale in proportion
// RATE              peak iterations/s of arrival-rate profiles
// VUS               maximum number of virtual users
// CLEANUP           1 deletes what the run created when it ends
// CONFIRM_TARGET    1 allows a target that is not this machine
// TRACE_EVERY       traces one whole iteration in so many, 0 none     100
// CLINIC_API_TOKEN  bearer token of the clinic                    none
// RUN_ID            id of the run in metrics and traces           from the time and the profile
// GENERATOR         name of this generator, if a run has several  none
//
// The thresholds are in slo.json. See README.md.

import exec from 'k6/execution';

import { deleteOwnersOf } from './lib/cleanup.js';
import { runIteration } from './lib/clinic.js';
import { CUSTOM, customLoad } from './lib/custom-load.js';
import { pauseAfterIteration, SHORT_PAUSE } from './lib/pause.js';
import { plan, PROFILES } from './lib/profiles.js';
import { endRun, receiverOptions, startRun, warnWithoutVerdict, writeVerdict } from './lib/run.js';
import { choice, SETTINGS } from './lib/settings.js';
import { thresholds } from './lib/slo.js';
import { checkTarget } from './lib/target.js';
import { checkTraceEndpoint, endTrace } from './lib/traces.js';
import { drawJourney, JOURNEYS } from './journeys/journeys.js';

const PROFILE = choice('PROFILE', PROFILES, 'load');
const JOURNEY = choice('JOURNEY', JOURNEYS, 'book');
const { operations, pauseSeconds } = JOURNEYS[JOURNEY];
/** @type {import('./lib/custom-load.js').Load & ReturnType<typeof plan>} */
const planned = plan(PROFILE, SETTINGS, pauseSeconds + SHORT_PAUSE);

export const options = {
  scenarios: { [PROFILE]: planned.scenario },
  thresholds: thresholds(PROFILE, operations),
  summaryTrendStats: ['avg', 'min', 'med', 'max', 'p(90)', 'p(95)', 'p(99)'],
  tags: SETTINGS.tags,
  ...receiverOptions(),
  ...(SETTINGS.cleanup && { teardownTimeout: '1h' }),
};

export function setup() {
  const { newestOwner, clockOffset } = checkTarget();
  const traced = checkTraceEndpoint();
  warnWithoutVerdict();
  // k6's own options replace all scenarios of the script.
  const { scenarios } = exec.test.options;
  const isCustom = !(scenarios && PROFILE in scenarios);
  const profile = isCustom ? CUSTOM : PROFILE;
  const { seconds, iterations, description } = isCustom ? customLoad(scenarios || {}) : planned;
  const load = { profile, scenario: PROFILE, journey: JOURNEY, seconds, iterations };
  const run = startRun({ ...load, newestOwner, clockOffset, traced });
  const limits = isCustom ? ` (k6's own options; the thresholds of ${PROFILE})` : '';
  console.log(
    `Run ${run.id}: ${profile}, ${JOURNEY}; ${description}${limits}. Target: ${SETTINGS.target}`,
  );
  return run;
}

/** @param {import('./lib/run.js').Run} [run] missing if k6 was told not to run `setup` */
export default function (run) {
  if (!run) return exec.test.abort('The script needs its setup: unset K6_NO_SETUP (--no-setup).');
  const journey = drawJourney(JOURNEY);
  const failed = runIteration(journey, run);
  const endedAt = Date.now();
  endTrace(journey.name, failed);
  pauseAfterIteration(planned.thinkSeconds, endedAt);
}

/** @param {import('./lib/run.js').Run} run */
export function teardown(run) {
  endRun(run);
  if (SETTINGS.cleanup) deleteOwnersOf(run);
}

/** @param {import('./lib/run.js').Summary & import('./lib/summary.js').Summary} summary */
export function handleSummary(summary) {
  writeVerdict(summary);
}
