// CLEANUP=1: deletes the owners that the run created, with their pets and appointments.

import http from 'k6/http';

import { json, nextPage, unmeasured } from './clinic.js';
import { emailOf } from './data.js';
import { SETTINGS } from './settings.js';

const BATCH = 20;

/**
 * Recognises the run's owners without a list of them: their e-mail addresses start with the run's
 * prefix, and they are newer than the newest owner before the load.
 *
 * @param {import('./run.js').Run} run
 */
export function deleteOwnersOf({ clientPrefix, newestOwner }) {
  const emailPrefix = emailOf(clientPrefix).split('@')[0];
  let [deleted, failed] = [0, 0];
  for (let query = '?limit=500'; query;) {
    const page = http.get(
      `${SETTINGS.target}/owners${query}`,
      unmeasured('GET /owners after the load'),
    );
    const owners = page.status === 200 ? json(page) : undefined;
    if (!Array.isArray(owners)) {
      console.warn(`Clean-up stopped: GET /owners returned ${page.status}, expected 200.`);
      failed += 1;
      break;
    }
    const newer = owners.filter(({ id }) => id > newestOwner);
    const ours = newer.filter(({ email }) => email.startsWith(emailPrefix));
    for (let start = 0; start < ours.length; start += BATCH) {
      const refused = refusedDeletes(ours.slice(start, start + BATCH));
      failed += refused;
      deleted += Math.min(BATCH, ours.length - start) - refused;
    }
    query = newer.length < owners.length ? '' : nextPage(page);
  }
  const rest = failed
    ? ` Some are left: see the warnings above; their e-mail starts with ${emailPrefix}.`
    : '';
  console.log(`Deleted ${deleted} owners with their pets and appointments.${rest}`);
}

/** @param {{ id: number }[]} owners */
function refusedDeletes(owners) {
  const requests = owners.map(({ id }) => ({
    method: 'DELETE',
    url: `${SETTINGS.target}/owners/${id}`,
    params: unmeasured('DELETE /owners/{owner_id} after the load'),
  }));
  const statuses = Object.values(http.batch(requests)).map(({ status }) => status);
  const refused = statuses.filter((status) => status !== 204 && status !== 404);
  if (refused.length) console.warn(`${refused.length} DELETE requests returned ${refused[0]}.`);
  return refused.length;
}
