// After the load: remove the clients that this run made, with their pets and appointments.

import http from 'k6/http';

import { headers, json, nextPage, UNJUDGED } from './clinic.js';
import { addressOf } from './data.js';
import { SETTINGS } from './settings.js';

const AT_ONCE = 20;

// No virtual user needs to remember whom it registered: the run's space is in their addresses, and
// all of them are newer than the newest owner before the load.
export function removeClientsOf({ space, newestOwner }) {
  const ours = addressOf(space).split('@')[0];
  let [removed, left] = [0, 0];
  for (let query = '?limit=500'; query;) {
    const page = http.get(`${SETTINGS.target}/owners${query}`, asked('GET /owners after the load'));
    const owners = page.status === 200 ? json(page) : undefined;
    if (!Array.isArray(owners)) {
      console.warn(`The clean-up stopped: GET /owners gave status ${page.status}, expected 200.`);
      left += 1;
      break;
    }
    const newer = owners.filter(({ id }) => id > newestOwner);
    const found = newer.filter(({ email }) => email.startsWith(ours));
    for (let at = 0; at < found.length; at += AT_ONCE) {
      const gone = remove(found.slice(at, at + AT_ONCE));
      removed += gone;
      left += Math.min(AT_ONCE, found.length - at) - gone;
    }
    query = newer.length < owners.length ? '' : nextPage(page);
  }
  const rest = left ? ' Not all: see the warnings above, or the addresses that begin ' + ours : '';
  console.log(`Removed ${removed} owners with their pets and appointments.${rest}`);
}

function remove(owners) {
  const requests = owners.map(({ id }) => ({
    method: 'DELETE',
    url: `${SETTINGS.target}/owners/${id}`,
    params: asked('DELETE /owners/{owner_id} after the load'),
  }));
  const statuses = Object.values(http.batch(requests)).map(({ status }) => status);
  const refused = statuses.filter((status) => status !== 204 && status !== 404);
  if (refused.length) console.warn(`${refused.length} DELETEs were answered with ${refused[0]}.`);
  return statuses.length - refused.length;
}

function asked(name) {
  return { headers: headers(), tags: { name }, responseCallback: UNJUDGED };
}
