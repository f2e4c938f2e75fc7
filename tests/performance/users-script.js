// What the load script that the clinic's users already have sends: paths, fields and values.
import { check } from 'k6';
import http from 'k6/http';

const { BASE_URL } = __ENV;
const HEADERS = { headers: { 'Content-Type': 'application/json' } };

export const options = {
  vus: 3,
  iterations: 30,
  thresholds: { checks: ['rate==1'], http_req_failed: ['rate==0'], http_reqs: ['count==180'] },
};

function create(path, fields) {
  const response = http.post(`${BASE_URL}${path}`, JSON.stringify(fields), HEADERS);
  const created = response.json();
  check(response, {
    'created is 201': (it) => it.status === 201,
    'created has its id': () => Number.isInteger(created.id),
    'created has what was sent': () =>
      Object.entries(fields).every(
        ([name, value]) =>
          created[name] === value ||
          (name === 'scheduled_at' && Date.parse(created[name]) === Date.parse(value)),
      ),
  });
  return created.id;
}

function list(path, id) {
  const response = http.get(`${BASE_URL}${path}`);
  const rows = response.json();
  check(response, {
    'list is 200': (it) => it.status === 200,
    'list is an array': () => Array.isArray(rows),
    'list has what was created': () => id === undefined || rows.some((row) => row.id === id),
  });
}

export default function book() {
  const key = `${__VU}-${Date.now()}-${__ITER}`;
  const tomorrow = new Date(Date.now() + 24 * 60 * 60 * 1000).toISOString();

  const owner = create('/owners', {
    name: `Dueño ${key}`,
    email: `loadtest+${key}@vetfeliz.cl`,
    phone: '+56912345678',
  });
  const pet = create(`/owners/${owner}/pets`, {
    name: `Mascota ${key}`,
    species: 'canino',
    breed: 'mestizo',
  });
  const appointment = create(`/pets/${pet}/appointments`, {
    scheduled_at: tomorrow,
    reason: 'Control anual',
    veterinarian: 'Dra. Grafana',
    notes: 'Vacunación al día; revisión después de la cirugía.',
  });
  list('/owners');
  list(`/owners/${owner}/pets`, pet);
  list(`/pets/${pet}/appointments`, appointment);
}
