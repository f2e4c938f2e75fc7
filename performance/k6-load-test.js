// The clinic under load: clients walk in, register, bring a pet, book, look things up, cancel.
//
//   k6 run performance/k6-load-test.js
//   k6 run -e PROFILE=smoke -e JOURNEY=mixed -e BASE_URL=http://host:8000 performance/k6-load-test.js
//
// BASE_URL          where the clinic answers              http://localhost:8000
// PROFILE           smoke, load, stress, spike, soak or breakpoint                 load
// JOURNEY           book, browse, cancel or mixed                                  book
// DURATION          how long in all, such as 90s or 1h30m, the stages in proportion
// RATE              the most iterations a second, where the profile is one of arrivals
// VUS               the most virtual users
// CLEANUP           1 removes at the end what the run made
// CONFIRM_TARGET    1 permits a target that is not this machine
// CLINIC_API_TOKEN  sent as a bearer token                none
// RUN_ID            names the run in metrics and traces   made from the time and the profile
// GENERATOR         tells generators of one run apart     none
//
// What it must hold to is in slo.json; performance/README.md says more.

import { sleep } from 'k6';

import { removeClientsOf } from './lib/cleanup.js';
import { iteration } from './lib/clinic.js';
import { plan, PROFILES } from './lib/profiles.js';
import { runEnded, runStarted, sendVerdict } from './lib/run.js';
import { chosen, SETTINGS } from './lib/settings.js';
import { thresholds } from './lib/slo.js';
import { examine } from './lib/target.js';
import { JOURNEYS, oneOf } from './scenarios/journeys.js';

const PROFILE = chosen('PROFILE', Object.keys(PROFILES), 'load');
const JOURNEY = chosen('JOURNEY', Object.keys(JOURNEYS), 'book');
const { operations, thinkSeconds } = JOURNEYS[JOURNEY];
const planned = plan(PROFILE, SETTINGS, thinkSeconds);

export const options = {
  scenarios: { [PROFILE]: planned.scenario },
  thresholds: thresholds(PROFILE, operations),
  summaryTrendStats: ['avg', 'min', 'med', 'max', 'p(90)', 'p(95)', 'p(99)'],
  tags: SETTINGS.tags,
  ...(SETTINGS.cleanup && { teardownTimeout: '1h' }),
};

export function setup() {
  const newestOwner = examine();
  const started = runStarted(PROFILE, JOURNEY, planned.seconds);
  const what = `${PROFILE}, ${JOURNEY}; ${planned.sentence}`;
  console.log(`Run ${started.run}: ${what} Against ${SETTINGS.target}`);
  return { ...started, newestOwner };
}

export default function (started) {
  const [journey, steps] = oneOf(JOURNEY);
  iteration(journey, steps, started);
  if (planned.thinkSeconds) sleep(planned.thinkSeconds);
}

export function teardown(started) {
  runEnded(started);
  if (SETTINGS.cleanup) removeClientsOf(started);
}

export function handleSummary(data) {
  sendVerdict(data);
}
