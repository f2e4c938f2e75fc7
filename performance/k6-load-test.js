// The clinic under load: a client walks in, registers, brings a pet, books, and looks things up.
//
//   k6 run performance/k6-load-test.js                                  the load profile
//   k6 run -e PROFILE=smoke -e BASE_URL=http://host:8000 performance/k6-load-test.js
//
// BASE_URL          where the clinic answers            http://localhost:8000
// PROFILE           smoke, load or stress               load
// RUN_ID            names the run in metrics and traces made from the time and the profile
// CLINIC_API_TOKEN  sent as a bearer token              none

import { check, sleep } from 'k6';
import exec from 'k6/execution';
import http from 'k6/http';
import { Counter, Trend } from 'k6/metrics';

const PROFILES = {
  smoke: {
    thinkSeconds: 0,
    scenario: {
      executor: 'constant-arrival-rate',
      rate: 3,
      timeUnit: '1s',
      duration: '20s',
      preAllocatedVUs: 5,
      maxVUs: 20,
    },
  },
  load: {
    thinkSeconds: 0,
    scenario: {
      executor: 'ramping-arrival-rate',
      startRate: 2,
      timeUnit: '1s',
      preAllocatedVUs: 20,
      maxVUs: 50,
      stages: [
        { target: 10, duration: '2m' },
        { target: 30, duration: '3m' },
        { target: 10, duration: '2m' },
      ],
    },
  },
  stress: {
    thinkSeconds: 0.5,
    scenario: {
      executor: 'ramping-vus',
      startVUs: 0,
      stages: [
        { target: 20, duration: '1m' },
        { target: 60, duration: '2m' },
        { target: 100, duration: '1m' },
        { target: 0, duration: '1m' },
      ],
    },
  },
};

// The clinic's own objective: p95 in milliseconds. The names are the server's words for the
// operation, so that a client's numbers and the server's meet under one name.
const SLO = {
  'POST /owners': 300,
  'POST /owners/{owner_id}/pets': 300,
  'POST /pets/{pet_id}/appointments': 300,
  'GET /owners': 200,
  'GET /owners/{owner_id}/pets': 200,
  'GET /pets/{pet_id}/appointments': 200,
};
const EVERY_REQUEST_P95 = 800;

const BASE_URL = (__ENV.BASE_URL || 'http://localhost:8000').replace(/\/+$/, '');
const PROFILE = __ENV.PROFILE || 'load';
const RUN_ID = __ENV.RUN_ID || '';

if (!Object.hasOwn(PROFILES, PROFILE)) {
  throw new Error(`PROFILE is "${PROFILE}"; expected one of: ${Object.keys(PROFILES).join(', ')}.`);
}
if (RUN_ID && !/^[A-Za-z0-9._:-]{1,64}$/.test(RUN_ID)) {
  throw new Error(`RUN_ID is "${RUN_ID}"; expected 1 to 64 of the characters A-Z a-z 0-9 . _ : -`);
}

const ownerCreation = new Trend('owner_creation_duration', true);
const petCreation = new Trend('pet_creation_duration', true);
const appointmentCreation = new Trend('appointment_creation_duration', true);
const errors = new Counter('errors');

export const options = {
  scenarios: { [PROFILE]: PROFILES[PROFILE].scenario },
  thresholds: thresholds(),
  summaryTrendStats: ['avg', 'min', 'med', 'max', 'p(90)', 'p(95)', 'p(99)'],
  ...(RUN_ID && { tags: { testid: RUN_ID } }),
};

// Stress looks for the point where the clinic gives way, far beyond the load the objective speaks
// of: there each operation is held to the general limit alone.
function thresholds() {
  const limits = {
    http_req_failed: ['rate<0.01'],
    http_req_duration: [`p(95)<${EVERY_REQUEST_P95}`],
    errors: ['count<10'],
  };
  for (const [operation, p95] of Object.entries(SLO)) {
    const limit = PROFILE === 'stress' ? EVERY_REQUEST_P95 : p95;
    limits[`http_req_duration{name:${operation}}`] = [`p(95)<${limit}`];
  }
  return limits;
}

export function setup() {
  const answer = http.get(`${BASE_URL}/readyz`, { tags: { name: 'GET /readyz' }, timeout: '10s' });
  if (answer.status !== 200) {
    const said = answer.status === 0 ? `no answer (${answer.error})` : `status ${answer.status}`;
    exec.test.abort(
      `The clinic is not ready: GET ${BASE_URL}/readyz gave ${said}, expected 200. ` +
        'No load was sent. Start the clinic, or set BASE_URL to where it answers.',
    );
  }
  if (RUN_ID) return { run: RUN_ID };
  const time = new Date().toISOString().replace(/[-:]|\..*/g, '').replace('T', '-');
  const run = `${time}-${PROFILE}`;
  console.log(`This run is ${run}.`);
  return { run };
}

