// The reception reads: pages of the agenda, a day of it, a veterinarian's, and pages of owners.

import { sleep } from 'k6';

import { ask } from '../lib/clinic.js';
import { aDay, aVeterinarian, dayAfter } from '../lib/data.js';

const PAGES = 3;
const PAGE = 'limit=50';
const LEAST_PAUSE = 0.3;
const MOST_PAUSE = 0.7;

// A pause after each look, however many pages it has.
export const thinkSeconds = (4 * (LEAST_PAUSE + MOST_PAUSE)) / 2;
export const operations = ['GET /owners', 'GET /appointments'];

export function iteration() {
  const day = aDay();
  const that = `from=${day.toISOString()}&to=${dayAfter(day).toISOString()}`;
  const own = `from=${new Date().toISOString()}&veterinarian=${encodeURIComponent(aVeterinarian())}`;
  leafThrough('GET /appointments', `?from=${new Date().toISOString()}&${PAGE}`);
  leafThrough('GET /appointments', `?${that}&${PAGE}`);
  leafThrough('GET /appointments', `?${own}&${PAGE}`);
  leafThrough('GET /owners', `?${PAGE}`);
}

function leafThrough(operation, query) {
  for (let [page, rest] = [0, query]; page < PAGES && rest; page += 1) {
    rest = ask(operation, { query: rest, right: Array.isArray, promise: 'a page' }).next;
  }
  sleep(LEAST_PAUSE + Math.random() * (MOST_PAUSE - LEAST_PAUSE));
}
