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
// CLINIC_API_TOKEN  bearer token of the clinic                    none
// RUN_ID            id of the run in metrics and traces           from the time and the profile
// GENERATOR         name of this generator, if a run has several  none
//
// The thresholds are in slo.json. See README.md.

import { sleep } from 'k6';

import { deleteOwnersOf } from './lib/cleanup.js';
import { runIteration } from './lib/clinic.js';
import { plan, PROFILES } from './lib/profiles.js';
import { endRun, startRun, writeVerdict } from './lib/run.js';
import { choice, SETTINGS } from './lib/settings.js';
import { thresholds } from './lib/slo.js';
import { checkTarget } from './lib/target.js';
import { drawJourney, JOURNEYS } from './journeys/journeys.js';

const PROFILE = choice('PROFILE', PROFILES, 'load');
const JOURNEY = choice('JOURNEY', JOURNEYS, 'book');
const { operations, pauseSeconds } = JOURNEYS[JOURNEY];
const { scenario, seconds, thinkSeconds, description } = plan(PROFILE, SETTINGS, pauseSeconds);

export const options = {
  scenarios: { [PROFILE]: scenario },
  thresholds: thresholds(PROFILE, operations),
  summaryTrendStats: ['avg', 'min', 'med', 'max', 'p(90)', 'p(95)', 'p(99)'],
  tags: SETTINGS.tags,
  ...(SETTINGS.cleanup && { teardownTimeout: '1h' }),
};

export function setup() {
  const newestOwner = checkTarget();
  const run = startRun({ profile: PROFILE, journey: JOURNEY, seconds, newestOwner });
  console.log(`Run ${run.id}: ${PROFILE}, ${JOURNEY}; ${description}. Target: ${SETTINGS.target}`);
  return run;
}

/** @param {import('./lib/run.js').Run} run */
export default function (run) {
  runIteration(drawJourney(JOURNEY), run);
  if (thinkSeconds) sleep(thinkSeconds);
}

/** @param {import('./lib/run.js').Run} run */
export function teardown(run) {
  endRun(run);
  if (SETTINGS.cleanup) deleteOwnersOf(run);
}

/** @param {import('./lib/run.js').Summary} summary */
export function handleSummary(summary) {
  writeVerdict(summary);
}