export default function visit({ run }) {
  if (!RUN_ID) exec.vu.metrics.tags.testid = run;
  const baggage = `k6.test_run_id=${run},k6.scenario=${exec.scenario.name}`;

  try {
    const owner = send('POST /owners', {}, baggage, newOwner());
    ownerCreation.add(owner.duration);
    const ofOwner = { owner_id: owner.body.id };

    const pet = send('POST /owners/{owner_id}/pets', ofOwner, baggage, newPet());
    petCreation.add(pet.duration);
    const ofPet = { pet_id: pet.body.id };

    const booking = newAppointment();
    const appointment = send('POST /pets/{pet_id}/appointments', ofPet, baggage, booking);
    appointmentCreation.add(appointment.duration);

    send('GET /owners', {}, baggage);
    send('GET /owners/{owner_id}/pets', ofOwner, baggage);
    send('GET /pets/{pet_id}/appointments', ofPet, baggage);
  } catch (failure) {
    if (!(failure instanceof StepFailed)) throw failure;
  }
  const { thinkSeconds } = PROFILES[PROFILE];
  if (thinkSeconds) sleep(thinkSeconds);
}

class StepFailed extends Error {}

// Without its owner there is no pet to register: what fails counts once and ends the visit.
function send(operation, ids, baggage, body) {
  const [method, template] = operation.split(' ');
  const path = template.replace(/{(\w+)}/g, (_, id) => ids[id]);
  const headers = { baggage };
  if (body) headers['Content-Type'] = 'application/json';
  if (__ENV.CLINIC_API_TOKEN) headers.Authorization = `Bearer ${__ENV.CLINIC_API_TOKEN}`;

  const payload = body ? JSON.stringify(body) : null;
  const answer = http.request(method, BASE_URL + path, payload, {
    headers,
    tags: { name: operation },
  });

  const expected = body ? 201 : 200;
  const parsed = answer.status === expected ? json(answer) : undefined;
  const right = body ? Number.isSafeInteger(parsed?.id) : Array.isArray(parsed) && parsed.length > 0;
  const promise = body ? 'the new id' : 'what was registered';
  if (!check(right, { [`${operation} answers ${expected} with ${promise}`]: (it) => it })) {
    errors.add(1, { operation });
    throw new StepFailed(operation);
  }
  return { body: parsed, duration: answer.timings.duration };
}

function json(answer) {
  try {
    return answer.json();
  } catch {
    return undefined;
  }
}

const FIRST_NAMES = ['Amelia', 'Benjamín', 'Camila', 'Diego', 'Elena', 'Felipe', 'Gabriela', 'Hugo'];
const LAST_NAMES = ['Araya', 'Bravo', 'Castro', 'Díaz', 'Espinoza', 'Fuentes', 'González', 'Herrera'];
const PET_NAMES = ['Luna', 'Max', 'Nina', 'Rocky', 'Simba', 'Toby', 'Kira', 'Milo', 'Copito'];
const BREEDS = {
  dog: ['Labrador', 'Beagle', 'Poodle', 'Mixed'],
  cat: ['Siamese', 'Persian', 'Mixed'],
  rabbit: ['Lionhead', 'Dutch'],
  bird: ['Canary', 'Cockatiel'],
};
const REASONS = ['Annual check-up', 'Vaccination', 'Dental cleaning', 'Limping', 'Skin allergy'];
const VETERINARIANS = ['Dr. Ana Soto', 'Dr. Luis Vera', 'Dr. Marta Ruiz', 'Dr. Pablo Mena'];

function newOwner() {
  const [first, last] = [pick(FIRST_NAMES), pick(LAST_NAMES)];
  return {
    name: `${first} ${last}`,
    email: `client-${randomHex(12)}@example.com`,
    phone: `+569${String(randomBelow(100_000_000)).padStart(8, '0')}`,
  };
}

function newPet() {
  const species = pick(Object.keys(BREEDS));
  return { name: pick(PET_NAMES), species, breed: pick(BREEDS[species]) };
}

// Every visit brings a new pet, so no pet is ever booked twice for one hour.
function newAppointment() {
  const day = new Date(Date.now() + (1 + randomBelow(90)) * 24 * 3600 * 1000);
  day.setUTCHours(9 + randomBelow(9), pick([0, 15, 30, 45]), 0, 0);
  return {
    scheduled_at: day.toISOString(),
    reason: pick(REASONS),
    veterinarian: pick(VETERINARIANS),
  };
}

// 96 random bits from the system: generators on many machines never meet on one address.
function randomHex(bytes) {
  const random = crypto.getRandomValues(new Uint8Array(bytes));
  return Array.from(random, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

function randomBelow(limit) {
  return Math.floor(Math.random() * limit);
}

function pick(choices) {
  return choices[randomBelow(choices.length)];
}
