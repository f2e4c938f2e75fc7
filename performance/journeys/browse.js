// The reception reads: the agenda from now on, one day, one veterinarian, and the newest owners.

import { request } from '../lib/clinic.js';
import { dayAfter, randomDay, randomVeterinarian } from '../lib/data.js';
import { between, pause } from '../lib/pause.js';

const PAGES = 3;
const LIMIT = 'limit=50';
const SHORTEST_PAUSE = 0.3;
const LONGEST_PAUSE = 0.7;

// The mean of four lists, each followed by one pause.
export const pauseSeconds = (4 * (SHORTEST_PAUSE + LONGEST_PAUSE)) / 2;
export const operations = ['GET /owners', 'GET /appointments'];

export function iteration() {
  const now = new Date().toISOString();
  const day = randomDay();
  const oneDay = `from=${day.toISOString()}&to=${dayAfter(day).toISOString()}`;
  const oneVeterinarian = `from=${now}&veterinarian=${encodeURIComponent(randomVeterinarian())}`;
  readPages('GET /appointments', `?from=${now}&${LIMIT}`);
  readPages('GET /appointments', `?${oneDay}&${LIMIT}`);
  readPages('GET /appointments', `?${oneVeterinarian}&${LIMIT}`);
  readPages('GET /owners', `?${LIMIT}`);
}

/**
 * @param {'GET /appointments' | 'GET /owners'} operation
 * @param {string} query
 */
function readPages(operation, query) {
  for (let [page, next] = [0, query]; page < PAGES && next; page += 1) {
    next = request(operation, { query: next, isValid: Array.isArray, result: 'a page' }).next;
  }
  pause(between(SHORTEST_PAUSE, LONGEST_PAUSE));
}
