// The users' flow without pauses and without the load script's own measurements: a client registers,
// brings a pet, books an appointment and reads three lists.

import exec from 'k6/execution';
import http from 'k6/http';

import { newAppointment, newClientPrefix, newOwner, newPet } from '../lib/data.js';

export const options = { summaryTrendStats: ['med', 'p(95)', 'p(99)'] };

const headers = {
  'Content-Type': 'application/json',
  baggage: 'k6.test_run_id=bench,k6.scenario=bench',
};
const prefix = newClientPrefix();

export default function () {
  const client = `${prefix}-${exec.vu.idInTest}-${exec.vu.iterationInInstance}`;
  const owner = post('/owners', newOwner(client));
  const pet = post(`/owners/${owner}/pets`, newPet());
  post(`/pets/${pet}/appointments`, newAppointment());
  get('/owners');
  get(`/owners/${owner}/pets`);
  get(`/pets/${pet}/appointments`);
}

/**
 * @param {string} path
 * @param {object} body
 */
function post(path, body) {
  const tags = { name: 'POST' };
  const response = http.post(__ENV.BASE_URL + path, JSON.stringify(body), { headers, tags });
  if (response.status !== 201) exec.test.abort(`POST ${path} returned ${response.status}`);
  return /** @type {any} */ (response.json()).id;
}

/** @param {string} path */
function get(path) {
  const tags = { name: 'GET' };
  const response = http.get(__ENV.BASE_URL + path, { headers, tags, responseType: 'none' });
  if (response.status !== 200) exec.test.abort(`GET ${path} returned ${response.status}`);
}

/** @param {{ metrics: Record<string, { values: Record<string, number> }> }} summary */
export function handleSummary({ metrics }) {
  const { med, 'p(95)': p95, 'p(99)': p99 } = metrics.http_req_duration.values;
  const { count, rate } = metrics.http_reqs.values;
  return { stdout: JSON.stringify({ count, rate, p50: med, p95, p99 }) };
}
